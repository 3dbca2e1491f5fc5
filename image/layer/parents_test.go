package layer

import (
	"archive/tar"
	"errors"
	"os"
	"strings"
	"testing"
)

// The layers below, lowest first, that the cases of TestParents are put on.
func lowerLayers(t *testing.T) (topFirst []string) {
	odd := func(e ent) ent {
		return e.with(func(h *tar.Header) { h.Mode, h.Uid, h.Gid = 0o1751, 7, 8 })
	}
	layers := [][]ent{
		{
			dirEnt("usr"), odd(dirEnt("usr/bin")).xattr("user.note", "low"), file("usr/bin/sh", "sh"),
			sym("bin", "usr/bin"), sym("abs", "/usr/bin"), sym("up", "../etc"), sym("dead", "nowhere"),
			file("plain", "p"), odd(file("odd", "o")).xattr("user.note", "odd"), sym("link", "plain"),
			dirEnt("gone"), odd(dirEnt("gone/d")), file("gone/f", "f"),
			dirEnt("opq"), odd(dirEnt("opq/d")), file("opq/f", "f"),
			dev(tar.TypeChar, "null", 1, 3),
		},
		{
			file(".wh.gone", ""), dirEnt("opq"), file("opq/.wh..wh..opq", ""),
			dirEnt("usr"), file("usr/.wh.nothing", ""), dirEnt("usr/lib").with(func(h *tar.Header) { h.Mode = 0o700 }),
		},
	}
	for _, l := range layers {
		s := newSandbox(t)
		s.mustUnpack(l...)
		topFirst = append([]string{s.root}, topFirst...)
	}
	return topFirst
}

const oddDir = "mode=41751 owner=7:8 "

var parents = []struct {
	name string
	tar  []ent
	err  string            // part of the error, or
	want map[string]string // shapes; a description's beginning after "~"
}{
	{"missing parent", []ent{file("usr/bin/new", "n")}, "",
		map[string]string{"usr": "dir", "usr/bin": "~" + oddDir, "usr/bin/new": "file:n"}},
	{"missing parent, from the layer between", []ent{file("usr/lib/new", "n")}, "",
		map[string]string{"usr/lib": "~mode=40700 "}},
	{"parent nowhere", []ent{file("opt/a/new", "n")}, "",
		map[string]string{"opt": "~mode=40755 owner=0:0 ", "opt/a": "~mode=40755 owner=0:0 "}},
	{"parent is a link below", []ent{file("bin/new", "n")}, "",
		map[string]string{"bin": "-", "usr/bin": "~" + oddDir, "usr/bin/new": "file:n"}},
	{"parent is an absolute link below", []ent{file("abs/new", "n")}, "",
		map[string]string{"abs": "-", "usr/bin/new": "file:n"}},
	{"parent is a link out below", []ent{file("up/new", "n")}, "outside", nil},
	{"parent is a dead link below", []ent{file("dead/new", "n")}, "",
		map[string]string{"nowhere/new": "file:n"}},
	{"parent is a file below", []ent{file("plain/new", "n")}, "not a directory", nil},
	{"parent was whited out", []ent{file("gone/d/new", "n")}, "",
		map[string]string{"gone": "~mode=40755 owner=0:0 ", "gone/d": "~mode=40755 owner=0:0 "}},
	{"parent is under an opaque directory", []ent{file("opq/d/new", "n")}, "",
		map[string]string{"opq/d": "~mode=40755 owner=0:0 "}},
	{"whiteout without a parent", []ent{file("usr/bin/.wh.sh", "")}, "",
		map[string]string{"usr/bin": "~" + oddDir, "usr/bin/sh": "whiteout"}},
	{"opaque without a parent", []ent{file("usr/bin/.wh..wh..opq", "")}, "",
		map[string]string{"usr/bin": "opaque"}},
	{"hard link to a lower file", []ent{hard("h", "plain")}, "",
		map[string]string{"h": "file:p", "plain": "file:p", ".wh.plain": "-"}},
	{"hard link to a lower file in a directory", []ent{hard("h", "usr/bin/sh")}, "",
		map[string]string{"h": "file:sh", "usr/bin": "~" + oddDir}},
	{"hard link to a lower file through a lower link", []ent{hard("h", "bin/sh")}, "",
		map[string]string{"h": "file:sh", "bin": "-", "usr/bin/sh": "file:sh"}},
	{"hard link to a lower link", []ent{hard("h", "link")}, "",
		map[string]string{"h": "link:plain", "plain": "-"}},
	{"hard link to a lower device", []ent{hard("h", "null")}, "",
		map[string]string{"h": "other", "null": "other"}},
	{"hard link to a lower directory", []ent{hard("h", "usr")}, "directory", nil},
	{"hard link to nothing", []ent{hard("h", "nothing")}, "no such file", nil},
	{"hard link to what was whited out", []ent{hard("h", "gone/f")}, "no such file", nil},
	{"hard link to what an opaque directory hides", []ent{hard("h", "opq/f")}, "no such file", nil},
	{"hard link to a lower file in a directory of this layer", []ent{dirEnt("usr"), dirEnt("usr/bin"), hard("h", "usr/bin/sh")}, "",
		map[string]string{"h": "file:sh", "usr/bin": "~mode=40755 owner=0:0 "}},
}

func TestParents(t *testing.T) {
	lower := lowerLayers(t)
	for _, c := range parents {
		t.Run(c.name, func(t *testing.T) {
			data := archive(t, c.tar...)
			if _, err := newSandbox(t).unpack(data, Options{}); !errors.Is(err, ErrNeedsParents) {
				t.Fatalf("without parents: error %v", err)
			}
			s := newSandbox(t)
			res, err := s.unpack(data, Options{Parents: lower})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q in it", err, c.err)
				}
				return
			}
			must(t, err)
			if res.SelfContained {
				t.Error("self-contained")
			}
			for p, want := range c.want {
				if begin, ok := strings.CutPrefix(want, "~"); ok {
					if got := describePath(t, s.root+"/"+p); !strings.HasPrefix(got, begin) {
						t.Errorf("%s is %q, want %q", p, got, begin)
					}
					continue
				}
				s.shapes(map[string]string{p: want})
			}
		})
	}
}

// TestCopiesWhole compares what is copied from a lower layer in all that
// stat(2) tells: it must look in the merged tree as it did before.
func TestCopiesWhole(t *testing.T) {
	lower := lowerLayers(t)
	s := newSandbox(t)
	link := hard("h", "odd").with(func(h *tar.Header) { h.Mode, h.Uid, h.Gid = 0o1751, 7, 8 })
	res, err := s.unpack(archive(t, link, file("usr/bin/new", "")), Options{Parents: lower})
	must(t, err)
	if res.Size != 1 {
		t.Errorf("size %d", res.Size)
	}
	for _, p := range []string{"/odd", "/usr/bin"} {
		want := describePath(t, lower[1]+p)
		got := strings.Replace(describePath(t, s.root+p), "links=2 rdev=0 size", "links=1 rdev=0 size", 1)
		if got != want {
			t.Errorf("%s is\n%s, below it is\n%s", p, got, want)
		}
	}
}

// TestSelfContained unpacks with and without parents: a self-contained layer
// must not notice.
func TestSelfContained(t *testing.T) {
	data := archive(t, dirEnt("usr"), dirEnt("usr/bin"), file("usr/bin/new", "n"), sym("bin", "usr/bin"), file("bin/too", "n"),
		hard("h", "usr/bin/new"), file(".wh.plain", ""), dirEnt("opq"), file("opq/.wh..wh..opq", ""), file("opq/d/x", "x"))
	alone, over := newSandbox(t), newSandbox(t)
	a, err := alone.unpack(data, Options{})
	must(t, err)
	b, err := over.unpack(data, Options{Parents: lowerLayers(t)})
	must(t, err)
	if a != b || !a.SelfContained {
		t.Errorf("results differ: %v, %v", a, b)
	}
	for p, want := range describeTree(t, alone.root, "") {
		// What the tar says no time of has the time when it was made.
		undated := p == "." || p == "opq/d" || p == "plain"
		if got := describeTree(t, over.root, "")[p]; got != want && !undated {
			t.Errorf("%s is %s\nwant %s", p, got, want)
		}
	}
}

// TestParentsClosed opens many layers and leaves none open; newSandbox counts.
func TestParentsClosed(t *testing.T) {
	var lower []string
	for range 130 {
		lower = append(lower, t.TempDir())
	}
	must(t, os.WriteFile(lower[129]+"/f", []byte("low"), 0o600))
	s := newSandbox(t)
	_, err := s.unpack(archive(t, hard("h", "f")), Options{Parents: lower})
	must(t, err)
	s.shapes(map[string]string{"h": "file:low"})
	_, err = s.unpack(archive(t, file("x/y", "")), Options{Parents: append(lower, "/nonexistent")})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
