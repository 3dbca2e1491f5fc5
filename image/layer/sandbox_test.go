package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var stamp = time.Unix(1_600_000_000, 123_456_789)

// ent is an entry of a test's tar; body is a regular file's content.
type ent struct {
	tar.Header
	body string
}

func header(typ byte, name string, mode int64) ent {
	return ent{Header: tar.Header{Typeflag: typ, Name: name, Mode: mode, ModTime: stamp, Format: tar.FormatPAX}}
}

func file(name, body string) ent {
	e := header(tar.TypeReg, name, 0o644)
	e.body, e.Size = body, int64(len(body))
	return e
}

func dirEnt(name string) ent { return header(tar.TypeDir, name, 0o755) }

func sym(name, target string) ent {
	e := header(tar.TypeSymlink, name, 0o777)
	e.Linkname = target
	return e
}

func hard(name, target string) ent {
	e := header(tar.TypeLink, name, 0o644)
	e.Linkname = target
	return e
}

func dev(typ byte, name string, major, minor int64) ent {
	e := header(typ, name, 0o620)
	e.Devmajor, e.Devminor = major, minor
	return e
}

func (e ent) with(change func(*tar.Header)) ent {
	change(&e.Header)
	return e
}

func (e ent) xattr(name, value string) ent {
	e.PAXRecords = maps.Clone(e.PAXRecords)
	if e.PAXRecords == nil {
		e.PAXRecords = map[string]string{}
	}
	e.PAXRecords[paxXattr+name] = value
	return e
}

// archive makes a tar of the entries.
func archive(t testing.TB, ents ...ent) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range ents {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatalf("write header of %q: %v", e.Name, err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// sandbox is a root to unpack to, with things beside it that must not change.
type sandbox struct {
	t             testing.TB
	top           string
	root, outside string
	before        map[string]string
}

func newSandbox(t testing.TB) *sandbox {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root: layers hold owners and devices")
	}
	top := t.TempDir()
	s := &sandbox{t: t, top: top, root: top + "/root", outside: top + "/outside"}
	for _, d := range []string{s.root, s.outside, s.outside + "/dir"} {
		must(t, os.Mkdir(d, 0o711))
	}
	for _, f := range []string{"/canary", "/dir/inner"} {
		must(t, os.WriteFile(s.outside+f, []byte("sings"), 0o640))
	}
	s.before = s.snapshot()
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// unpack applies a tar and checks what must hold whatever is in it: nothing
// beside the root changed, no descriptor stayed open.
func (s *sandbox) unpack(data []byte, o Options) (Result, error) {
	s.t.Helper()
	root, err := os.Open(s.root)
	must(s.t, err)
	defer root.Close()
	o.Root = root
	fds := openFiles(s.t)
	res, err := Unpack(context.Background(), bytes.NewReader(data), o)
	if now := openFiles(s.t); now != fds {
		s.t.Errorf("%d descriptors open before, %d after", fds, now)
	}
	s.checkOutside()
	return res, err
}

func (s *sandbox) mustUnpack(ents ...ent) Result {
	s.t.Helper()
	res, err := s.unpack(archive(s.t, ents...), Options{Parents: []string{}})
	must(s.t, err)
	return res
}

func openFiles(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(names)
}

func (s *sandbox) checkOutside() {
	s.t.Helper()
	if after := s.snapshot(); !maps.Equal(after, s.before) {
		s.t.Errorf("outside the root changed:\nbefore %v\nafter  %v", s.before, after)
	}
}

// snapshot describes all beside the root, the directory that holds it too.
func (s *sandbox) snapshot() map[string]string {
	return describeTree(s.t, s.top, "root")
}

// describeTree maps each path below top, but the entry skip, to all that
// stat(2), the extended attributes and the content say of it.
func describeTree(t testing.TB, top, skip string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	must(t, filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(top, p)
		if err == nil && rel == skip {
			return fs.SkipDir
		}
		if err == nil {
			tree[rel] = describePath(t, p)
		}
		return err
	}))
	return tree
}

func describePath(t testing.TB, p string) string {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(p, &st))
	line := fmt.Sprintf("mode=%o owner=%d:%d mtime=%d.%09d links=%d rdev=%d",
		st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec, st.Nlink, st.Rdev)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := os.Readlink(p)
		must(t, err)
		line += " -> " + target
	case unix.S_IFREG:
		data, err := os.ReadFile(p)
		must(t, err)
		line += fmt.Sprintf(" size=%d sha=%x", len(data), sha256.Sum256(data))
	}
	for _, name := range xattrNames(t, p) {
		line += fmt.Sprintf(" %s=%x", name, getXattr(t, p, name))
	}
	return line
}

func xattrNames(t testing.TB, p string) []string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, buf)
	must(t, err)
	names := strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 })
	slices.Sort(names)
	return names
}

func getXattr(t testing.TB, p, name string) string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Lgetxattr(p, name, buf)
	must(t, err)
	return string(buf[:n])
}

// shape is a short word for what a path is: "-" nothing, "file:CONTENT",
// "dir", "opaque", "link:TARGET", "whiteout", "other".
func shape(t testing.TB, p string) string {
	t.Helper()
	var st unix.Stat_t
	err := unix.Lstat(p, &st)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return "-"
	}
	must(t, err)
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR && slices.Contains(xattrNames(t, p), "trusted.overlay.opaque"):
		return "opaque"
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return "dir"
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		target, err := os.Readlink(p)
		must(t, err)
		return "link:" + target
	case st.Mode&unix.S_IFMT == unix.S_IFREG:
		data, err := os.ReadFile(p)
		must(t, err)
		return "file:" + string(data)
	case st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0:
		return "whiteout"
	}
	return "other"
}

// shapes checks what is in the root.
func (s *sandbox) shapes(want map[string]string) {
	s.t.Helper()
	for p, w := range want {
		if got := shape(s.t, filepath.Join(s.root, p)); got != w {
			s.t.Errorf("%s is %q, want %q", p, got, w)
		}
	}
}
