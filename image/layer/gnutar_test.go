package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLikeGNUTar unpacks random well-formed trees with GNU tar and with
// Unpack: all that stat(2), the attributes and the content tell must agree.
func TestLikeGNUTar(t *testing.T) {
	for seed := range uint64(20) {
		data := archive(t, randomTree(rand.New(rand.NewPCG(seed, 61)), 150)...)
		ref := t.TempDir()
		cmd := exec.Command("tar", "-C", ref, "--numeric-owner", "--same-owner", "--same-permissions",
			"--xattrs", "--xattrs-include=*", "--delay-directory-restore", "-xf", "-")
		cmd.Stdin = bytes.NewReader(data)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("tar: %v: %s", err, out)
		}
		s := newSandbox(t)
		res, err := s.unpack(data, Options{})
		must(t, err)
		if !res.SelfContained {
			t.Error("not self-contained")
		}
		compareTrees(t, describeTree(t, ref, ""), describeTree(t, s.root, ""))
	}
}

func compareTrees(t *testing.T, want, got map[string]string) {
	t.Helper()
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if p != "." && want[p] != got[p] {
			t.Errorf("%s\n got %s\nwant %s", p, got[p], want[p])
		}
	}
	if len(want) != len(got) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
}

// randomTree is a tree in the order of a walk, each directory before its
// entries; directories come last too, as archives made by appending have them.
func randomTree(r *rand.Rand, n int) []ent {
	dirs, files := []string{""}, []string{}
	var ents []ent
	for i := range n {
		name := fmt.Sprintf("%s%s%d", dirs[r.IntN(len(dirs))], strings.Repeat("x", r.IntN(120)), i)
		var e ent
		switch k := r.IntN(10); {
		case k < 3:
			e = dirEnt(name)
			dirs = append(dirs, name+"/")
		case k < 6:
			e = file(name, strings.Repeat("content ", r.IntN(20_000)))
			files = append(files, name)
		case k == 6 && len(files) > 0:
			ents = append(ents, linkTo(ents, name, files[r.IntN(len(files))]))
			continue
		case k == 7:
			e = header(tar.TypeFifo, name, 0o600)
		case k == 8:
			e = dev(tar.TypeBlock, name, int64(r.IntN(300)), int64(r.IntN(70000)))
		default:
			e = sym(name, strings.Repeat("../", r.IntN(3))+"usr/x")
		}
		if e.Typeflag != tar.TypeSymlink {
			e.Mode = int64(r.IntN(0o10000))
		}
		e.Uid, e.Gid = r.IntN(3)*1000, r.IntN(3)*70_000
		e.ModTime = time.Unix(int64(r.IntN(2_000_000_000)), int64(r.IntN(1_000_000_000)))
		if (e.Typeflag == tar.TypeReg || e.Typeflag == tar.TypeDir) && r.IntN(5) == 0 {
			e = e.xattr("user.note", fmt.Sprint(i))
		}
		ents = append(ents, e)
	}
	return ents
}

// linkTo is a hard link with the header that its target has.
func linkTo(ents []ent, name, target string) ent {
	i := slices.IndexFunc(ents, func(e ent) bool { return e.Name == target })
	e := ents[i]
	e.Typeflag, e.Name, e.Linkname, e.Size, e.body = tar.TypeLink, name, target, 0, ""
	return e
}

// TestMadeByTars unpacks what GNU tar and busybox make of a tree.
func TestMadeByTars(t *testing.T) {
	src := newSandbox(t)
	src.mustUnpack(randomTree(rand.New(rand.NewPCG(7, 7)), 200)...)
	want := describeTree(t, src.root, "")
	for _, args := range [][]string{
		{"tar", "--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner"},
		{"tar", "--format=gnu", "--numeric-owner"},
		{"busybox", "tar"},
	} {
		cmd := exec.Command(args[0], append(args[1:], "-C", src.root, "-c", "-f", "-", ".")...)
		data, err := cmd.Output()
		must(t, err)
		s := newSandbox(t)
		_, err = s.unpack(data, Options{})
		must(t, err)
		got := describeTree(t, s.root, "")
		if args[1] != "--format=pax" { // the others know neither nanoseconds nor attributes
			got, want := withoutFine(got), withoutFine(want)
			compareTrees(t, want, got)
			continue
		}
		compareTrees(t, want, got)
	}
}

func withoutFine(tree map[string]string) map[string]string {
	plain := map[string]string{}
	for p, line := range tree {
		words := strings.Fields(line)
		words = slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, "user.") })
		for i, w := range words {
			if strings.HasPrefix(w, "mtime=") {
				words[i], _, _ = strings.Cut(w, ".")
			}
		}
		plain[p] = strings.Join(words, " ")
	}
	return plain
}

// TestRealNames is the usual begin of a distribution's layer.
func TestRealNames(t *testing.T) {
	s := newSandbox(t)
	s.mustUnpack(dirEnt("./"), sym("./bin", "usr/bin"), dirEnt("./usr/"), dirEnt("./usr/bin/"),
		file("./usr/bin/sh", "sh"), hard("./usr/bin/ash", "./usr/bin/sh"), file("bin/late", "x"), hard("bin/h", "/bin/late"))
	s.shapes(map[string]string{"bin": "link:usr/bin", "usr/bin/ash": "file:sh", "usr/bin/late": "file:x", "usr/bin/h": "file:x"})
	if _, err := os.Stat(s.root + "/usr/bin/late"); err != nil {
		t.Error(err)
	}
}
