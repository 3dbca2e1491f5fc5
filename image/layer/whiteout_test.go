package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"testing"

	"minict/overlay"
)

// What whiteouts and entries of one layer make of each other: image-spec,
// layer.md. A whiteout hides lower layers alone, wherever it is in the tar.
var whiteouts = []struct {
	name string
	tar  []ent
	want map[string]string
}{
	{"of what is not there", []ent{file(".wh.x", "")},
		map[string]string{"x": "whiteout", ".wh.x": "-"}},
	{"twice", []ent{file(".wh.x", ""), file(".wh.x", "")},
		map[string]string{"x": "whiteout"}},
	{"in a directory", []ent{dirEnt("d"), file("d/.wh.x", "")},
		map[string]string{"d": "dir", "d/x": "whiteout"}},
	{"before the file", []ent{file(".wh.x", ""), file("x", "new")},
		map[string]string{"x": "file:new"}},
	{"after the file", []ent{file("x", "new"), file(".wh.x", "")},
		map[string]string{"x": "file:new"}},
	{"before the link", []ent{file(".wh.x", ""), sym("x", "y")},
		map[string]string{"x": "link:y"}},
	{"after the link", []ent{sym("x", "y"), file(".wh.x", "")},
		map[string]string{"x": "link:y"}},
	{"before the hard link", []ent{file("f", "1"), file(".wh.x", ""), hard("x", "f")},
		map[string]string{"x": "file:1"}},
	{"before the device", []ent{file(".wh.x", ""), dev(tar.TypeChar, "x", 1, 3)},
		map[string]string{"x": "other"}},
	{"before the directory", []ent{file(".wh.x", ""), dirEnt("x"), file("x/a", "1")},
		map[string]string{"x": "opaque", "x/a": "file:1"}},
	{"after the directory", []ent{dirEnt("x"), file("x/a", "1"), file(".wh.x", "")},
		map[string]string{"x": "opaque", "x/a": "file:1"}},
	{"of a directory that nobody describes", []ent{file(".wh.x", ""), file("x/a", "1")},
		map[string]string{"x": "opaque", "x/a": "file:1"}},
	{"opaque before the entries", []ent{dirEnt("d"), file("d/.wh..wh..opq", ""), file("d/a", "1")},
		map[string]string{"d": "opaque", "d/a": "file:1", "d/.wh..wh..opq": "-"}},
	{"opaque after the entries", []ent{dirEnt("d"), file("d/a", "1"), file("d/.wh..wh..opq", "")},
		map[string]string{"d": "opaque", "d/a": "file:1"}},
	{"opaque and described again", []ent{dirEnt("d"), file("d/.wh..wh..opq", ""), dirEnt("d")},
		map[string]string{"d": "opaque"}},
	{"below an opaque directory", []ent{dirEnt("d"), file("d/.wh..wh..opq", ""), file("d/e/f", "1")},
		map[string]string{"d": "opaque", "d/e": "dir", "d/e/f": "file:1"}},
	{"under an opaque directory", []ent{dirEnt("d"), file("d/.wh..wh..opq", ""), file("d/.wh.x", ""), dirEnt("d/e"), file("d/e/.wh.x", "")},
		map[string]string{"d": "opaque", "d/x": "-", "d/e/x": "-"}},
	{"under a directory that becomes opaque", []ent{dirEnt("d"), file("d/.wh.x", ""), dirEnt("d/e"), file("d/e/.wh.x", ""), file("d/e/f", "1"), file("d/.wh..wh..opq", "")},
		map[string]string{"d": "opaque", "d/x": "-", "d/e/x": "-", "d/e/f": "file:1"}},
	{"under a directory that a whiteout hides", []ent{dirEnt("d"), file("d/.wh.x", ""), file(".wh.d", "")},
		map[string]string{"d": "opaque", "d/x": "-"}},
	{"of a whiteout's own name", []ent{file(".wh..wh.x", "")},
		map[string]string{".wh.x": "-", ".wh..wh.x": "-"}},
	{"file, then directory", []ent{file("x", "1"), dirEnt("x")},
		map[string]string{"x": "opaque"}},
	{"plain directory", []ent{dirEnt("x"), dirEnt("x")},
		map[string]string{"x": "dir"}},
}

func TestWhiteouts(t *testing.T) {
	for _, c := range whiteouts {
		t.Run(c.name, func(t *testing.T) {
			s := newSandbox(t)
			// nil parents: none of these needs a lower layer.
			res, err := s.unpack(archive(t, c.tar...), Options{})
			must(t, err)
			if !res.SelfContained {
				t.Error("not self-contained")
			}
			s.shapes(c.want)
		})
	}
}

// TestReplace is about entries that come twice: the last one holds.
func TestReplace(t *testing.T) {
	s := newSandbox(t)
	s.mustUnpack(
		file("f", "1"), file("f", "22"),
		sym("l", "a"), sym("l", "b"),
		dirEnt("d"), dirEnt("d/e"), file("d/e/f", "1"), file("d/g", "1"), file("d", "file now"),
		dirEnt("keep"), file("keep/x", "1"), dirEnt("keep").with(func(h *tar.Header) { h.Mode = 0o700 }),
		file("a", "1"), hard("b", "a"), file("a", "2"),
		dirEnt("p"), file("p/x", "1"), sym("q", "p"), file("q/y", "1"), dirEnt("r"), sym("q", "r"), file("q/z", "1"),
		dirEnt("gone"), dirEnt("gone/in"), file("gone/in/a", "1"), file("gone", ""), dirEnt("gone"), dirEnt("gone/in"), file("gone/in/b", "1"),
	)
	s.shapes(map[string]string{
		"f": "file:22", "l": "link:b", "d": "file:file now",
		"keep": "dir", "keep/x": "file:1",
		"a": "file:2", "b": "file:1",
		"p/x": "file:1", "p/y": "file:1", "p/z": "-", "r/z": "file:1",
		"gone/in/a": "-", "gone/in/b": "file:1",
	})
	st, err := os.Stat(s.root + "/keep")
	must(t, err)
	if st.Mode().Perm() != 0o700 || !st.ModTime().Equal(stamp) {
		t.Errorf("keep is %v of %v", st.Mode(), st.ModTime())
	}
}

// TestOpaqueRoot needs a whiteout for each name below: overlayfs heeds no mark
// on a layer's root. The merge is the kernel's own.
func TestOpaqueRoot(t *testing.T) {
	lower := newSandbox(t)
	lower.mustUnpack(file("a", "low"), dirEnt("d"), file("d/x", "low"), dirEnt("e"), file("e/x", "low"), file("f", "low"))
	data := archive(t, file("f", "new"), dirEnt("d"), file(".wh..wh..opq", ""), file("d/y", "new"))

	s := newSandbox(t)
	if _, err := s.unpack(data, Options{}); !errors.Is(err, ErrNeedsParents) {
		t.Fatalf("error %v, want ErrNeedsParents", err)
	}
	s = newSandbox(t)
	res, err := s.unpack(data, Options{Parents: []string{lower.root}})
	must(t, err)
	if res.SelfContained {
		t.Error("self-contained")
	}
	merged := mount(t, s.root, lower.root)
	for p, want := range map[string]string{
		"a": "-", "e": "-", "e/x": "-", "f": "file:new", "d": "opaque", "d/x": "-", "d/y": "file:new",
	} {
		if got := shape(t, merged+"/"+p); got != want && !(want == "opaque" && got == "dir") {
			t.Errorf("%s is %q, want %q", p, got, want)
		}
	}
}

// mount merges layers, the top first, and returns a path to them.
func mount(t testing.TB, layers ...string) string {
	t.Helper()
	f, err := overlay.Mount(overlay.Stack{Lower: layers})
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return procPath(int(f.Fd()))
}

// TestFormIsOverlays checks by the kernel that what we write is what it reads.
func TestFormIsOverlays(t *testing.T) {
	lower, upper := newSandbox(t), newSandbox(t)
	lower.mustUnpack(file("gone", "low"), dirEnt("d"), file("d/low", "low"), dirEnt("n"), file("n/low", "low"),
		sym("bin", "usr/bin"), dirEnt("usr"), dirEnt("usr/bin"), file("usr/bin/sh", "low"))
	upper.mustUnpack(file(".wh.gone", ""), dirEnt("d"), file("d/.wh..wh..opq", ""), file("d/up", "up"),
		dirEnt("n"), file("n/up", "up"))
	merged := mount(t, upper.root, lower.root)
	for p, want := range map[string]string{
		"gone": "-", "d/low": "-", "d/up": "file:up", "n/low": "file:low", "n/up": "file:up", "bin/sh": "file:low",
	} {
		if got := shape(t, merged+"/"+p); got != want {
			t.Errorf("%s is %q, want %q", p, got, want)
		}
	}
}

// TestNoSmuggling drops what would make overlayfs show other files than the
// layers' own (CVE-2023-0386, CVE-2021-3493), and the host's labels.
func TestNoSmuggling(t *testing.T) {
	s := newSandbox(t)
	bad := []string{
		"trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.overlay.origin",
		"trusted.overlay.whiteout", "trusted.overlay.overlay.opaque", "user.overlay.opaque", "user.overlay.redirect",
		"user.overlay.whiteout", "trusted.other", "security.selinux", "security.ima", "security.evm", "system.other",
	}
	for _, e := range []ent{dirEnt("d"), file("f", "x"), dirEnt("./")} {
		for _, name := range bad {
			e = e.xattr(name, "y")
		}
		s.mustUnpack(e.xattr("user.good", "1"))
	}
	for _, p := range []string{"/d", "/f", "/"} {
		names := xattrNames(t, s.root+p)
		if len(names) != 1 || names[0] != "user.good" {
			t.Errorf("%s has %q", p, names)
		}
	}
}

// TestRawWhiteout is the rule for 0:0 by itself: a block device with that
// number hides nothing.
func TestRawWhiteout(t *testing.T) {
	s := newSandbox(t)
	s.mustUnpack(dev(tar.TypeBlock, "b", 0, 0))
	s.shapes(map[string]string{"b": "other"})
	_, err := s.unpack(archive(t, dev(tar.TypeChar, "c", 0, 0)), Options{})
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte(`"c"`)) {
		t.Errorf("error %v", err)
	}
}
