package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDeleteImageAndCollect(t *testing.T) {
	s := newStore(t)
	a := mustPull(t, s, "a", "base", "of a")
	b := mustPull(t, s, "b", "base", "of b")
	update(t, s, func(tx *Tx) error { return tx.DeleteImage(a.ID) })
	if _, err := byName(s, "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("its name: %v", err)
	}
	if err := s.Update(t.Context(), func(tx *Tx) error { return tx.DeleteImage(a.ID) }); !errors.Is(err, ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	freed, err := s.Collect(t.Context(), nil)
	if err != nil || freed == 0 {
		t.Errorf("freed %d, %v", freed, err)
	}
	for path, want := range map[string]bool{
		s.LayerDir(a.Layers[0].Key): true,
		s.LayerDir(a.Layers[1].Key): false,
		s.LayerDir(b.Layers[1].Key): true,
		s.BlobPath(a.ID):            false,
		s.BlobPath(b.ID):            true,
	} {
		if exists(path) != want {
			t.Errorf("%s is there: %v, want %v", path, !want, want)
		}
	}
	sound(t, s)
}

func TestCollectLeavesWhatIsUsed(t *testing.T) {
	s := newStore(t)
	a := mustPull(t, s, "a", "l", "m")
	update(t, s, func(tx *Tx) error { return tx.DeleteImage(a.ID) })
	used := map[Digest]bool{a.Layers[0].Key: true}
	if _, err := s.Collect(t.Context(), func() (map[Digest]bool, error) { return used, nil }); err != nil {
		t.Fatal(err)
	}
	if !exists(s.LayerDir(a.Layers[0].Key)) || exists(s.LayerDir(a.Layers[1].Key)) {
		t.Error("the wrong layer was removed")
	}
	mine := errors.New("mine")
	if _, err := s.Collect(t.Context(), func() (map[Digest]bool, error) { return nil, mine }); !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
	if !exists(s.LayerDir(a.Layers[0].Key)) {
		t.Error("removed without knowing what is used")
	}
}

// While a View runs, its caller may lay claim to an image: inUse must not be
// asked before it is done.
func TestCollectWaitsForViews(t *testing.T) {
	s := newStore(t)
	a := mustPull(t, s, "a", "l")
	claim := t.TempDir() + "/claim"
	done := make(chan error, 1)
	err := s.View(t.Context(), func(tx *Tx) error {
		if _, err := tx.ByName("a"); err != nil {
			return err
		}
		go func() {
			_, err := s.Collect(t.Context(), func() (map[Digest]bool, error) {
				return map[Digest]bool{a.Layers[0].Key: exists(claim)}, nil
			})
			done <- err
		}()
		runtime.Gosched()
		return os.WriteFile(claim, nil, 0o600)
	})
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	if !exists(s.LayerDir(a.Layers[0].Key)) {
		t.Error("the layer was removed under a container that was being made")
	}
}

// With a damaged index nobody knows what is garbage.
func TestCollectWithCorruptIndex(t *testing.T) {
	s := newStore(t)
	a := mustPull(t, s, "a", "l")
	if err := os.WriteFile(s.path("index.db"), []byte(strings.Repeat("no index", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(t.Context(), nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want %v", err, ErrCorrupt)
	}
	if !exists(s.LayerDir(a.Layers[0].Key)) || !exists(s.BlobPath(a.ID)) {
		t.Error("something was removed")
	}
	_, err := byName(s, "a")
	t.Log(err)
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "index.db") {
		t.Errorf("%v should be one line and name the file", err)
	}
	// What it advises helps.
	if err := os.Rename(s.path("index.db"), t.TempDir()+"/away"); err != nil {
		t.Fatal(err)
	}
	mustPull(t, s, "a", "l")
	sound(t, s)
}

func TestRemoveTree(t *testing.T) {
	top := t.TempDir()
	dir := top + "/tree"
	outside := top + "/outside"
	for _, d := range []string{outside, dir + "/sub/sub", dir + "/locked"} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.WriteFile(outside+"/file", []byte("x"), 0o600),
		os.Symlink(outside, dir+"/link"),
		os.Symlink("/", dir+"/sub/root"),
		os.Link(outside+"/file", dir+"/hard"),
		unix.Mkfifo(dir+"/fifo", 0o600),
		unix.Mknod(dir+"/whiteout", unix.S_IFCHR, 0),
		os.WriteFile(dir+"/\xff\n", make([]byte, 100000), 0o000),
		os.Chmod(dir+"/locked", 0),
	); err != nil {
		t.Fatal(err)
	}
	for i := range 3000 { // more than one read of the directory
		if err := os.WriteFile(fmt.Sprint(dir, "/sub/", i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	freed, err := RemoveTree(dir)
	if err != nil || freed < 100000 {
		t.Errorf("freed %d, %v", freed, err)
	}
	if exists(dir) {
		t.Error("it is still there")
	}
	if !exists(outside + "/file") {
		t.Error("what a link pointed at is gone")
	}
	if _, err := RemoveTree(dir); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := RemoveTree(dir + "/none/none"); err != nil {
		t.Errorf("without a parent: %v", err)
	}
	// A link as the tree itself goes as a link.
	if err := os.Symlink(outside, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := RemoveTree(dir); err != nil || !exists(outside+"/file") || exists(dir) {
		t.Errorf("a link: %v", err)
	}
}

func TestRemoveTreeStopsAtMounts(t *testing.T) {
	dir := t.TempDir() + "/tree"
	if err := os.MkdirAll(dir+"/sub/mnt", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir+"/sub/mnt", "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir+"/sub/mnt", unix.MNT_DETACH)
	if err := os.WriteFile(dir+"/sub/mnt/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := RemoveTree(dir); !errors.Is(err, unix.EXDEV) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want EXDEV", err)
	}
	if !exists(dir + "/sub/mnt/file") {
		t.Error("it went into a mount")
	}
}

// Deeper than a path may be long and than a process may have descriptors.
func TestRemoveTreeDeep(t *testing.T) {
	top := t.TempDir()
	if err := os.Mkdir(top+"/tree", 0o700); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(top+"/tree", unix.O_RDONLY, 0)
	for range 5000 {
		if err == nil {
			err = unix.Mkdirat(fd, "deep", 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
		next, e := unix.Openat(fd, "deep", unix.O_RDONLY, 0)
		unix.Close(fd)
		fd, err = next, e
	}
	unix.Close(fd)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	few := limit
	few.Cur = 256
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	if _, err := RemoveTree(top + "/tree"); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(top); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// small is a store on a file system of its own with little room.
func small(t *testing.T, size string) *Store {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	s, err := Open(dir + "/root")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// stuff fills the disk to the last byte.
func stuff(t *testing.T, s *Store) {
	t.Helper()
	f, err := os.Create(s.root + "/../ballast")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

// With no byte free, nothing can be pulled, everything can be removed, and
// then it goes on.
func TestFullDisk(t *testing.T) {
	s := small(t, "8m")
	const n = 60
	for i := range n {
		mustPull(t, s, fmt.Sprint("image ", i), "base", fmt.Sprint(i))
	}
	stuff(t, s)
	if err := pull(t.Context(), s, "new", "base", "new"); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("pull: got %v, want ENOSPC", err)
	}
	sound(t, s)
	for i := range n {
		err := s.Update(t.Context(), func(tx *Tx) error {
			img, err := tx.ByName(fmt.Sprint("image ", i))
			if err != nil {
				return err
			}
			return tx.DeleteImage(img.ID)
		})
		if err != nil {
			t.Fatalf("image %d: %v", i, err)
		}
		if i%10 == 0 {
			stuff(t, s) // whatever the removals gave back
		}
	}
	if freed, err := s.Collect(t.Context(), nil); err != nil || freed == 0 {
		t.Fatalf("collect: freed %d, %v", freed, err)
	}
	if left := content(t, s); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	mustPull(t, s, "new", "base", "new")
	sound(t, s)
}

// At any size of the disk a pull is done or not, never half.
func TestPullOnDisksOfAnySize(t *testing.T) {
	done := false
	for kib := 16; kib <= 512; kib += 16 {
		s := small(t, fmt.Sprint(kib, "k"))
		err := pull(t.Context(), s, "a", "l", "m", "n")
		if err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%d KiB: %v", kib, err)
		}
		if done && err != nil {
			t.Errorf("%d KiB are not enough but less was: %v", kib, err)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%d KiB: more than one line: %v", kib, err)
		}
		done = err == nil
		sound(t, s)
		if _, err := s.Collect(t.Context(), nil); err != nil {
			t.Errorf("%d KiB: collect: %v", kib, err)
		}
		if !done && len(content(t, s)) != 0 {
			t.Errorf("%d KiB: left behind: %v", kib, content(t, s))
		}
	}
	if !done {
		t.Error("not even 512 KiB were enough")
	}
}

func TestCheckFindsDamage(t *testing.T) {
	for name, tt := range map[string]struct {
		damage func(s *Store, img Image) error
		object func(img Image) string
		want   error
	}{
		"a bit of a blob": {
			func(s *Store, img Image) error { return flip(s.BlobPath(img.ID), 12) },
			func(img Image) string { return "blob " + string(img.ID) }, ErrCorrupt,
		},
		"a blob": {
			func(s *Store, img Image) error { return os.Remove(s.BlobPath(img.Manifest.Digest)) },
			func(img Image) string { return "blob " + string(img.Manifest.Digest) }, ErrNotFound,
		},
		"a layer": {
			func(s *Store, img Image) error { _, err := RemoveTree(s.LayerDir(img.Layers[0].Key)); return err },
			func(img Image) string { return "layer " + string(img.Layers[0].Key) }, ErrNotFound,
		},
		"a record": {
			func(s *Store, img Image) error {
				return s.Update(t.Context(), func(tx *Tx) error { return tx.delete(bucketLayers, string(img.Layers[0].Key)) })
			},
			func(img Image) string { return "image " + string(img.ID) }, ErrNotFound,
		},
		"an image": {
			func(s *Store, img Image) error {
				return s.Update(t.Context(), func(tx *Tx) error { return tx.delete(bucketImages, string(img.ID)) })
			},
			func(Image) string { return "name a" }, ErrNotFound,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			img := mustPull(t, s, "a", "l")
			if err := tt.damage(s, img); err != nil {
				t.Fatal(err)
			}
			problems, err := s.Check(t.Context())
			if err != nil || len(problems) != 1 || problems[0].Object != tt.object(img) || !errors.Is(problems[0].Err, tt.want) {
				t.Errorf("got %v, %v, want %s", problems, err, tt.object(img))
			}
			if _, err := s.Blob(img.ID); name == "a bit of a blob" && !errors.Is(err, ErrCorrupt) {
				t.Errorf("Blob gave it: %v", err)
			}
			mustPull(t, s, "a", "l") // and a pull mends it
			sound(t, s)
		})
	}
}

// flip turns one bit of a file.
func flip(path string, bit int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], bit/8); err != nil {
		return err
	}
	b[0] ^= 1 << (bit % 8)
	_, err = f.WriteAt(b[:], bit/8)
	return err
}

// many is a store whose index has some pages, on a file system without syncs.
func many(t *testing.T) (s *Store, index []byte, used int64) {
	t.Helper()
	s = small(t, "64m")
	for i := range 30 {
		mustPull(t, s, fmt.Sprint("image ", i), "base", fmt.Sprint(i))
	}
	index, err := os.ReadFile(s.path("index.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.View(t.Context(), func(tx *Tx) error { used = tx.bolt.Size(); return nil }); err != nil {
		t.Fatal(err)
	}
	return s, index, used
}

// A bit that turned anywhere in the index may lie where nothing is kept, but
// it never ends the process nor hangs it, and where an image would be missing
// or another, nothing is changed or collected on the strength of that. Only the
// two meta pages stand in for each other: then it is the index of one
// transaction before.
func TestIndexWithFlippedBits(t *testing.T) {
	s, good, used := many(t)
	var images []Image
	list := func(tx *Tx) (err error) { images, err = tx.Images(); return err }
	if err := s.View(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint(images)
	random := rand.New(rand.NewPCG(1, 2))
	found, silent := 0, 0
	for range 3000 {
		bit := random.Int64N(used * 8)
		if random.IntN(2) == 0 { // in the header of a page, where it hurts
			bit = random.Int64N(used/4096)*4096*8 + random.Int64N(64*8)
		}
		if err := os.WriteFile(s.path("index.db"), good, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := flip(s.path("index.db"), bit); err != nil {
			t.Fatal(err)
		}
		view := s.View(t.Context(), list)
		if view != nil && !errors.Is(view, ErrCorrupt) {
			t.Errorf("bit %d: %v", bit, view)
		}
		problems, err := s.Check(t.Context())
		if err != nil {
			t.Errorf("bit %d: check: %v", bit, err)
		}
		if len(problems) > 0 {
			found++
		}
		if view == nil && fmt.Sprint(images) != want && len(problems) == 0 && bit >= 2*4096*8 {
			t.Errorf("bit %d: other images, and no problem", bit)
		}
		err = s.Update(t.Context(), func(tx *Tx) error { return tx.Untag("image 7") })
		if view == nil && fmt.Sprint(images) != want && bit >= 2*4096*8 && !errors.Is(err, ErrCorrupt) {
			t.Errorf("bit %d: changed: %v", bit, err)
		}
		if view == nil && len(problems) == 0 {
			silent++
		}
	}
	t.Logf("of 3000 %d were found by a check, %d changed nothing", found, silent)
}

// A file that ends early is SIGBUS to who maps it.
func TestTruncatedIndex(t *testing.T) {
	s, good, used := many(t)
	for size := int64(0); size < used; size += 1024 {
		if err := os.WriteFile(s.path("index.db"), good[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		_, view := byName(s, "image 3")
		update := s.Update(t.Context(), func(tx *Tx) error { return tx.Untag("image 3") })
		for what, err := range map[string]error{"view": view, "update": update} {
			if what == "update" && size == 0 {
				continue // to bbolt that is a new one
			}
			if !errors.Is(err, ErrCorrupt) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%d bytes: %s: got %v, want one line of %v", size, what, err, ErrCorrupt)
			}
		}
	}
}

// A page that goes on beyond the end would have bbolt free pages without end.
func TestIndexWithEndlessPages(t *testing.T) {
	s, good, used := many(t)
	kinds := map[int64]string{}
	seen := errors.New("all seen, and nothing to be changed")
	if err := s.Update(t.Context(), func(tx *Tx) error {
		for page := range used / 4096 {
			info, err := tx.bolt.Page(int(page))
			if err != nil {
				return err
			}
			kinds[page] = info.Type
		}
		return seen
	}); !errors.Is(err, seen) {
		t.Fatal(err)
	}
	met := map[string]bool{}
	for page, kind := range kinds {
		if kind != "leaf" && kind != "branch" && kind != "freelist" {
			continue
		}
		met[kind] = true
		bad := bytes.Clone(good)
		binary.NativeEndian.PutUint32(bad[page*4096+12:], uint32(used/4096-page))
		if err := os.WriteFile(s.path("index.db"), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Update(t.Context(), func(tx *Tx) error { return tx.Untag("image 0") }); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s page %d: %v", kind, page, err)
		}
	}
	if !met["leaf"] || !met["branch"] || !met["freelist"] {
		t.Errorf("the index has only %v", met)
	}
}

// A page that leads back to one above it has no bottom.
func TestIndexWithLoops(t *testing.T) {
	s, good, used := many(t)
	branches := 0
	for page := int64(2); page < used/4096; page++ {
		head := good[page*4096:]
		if binary.NativeEndian.Uint16(head[8:]) != 1 { // a branch page, see bbolt's internal/common/page.go
			continue
		}
		branches++
		for e := range int64(binary.NativeEndian.Uint16(head[10:])) {
			for to := range used / 4096 {
				bad := bytes.Clone(good)
				binary.NativeEndian.PutUint64(bad[page*4096+16+e*16+8:], uint64(to))
				if err := os.WriteFile(s.path("index.db"), bad, 0o600); err != nil {
					t.Fatal(err)
				}
				_, err := s.Check(t.Context())
				if err != nil {
					t.Error(err)
				}
				s.View(t.Context(), func(tx *Tx) error { _, err := tx.Images(); return err })
				s.Update(t.Context(), func(tx *Tx) error { return tx.Untag("image 0") })
			}
		}
	}
	if branches == 0 {
		t.Error("the index is too small for this test")
	}
}
