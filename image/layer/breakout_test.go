package layer

import (
	"archive/tar"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var errAny = errors.New("any error")

// want is what an attack leads to: an error, or nil and what the root holds
// then. OUT in names and targets stands for the absolute path outside.
type want struct {
	err    error
	shapes map[string]string
}

var refused = want{err: ErrBreakout}
var failed = want{err: errAny}

func holds(pairs ...string) want {
	w := want{shapes: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		w.shapes[pairs[i]] = pairs[i+1]
	}
	return w
}

func wide(e ent) ent {
	return e.with(func(h *tar.Header) { h.Mode, h.Uid, h.Gid = 0o6777, 1234, 1234 })
}

var breakouts = []struct {
	name string
	tar  []ent
	want want
}{
	// Names that climb (CVE-2014-6407, CVE-2014-9356, CVE-2026-17106).
	{"file above", []ent{file("../outside/canary", "x")}, refused},
	{"new file above", []ent{file("../outside/new", "x")}, refused},
	{"file above by the way of a directory", []ent{dirEnt("a"), file("a/../../outside/new", "x")}, refused},
	{"file above after a dot", []ent{file("./../outside/new", "x")}, refused},
	{"file far above", []ent{file(strings.Repeat("../", 60)+"OUT/new", "x")}, refused},
	{"absolute name that climbs", []ent{file("/../outside/canary", "x")}, refused},
	{"absolute name", []ent{file("OUT/canary", "x")}, holds("OUT/canary", "file:x")},
	{"many slashes", []ent{file("///x", "y")}, holds("x", "file:y")},
	{"dots that stay", []ent{file("a/../b", "x")}, holds("a", "-", "b", "file:x")},
	{"directory above", []ent{wide(dirEnt("../outside/dir"))}, refused},
	{"the directory above", []ent{wide(dirEnt(".."))}, refused},
	{"link above", []ent{sym("../outside/link", "/")}, refused},
	{"device above", []ent{dev(tar.TypeChar, "../outside/null", 1, 3)}, refused},

	// Names that go through a link (CVE-2021-29136).
	{"through an absolute link", []ent{sym("l", "OUT"), file("l/new", "x")}, holds("OUT/new", "file:x")},
	{"through a link that climbs", []ent{sym("l", "../outside"), file("l/new", "x")}, refused},
	{"over a file through a link that climbs", []ent{sym("l", "../outside"), file("l/canary", "x")}, refused},
	{"through a link that climbs from below", []ent{dirEnt("a"), sym("a/l", "../../outside"), file("a/l/new", "x")}, refused},
	{"through a link that climbs far", []ent{sym("l", strings.Repeat("../", 40)+"OUT"), file("l/new", "x")}, refused},
	{"through a link down and out", []ent{dirEnt("a"), sym("l", "a/../../outside"), file("l/new", "x")}, refused},
	{"through a chain", []ent{sym("a", "b"), sym("b", "c"), sym("c", "../outside"), file("a/new", "x")}, refused},
	{"through a link made through a link", []ent{sym("here", "."), sym("here/up", ".."), file("up/outside/new", "x")}, refused},
	{"through a link to the root", []ent{sym("r", "/"), file("r/outside/new", "x")}, holds("outside/new", "file:x")},
	{"through a link to above the root", []ent{sym("r", "/.."), file("r/outside/new", "x")}, refused},
	{"through a link with a slash at its name's end", []ent{sym("l/", "../outside"), file("l/new", "x")}, refused},
	{"through a link that comes back by name", []ent{sym("l", "../outside"), file("l/../../outside/new", "x")}, refused},
	{"round in a circle", []ent{sym("a", "b"), sym("b", "a"), file("a/x", "x")}, failed},
	{"round itself", []ent{sym("a", "a"), file("a/x", "x")}, failed},
	{"through a longer and longer link", []ent{sym("a", "a/a/a"), file("a/x", "x")}, failed},
	{"through /proc/self/root", []ent{sym("p", "/proc/self/root"), file("pOUT/new", "x")}, holds("proc/self/rootOUT/new", "file:x")},
	{"through /proc/self/cwd", []ent{sym("p", "/proc/self/cwd"), file("p/new", "x")}, holds("proc/self/cwd/new", "file:x")},
	{"directory through a link", []ent{sym("l", "../outside"), wide(dirEnt("l/dir"))}, refused},
	{"link through a link", []ent{sym("l", "../outside"), sym("l/new", "x")}, refused},
	{"FIFO through a link", []ent{sym("l", "../outside"), header(tar.TypeFifo, "l/new", 0o600)}, refused},
	{"through a link in the middle", []ent{dirEnt("outside"), dirEnt("outside/dir"), sym("l", "../outside"), file("l/dir/new", "x")}, refused},
	{"through an absolute link below", []ent{dirEnt("a"), dirEnt("c"), sym("a/l", "/c"), file("a/l/x", "y")}, holds("c/x", "file:y")},
	{"through a link that the entry before took away", []ent{dirEnt("a"), sym("a/l", ".."), file("a/l/a", "x"), file("a/l/x", "y")}, failed},
	{"a link that stays", []ent{dirEnt("a"), dirEnt("c"), sym("a/b", "../c"), file("a/b/x", "y")}, holds("c/x", "file:y")},

	// What a link points at is not what the link is (CVE-2021-32760, CVE-2021-41089).
	{"file over a link", []ent{sym("f", "../outside/canary"), file("f", "x")}, holds("f", "file:x")},
	{"file over an absolute link", []ent{sym("f", "OUT/canary"), wide(file("f", "x"))}, holds("f", "file:x")},
	{"directory over a link", []ent{sym("l", "../outside/dir"), wide(dirEnt("l")), file("l/x", "y")}, holds("l", "opaque", "l/x", "file:y")},
	{"link over a directory", []ent{dirEnt("d"), file("d/x", "y"), sym("d", "../outside"), file("d/new", "x")}, refused},
	{"link over a full directory", []ent{dirEnt("d"), dirEnt("d/e"), file("d/e/x", "y"), sym("d", "OUT")}, holds("d", "link:OUT")},
	{"mode, owner and times of a link", []ent{wide(sym("l", "OUT/canary"))}, holds("l", "link:OUT/canary")},
	{"attributes of a link", []ent{sym("l", "OUT/canary").xattr("user.evil", "1").xattr("security.capability", "x")}, holds("l", "link:OUT/canary")},
	{"device over a link", []ent{sym("l", "OUT/canary"), wide(dev(tar.TypeChar, "l", 1, 3))}, holds("l", "other")},

	// Hard links.
	{"hard link above", []ent{hard("h", "../outside/canary")}, refused},
	{"hard link down and out", []ent{dirEnt("a"), hard("h", "a/../../outside/canary")}, refused},
	{"hard link to an absolute name", []ent{hard("h", "OUT/canary")}, failed},
	{"hard link far above", []ent{hard("h", strings.Repeat("../", 60)+"OUT/canary")}, refused},
	{"hard link through a link", []ent{sym("l", "../outside"), hard("h", "l/canary")}, refused},
	{"hard link through an absolute link", []ent{sym("l", "OUT"), hard("h", "l/canary")}, failed},
	{"hard link whose own name climbs", []ent{file("f", "x"), hard("../outside/h", "f")}, refused},
	{"hard link made through a link", []ent{file("f", "x"), sym("l", "../outside"), hard("l/h", "f")}, refused},
	{"hard link to a link, with a mode", []ent{sym("s", "OUT/canary"), wide(hard("h", "s"))}, holds("h", "link:OUT/canary")},
	{"file over a hard link to a link", []ent{sym("s", "OUT/canary"), hard("h", "s"), file("h", "x")}, holds("h", "file:x", "s", "link:OUT/canary")},
	{"through a hard link to a link", []ent{sym("s", "../outside"), hard("h", "s"), file("h/new", "x")}, refused},
	{"hard link to the root", []ent{hard("h", "/")}, failed},
	{"hard link to a directory", []ent{dirEnt("d"), hard("h", "d")}, failed},
	{"hard link to itself", []ent{hard("h", "h")}, failed},
	{"hard link again", []ent{file("f", "x"), hard("f", "f")}, holds("f", "file:x")},
	{"hard link over its target's directory", []ent{dirEnt("a"), file("a/x", "y"), hard("a", "a/x")}, want{errAny, map[string]string{"a/x": "file:y"}}},
	{"hard link to a whiteout", []ent{file(".wh.f", ""), hard("h", "f")}, failed},

	// The root (CVE-2021-29136).
	{"root is a link", []ent{sym(".", "OUT"), file("new", "x")}, failed},
	{"root is a link with a slash", []ent{sym("./", "../outside"), file("new", "x")}, failed},
	{"root is a link by another name", []ent{sym("a/..", "../outside")}, failed},
	{"root is an absolute link", []ent{sym("/", "OUT")}, failed},
	{"root is a file", []ent{file(".", "x")}, failed},
	{"root is a hard link", []ent{file("f", "x"), hard(".", "f")}, failed},
	{"root is a device", []ent{dev(tar.TypeBlock, ".", 8, 0)}, failed},
	{"root is a directory", []ent{wide(dirEnt("./")), file("x", "y")}, holds("x", "file:y")},

	// Whiteouts.
	{"whiteout of the root", []ent{file(".wh..", "")}, failed},
	{"whiteout of above the root", []ent{file(".wh...", "")}, failed},
	{"whiteout of nothing", []ent{file(".wh.", "")}, failed},
	{"whiteout of a directory from inside", []ent{dirEnt("a"), file("a/.wh..", "")}, failed},
	{"whiteout of above a directory", []ent{dirEnt("a"), file("a/.wh...", "")}, failed},
	{"whiteout above", []ent{file("../outside/.wh.canary", "")}, refused},
	{"whiteout through a link", []ent{sym("l", "../outside"), file("l/.wh.canary", "")}, refused},
	{"whiteout through an absolute link", []ent{sym("l", "OUT"), file("l/.wh.canary", "")}, holds("OUT/canary", "whiteout")},
	{"whiteout of a link", []ent{sym("l", "../outside/dir"), file(".wh.l", "")}, holds("l", "link:../outside/dir")},
	{"whiteout through a dead link", []ent{sym("l", "gone/away"), file("l/.wh.x", "")}, holds("gone/away/x", "whiteout")},
	{"whiteout as a directory", []ent{file(".wh.d/x", "y")}, failed},
	{"opaque mark as a directory", []ent{file(".wh..wh..opq/x", "y")}, failed},
	{"opaque mark above", []ent{file("../outside/dir/.wh..wh..opq", "")}, refused},
	{"opaque mark through a link", []ent{sym("l", "../outside/dir"), file("l/.wh..wh..opq", "")}, refused},
	{"whiteout that is a link", []ent{sym(".wh.x", "../outside/canary")}, holds("x", "whiteout", ".wh.x", "-")},
	{"AUFS's notes", []ent{dirEnt(".wh..wh.plnk"), file(".wh..wh.plnk/x", "y"), file(".wh..wh.aufs", "")}, holds(".wh..wh.plnk", "-", ".wh..wh.aufs", "-")},
	{"device in the form of a whiteout", []ent{dev(tar.TypeChar, "x", 0, 0)}, failed},

	// What is no directory is no parent.
	{"below a file", []ent{file("f", "x"), file("f/x", "y")}, failed},
	{"below a FIFO", []ent{header(tar.TypeFifo, "p", 0o600), file("p/x", "y")}, failed},
	{"below a device", []ent{dev(tar.TypeChar, "c", 1, 3), file("c/x", "y")}, failed},
}

func TestBreakouts(t *testing.T) {
	for _, c := range breakouts {
		t.Run(c.name, func(t *testing.T) {
			s := newSandbox(t)
			out := func(p string) string { return strings.ReplaceAll(p, "OUT", s.outside) }
			ents := slices.Clone(c.tar)
			for i := range ents {
				ents[i].Name, ents[i].Linkname = out(ents[i].Name), out(ents[i].Linkname)
			}
			_, err := s.unpack(archive(t, ents...), Options{Parents: []string{}})
			switch {
			case c.want.err == nil:
				must(t, err)
			case err == nil:
				t.Errorf("accepted, want %v", c.want.err)
			case c.want.err != errAny && !errors.Is(err, c.want.err):
				t.Errorf("error %v, want %v", err, c.want.err)
			case !strings.HasPrefix(err.Error(), `unpack "`):
				t.Errorf("error does not name the entry: %v", err)
			}
			for p, w := range c.want.shapes {
				s.shapes(map[string]string{out(p): out(w)})
			}
		})
	}
}

// TestDeepestFirst looks at what a climbing name leaves in the root: nothing.
func TestDeepestFirst(t *testing.T) {
	s := newSandbox(t)
	_, err := s.unpack(archive(t, file("a/b/"+strings.Repeat("c", 256)+"/x", "y")), Options{Parents: []string{}})
	if !errors.Is(err, ErrLimit) {
		t.Errorf("error %v", err)
	}
	s.shapes(map[string]string{"a": "-"})
}

// TestUnknownType refuses an entry that nobody knows how to make.
func TestUnknownType(t *testing.T) {
	s := newSandbox(t)
	data := archive(t, file("x", ""))
	data[156] = 'V' // type flag of the first header
	fixChecksum(data[:512])
	if _, err := s.unpack(data, Options{}); err == nil {
		t.Error("accepted")
	}
	if err := unix.Access(s.root+"/x", unix.F_OK); err == nil {
		t.Error("made")
	}
}

func fixChecksum(h []byte) {
	copy(h[148:156], "        ")
	sum := 0
	for _, b := range h[:512] {
		sum += int(b)
	}
	for i := range 6 {
		h[153-i] = byte('0' + sum&7)
		sum >>= 3
	}
	h[154], h[155] = 0, ' '
}
