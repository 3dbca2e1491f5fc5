package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// netRaw is a file's capability CAP_NET_RAW, permitted and effective, in the
// form that the kernel keeps (struct vfs_cap_data, revision 2).
const netRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// userACL gives user 7 read and write, in the form of setxattr(2).
const userACL = "\x02\x00\x00\x00" +
	"\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x06\x00\x07\x00\x00\x00" +
	"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x06\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"

func TestAttributes(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	owned := func(e ent, mode int64) ent {
		return e.with(func(h *tar.Header) { h.Mode, h.Uid, h.Gid = mode, 1000, 2_000_000_000 })
	}
	s := newSandbox(t)
	s.mustUnpack(
		owned(dirEnt("./"), 0o751),
		owned(dirEnt("d"), 0o3777), // with set-group-ID, which entries would inherit
		file("d/plain", "x"),
		dirEnt("d/sub"),
		owned(file("suid", "x"), 0o6755).xattr("security.capability", netRaw).xattr("user.a", "b\x00c"),
		owned(sym("d/l", "nowhere"), 0o777),
		owned(dev(tar.TypeChar, "d/null", 1, 3), 0o666),
		owned(dev(tar.TypeBlock, "d/b", 259, 70000), 0o660),
		owned(header(tar.TypeFifo, "d/p", 0), 0o1602),
		owned(file("d/cont", "y").with(func(h *tar.Header) { h.Typeflag = tar.TypeCont; h.Format = tar.FormatUnknown }), 0o600),
	)
	when := fmt.Sprintf("mtime=%d.%09d", stamp.Unix(), stamp.Nanosecond())
	for p, want := range map[string]string{
		".":       "mode=40751 owner=1000:2000000000 " + when,
		"d":       "mode=43777 owner=1000:2000000000 " + when,
		"d/plain": "mode=100644 owner=0:0 " + when + " links=1 rdev=0",
		"d/sub":   "mode=40755 owner=0:0 " + when,
		"suid":    "mode=106755 owner=1000:2000000000 " + when,
		"d/l":     "mode=120777 owner=1000:2000000000 " + when,
		"d/null":  "mode=20666 owner=1000:2000000000 " + when + " links=1 rdev=259",
		"d/b":     fmt.Sprintf("mode=60660 owner=1000:2000000000 %s links=1 rdev=%d", when, unix.Mkdev(259, 70000)),
		"d/p":     "mode=11602 owner=1000:2000000000 " + when,
		"d/cont":  "mode=100600 owner=1000:2000000000 mtime=1600000000",
	} {
		if got := describePath(t, s.root+"/"+p); !strings.HasPrefix(got, want) {
			t.Errorf("%s is %s\nwant %s", p, got, want)
		}
	}
	if got := getXattr(t, s.root+"/suid", capability); got != netRaw {
		t.Errorf("capability is %x", got)
	}
	if got := getXattr(t, s.root+"/suid", "user.a"); got != "b\x00c" {
		t.Errorf("user.a is %q", got)
	}
}

// TestDirectoryTimes makes more directories than are kept open, with entries
// that come back to them, and looks whether all have their time.
func TestDirectoryTimes(t *testing.T) {
	const n = 3 * maxOpen
	var ents []ent
	at := func(i int) time.Time { return stamp.Add(time.Duration(i) * time.Hour) }
	for i := range n {
		ents = append(ents, dirEnt(fmt.Sprintf("d%d", i)).with(func(h *tar.Header) { h.ModTime = at(i) }))
	}
	for _, f := range []string{"a", "b"} {
		for i := range n {
			ents = append(ents, file(fmt.Sprintf("d%d/%s", i, f), f))
		}
	}
	for i := range n {
		ents = append(ents, dirEnt(fmt.Sprintf("d5/sub%d", i)))
	}
	ents = append(ents, hard("d0/h", "d1/a"), sym("l", "d2"), file("l/x", ""), file("d3/.wh.w", ""), dirEnt("d4/sub"))
	s := newSandbox(t)
	s.mustUnpack(ents...)
	for i := range n {
		st, err := os.Stat(fmt.Sprintf("%s/d%d", s.root, i))
		must(t, err)
		if !st.ModTime().Equal(at(i)) {
			t.Errorf("d%d has time %v, want %v", i, st.ModTime(), at(i))
		}
	}
}

// TestDeepTree goes through more nested directories than are kept open, and
// replaces the whole tree.
func TestDeepTree(t *testing.T) {
	var ents []ent
	p := "r"
	for range 200 {
		ents = append(ents, dirEnt(p), file(p+"/f", "x"))
		p += "/d"
	}
	// A hard link's target may be so far away that its own directory is closed.
	ents = append(ents, sym("short", strings.TrimSuffix(p, "/d")), hard("short/h", "r/f"), file("short/.wh.w", ""),
		dirEnt("top"), hard("top/h", "short/f"), file("top/after", "x"))
	s := newSandbox(t)
	s.mustUnpack(ents...)
	if st, err := os.Stat(s.root + "/top"); err != nil || !st.ModTime().Equal(stamp) {
		t.Errorf("top has time %v", st.ModTime())
	}
	s.shapes(map[string]string{strings.TrimSuffix(p, "/d") + "/h": "file:x", "top/h": "file:x", "top/after": "file:x"})
	s.mustUnpack(file("r", "now a file"))
	s.shapes(map[string]string{"r": "file:now a file"})
}

// TestInheritedACL: a directory's default ACL is kept but not passed on to
// the entries, which the tar describes in full.
func TestInheritedACL(t *testing.T) {
	s := newSandbox(t)
	must(t, unix.Setxattr(s.root, aclDefault, []byte(userACL), 0)) // the store's own directory could have one
	s.mustUnpack(file("early", "x"), dirEnt("d").xattr(aclDefault, userACL), file("d/f", "x"), dirEnt("d/sub"),
		dev(tar.TypeChar, "d/null", 1, 3), file("d/acl", "x").with(func(h *tar.Header) { h.Mode = 0o664 }).xattr(aclAccess, userACL))
	for p, want := range map[string][]string{
		"early": {}, "d": {aclDefault}, "d/f": {}, "d/sub": {}, "d/null": {}, "d/acl": {aclAccess},
	} {
		if got := xattrNames(t, s.root+"/"+p); !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", p, got, want)
		}
	}
	st, err := os.Stat(s.root + "/d/f")
	must(t, err)
	if st.Mode() != 0o644 {
		t.Errorf("d/f has mode %v", st.Mode())
	}
}

// TestDescribedAgain replaces a directory's attributes, the extended ones too.
func TestDescribedAgain(t *testing.T) {
	s := newSandbox(t)
	s.mustUnpack(dirEnt("d").xattr("user.old", "1").xattr(aclDefault, userACL), dirEnt("d").xattr("user.new", "1"))
	if got := xattrNames(t, s.root+"/d"); !slices.Equal(got, []string{"user.new"}) {
		t.Errorf("d has %q", got)
	}
}

// TestHardLinkAttributes: the link's own header holds for the file, and a
// capability stays when it says nothing of it.
func TestHardLinkAttributes(t *testing.T) {
	s := newSandbox(t)
	owned := func(e ent) ent { return e.with(func(h *tar.Header) { h.Mode, h.Uid, h.Gid = 0o4711, 3, 4 }) }
	s.mustUnpack(file("f", "x").xattr(capability, netRaw), hard("same", "f"), owned(hard("other", "f")))
	got := describePath(t, s.root+"/f")
	if !strings.Contains(got, "mode=104711 owner=3:4 ") || !strings.Contains(got, "links=3") ||
		getXattr(t, s.root+"/f", capability) != netRaw {
		t.Errorf("f is %s", got)
	}
}

// TestBadNumbers refuses owners and devices that chown(2) and mknod(2) would
// take for something else (CVE-2024-40635 is of this kind).
func TestBadNumbers(t *testing.T) {
	gnu := func(e ent) ent { return e.with(func(h *tar.Header) { h.Format = tar.FormatGNU }) }
	for name, e := range map[string]ent{
		"owner -1":       gnu(file("x", "")).with(func(h *tar.Header) { h.Uid = -1 }),
		"group -1":       gnu(file("x", "")).with(func(h *tar.Header) { h.Gid = -1 }),
		"owner 2^32-1":   file("x", "").with(func(h *tar.Header) { h.Uid = 1<<32 - 1 }),
		"owner 2^32":     file("x", "").with(func(h *tar.Header) { h.Uid = 1 << 32 }),
		"group 2^40":     file("x", "").with(func(h *tar.Header) { h.Gid = 1 << 40 }),
		"major 2^12":     gnu(dev(tar.TypeChar, "x", 1<<12, 0)),
		"minor 2^20":     gnu(dev(tar.TypeBlock, "x", 8, 1<<20)),
		"major negative": gnu(dev(tar.TypeBlock, "x", -1, 1)),
		"0:0 by wrap":    gnu(dev(tar.TypeChar, "x", 1<<32, 1<<32)),
	} {
		s := newSandbox(t)
		e.ModTime = time.Unix(1, 0)
		if _, err := s.unpack(archive(t, e), Options{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
		s.shapes(map[string]string{"x": "-"})
	}
}

// TestLongNames takes names beyond the header's 100 bytes in both ways.
func TestLongNames(t *testing.T) {
	for _, f := range []tar.Format{tar.FormatPAX, tar.FormatGNU} {
		s := newSandbox(t)
		long := strings.Repeat("d23456789/", 30) + strings.Repeat("n", 255)
		var ents []ent
		for i := range 30 {
			ents = append(ents, dirEnt(long[:10*(i+1)-1]))
		}
		ents = append(ents, file(long, "x"), sym("l", strings.Repeat("t", 3000)), hard("h", long))
		for i := range ents {
			ents[i].Format, ents[i].ModTime = f, time.Unix(1, 0)
		}
		s.mustUnpack(ents...)
		s.shapes(map[string]string{long: "file:x", "h": "file:x", "l": "link:" + strings.Repeat("t", 3000)})
	}
}

// TestSparse unpacks what GNU tar makes of a file with holes, in each of its
// formats, and wants the content and the holes back.
func TestSparse(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(dir + "/f")
	must(t, err)
	for _, at := range []int64{1 << 20, 5<<20 + 12345, 40 << 20} {
		_, err := f.WriteAt([]byte("data"), at)
		must(t, err)
	}
	must(t, f.Truncate(48<<20))
	must(t, f.Close())
	want := describePath(t, dir+"/f")
	for _, format := range [][]string{
		{"--format=gnu"}, {"--format=pax", "--sparse-version=0.0"},
		{"--format=pax", "--sparse-version=0.1"}, {"--format=pax", "--sparse-version=1.0"},
	} {
		args := append(format, "--sparse", "-C", dir, "-cf", "-", "f")
		data, err := exec.Command("tar", args...).Output()
		must(t, err)
		if len(data) > 1<<20 {
			t.Fatalf("%v: tar of %d bytes is not sparse", format, len(data))
		}
		s := newSandbox(t)
		res, err := s.unpack(data, Options{})
		must(t, err)
		if res.Size != 48<<20 {
			t.Errorf("%v: size %d", format, res.Size)
		}
		got := describePath(t, s.root+"/f")
		if format[0] == "--format=gnu" { // has whole seconds
			got, want := got[strings.Index(got, "links"):], want[strings.Index(want, "links"):]
			if got != want {
				t.Errorf("%v: f is %s, want %s", format, got, want)
			}
		} else if got != want {
			t.Errorf("%v: f is %s, want %s", format, got, want)
		}
		var st unix.Stat_t
		must(t, unix.Stat(s.root+"/f", &st))
		if st.Blocks*512 > 1<<20 {
			t.Errorf("%v: takes %d bytes of disk", format, st.Blocks*512)
		}
	}
}

// TestZerosAreKept: only a file that the tar calls sparse gets holes.
func TestZerosAreKept(t *testing.T) {
	s := newSandbox(t)
	s.mustUnpack(file("z", string(bytes.Repeat([]byte{0}, 64<<10))))
	var st unix.Stat_t
	must(t, unix.Stat(s.root+"/z", &st))
	if st.Size != 64<<10 || st.Blocks == 0 {
		t.Errorf("size %d, %d blocks", st.Size, st.Blocks)
	}
}

// TestGlobalHeader: git archive begins with one.
func TestGlobalHeader(t *testing.T) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "../pax_global_header", PAXRecords: map[string]string{"comment": "x"}}))
	f := file("x", "y")
	must(t, w.WriteHeader(&f.Header))
	_, err := w.Write([]byte("y"))
	must(t, err)
	must(t, w.Close())
	s := newSandbox(t)
	_, err = s.unpack(buf.Bytes(), Options{})
	must(t, err)
	s.shapes(map[string]string{"x": "file:y"})
}
