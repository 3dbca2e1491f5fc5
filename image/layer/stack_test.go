package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// model is a merged tree: a path's "dir MODE" or "file CONTENT".
type model map[string]string

func (m model) isDir(p string) bool { return p == "" || strings.HasPrefix(m[p], "dir ") }

func (m model) clear(p string) {
	for q := range m {
		if strings.HasPrefix(q, p+"/") || p == "" {
			delete(m, q)
		}
	}
}

// parents makes what the tar does not describe, as Docker would.
func (m model) parents(p string) {
	for up, _ := split(p); up != "" && m[up] == ""; up, _ = split(up) {
		m[up] = "dir 755"
	}
}

// hide carries out what a layer's whiteouts say of the layers below.
func (m model) hide(ents []ent) {
	for _, e := range ents {
		n, _ := parseName(e.Name)
		switch n.kind {
		case kindWhiteout:
			m.clear(join(n.parent, n.base))
			delete(m, join(n.parent, n.base))
		case kindOpaque:
			m.clear(n.parent)
		}
	}
}

// add carries out the other entries, one after the other.
func (m model) add(ents []ent) {
	for _, e := range ents {
		n, _ := parseName(e.Name)
		m.parents(join(n.parent, n.base))
		switch {
		case n.kind == kindOpaque:
			m.parents(n.parent + "/x")
			continue
		case n.kind != kindFile:
			continue
		case e.Typeflag == tar.TypeDir:
			m[e.Name] = fmt.Sprintf("dir %o", e.Mode)
			continue
		}
		m.clear(e.Name)
		m[e.Name] = "file " + e.body
		if e.Typeflag == tar.TypeLink {
			m[e.Name] = m[e.Linkname]
		}
	}
}

// TestStacks unpacks random stacks of layers, lets overlayfs merge them, and
// wants what the model of applying them one after the other says.
func TestStacks(t *testing.T) {
	alone := 0
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 5))
		want := model{}
		var dirs []string // top first
		var story []string
		for range 2 + r.IntN(3) {
			ents := randomLayer(r, want)
			for _, e := range ents {
				story = append(story, fmt.Sprintf("%c %s %s %o", e.Typeflag, e.Name, e.Linkname, e.Mode))
			}
			story = append(story, "--")
			dir := t.TempDir()
			if unpackLayer(t, dir, archive(t, ents...), dirs) {
				alone++
			}
			dirs = append([]string{dir}, dirs...)
		}
		got := readModel(t, mount(t, dirs...))
		for p := range want {
			if got[p] != want[p] {
				t.Errorf("seed %d: %s is %q, want %q", seed, p, got[p], want[p])
			}
		}
		for p := range got {
			if want[p] == "" {
				t.Errorf("seed %d: %s is there: %q", seed, p, got[p])
			}
		}
		if t.Failed() {
			t.Fatal(strings.Join(story, "\n"))
		}
	}
	if alone < 20 {
		t.Errorf("%d self-contained layers are too few", alone)
	}
}

// unpackLayer does what a pull does: alone if it can be, else over the others.
func unpackLayer(t *testing.T, dir string, data []byte, below []string) (alone bool) {
	for _, parents := range [][]string{nil, append([]string{}, below...)} {
		root, err := os.Open(dir)
		must(t, err)
		_, err = Unpack(context.Background(), bytes.NewReader(data), Options{Root: root, Parents: parents})
		root.Close()
		if err == nil {
			return parents == nil
		}
		if !errors.Is(err, ErrNeedsParents) {
			t.Fatal(err)
		}
		must(t, os.RemoveAll(dir))
		must(t, os.Mkdir(dir, 0o755))
	}
	t.Fatal("needs parents that it has")
	return false
}

// maker makes up a layer that may lie on the tree m, and applies it to m.
type maker struct {
	r         *rand.Rand
	m         model
	full      bool // all parents are described
	ents      []ent
	described map[string]bool
}

// randomLayer has few names, so that they often meet. Half of the layers
// describe all parents and have whiteouts anywhere; the others have whiteouts
// first.
func randomLayer(r *rand.Rand, m model) []ent {
	k := &maker{r: r, m: m, full: r.IntN(2) == 0, described: map[string]bool{}}
	marks := k.marks()
	m.hide(marks)
	m.add(marks)
	if !k.full {
		k.ents = append(k.ents, marks...)
	}
	for _, mark := range marks {
		parent, _ := split(mark.Name)
		k.describe(parent)
	}
	early := len(k.ents)
	for i := range r.IntN(6) {
		k.entry(i)
	}
	for _, mark := range marks {
		parent, _ := split(mark.Name)
		switch {
		case !k.full:
		case blocked(m, parent):
			k.ents = slices.Insert(k.ents, early, mark)
		default:
			k.ents = append(k.ents, mark)
		}
	}
	return k.ents
}

func (k *maker) name() string {
	p := string(rune('a' + k.r.IntN(3)))
	for k.r.IntN(3) > 0 && len(p) < 7 {
		p += "/" + string(rune('a'+k.r.IntN(3)))
	}
	return p
}

// marks are whiteouts, those of the upper directories first: what a parent
// that nobody describes looks like may hang on that order.
func (k *maker) marks() (marks []ent) {
	for range k.r.IntN(4) {
		parent, base := split(k.name())
		mark := file(join(parent, whiteoutPrefix+base), "")
		if k.r.IntN(3) == 0 && (parent != "" || !k.full) {
			mark = file(join(parent, opaqueName), "")
		}
		// overlayfs lists whiteouts of what is not there, so honest layers have none.
		if k.m[join(parent, base)] != "" {
			marks = append(marks, mark)
		}
	}
	slices.SortFunc(marks, func(a, b ent) int {
		depth := func(e ent) int { return 2*strings.Count(e.Name, "/") - strings.Count(e.Name, opaqueName) }
		return depth(a) - depth(b)
	})
	return marks
}

func (k *maker) add(e ent) {
	k.ents = append(k.ents, e)
	k.m.add([]ent{e})
	if e.Typeflag == tar.TypeDir {
		k.described[e.Name] = true
		return
	}
	for p := range k.described {
		if p == e.Name || strings.HasPrefix(p, e.Name+"/") {
			delete(k.described, p)
		}
	}
}

// describe gives a directory and those above it entries, the upper first.
func (k *maker) describe(p string) {
	if p == "" || !k.full || k.described[p] {
		return
	}
	up, _ := split(p)
	k.describe(up)
	k.add(header(tar.TypeDir, p, 0o700+int64(k.r.IntN(64))))
}

func (k *maker) entry(i int) {
	e := file(k.name(), fmt.Sprint(i, k.r.Uint32()))
	other := k.name()
	file := strings.HasPrefix(k.m[other], "file ") && !strings.HasPrefix(other+"/", e.Name+"/")
	switch {
	case k.r.IntN(3) == 0:
		e = header(tar.TypeDir, e.Name, 0o700+int64(k.r.IntN(64)))
	case k.r.IntN(3) == 0 && file && !k.full:
		e = hard(e.Name, other)
	}
	if parent, _ := split(e.Name); !blocked(k.m, parent) {
		k.describe(parent)
		k.add(e)
	}
}

// blocked says that a directory can't be, for a file is in the way.
func blocked(m model, p string) bool {
	for ; p != ""; p, _ = split(p) {
		if m[p] != "" && !m.isDir(p) {
			return true
		}
	}
	return false
}

func readModel(t *testing.T, top string) model {
	m := model{}
	must(t, filepath.WalkDir(top+"/.", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(top, p)
		info, err := d.Info()
		switch {
		case err != nil:
			return err
		case rel == ".":
		case d.IsDir():
			m[rel] = fmt.Sprintf("dir %o", info.Mode().Perm())
		default:
			data, err := os.ReadFile(p)
			m[rel] = "file " + string(data)
			return err
		}
		return nil
	}))
	return m
}
