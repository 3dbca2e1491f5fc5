package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"minict/internal/flock"
)

func newIngest(t testing.TB, s *Store) *Ingest {
	t.Helper()
	in, err := s.Ingest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	return in
}

func TestBlobWriterBelievesNothing(t *testing.T) {
	s := newStore(t)
	right := desc("hello")
	other := right
	other.Digest = DigestOf("other")
	for name, tt := range map[string]struct {
		desc   Descriptor
		writes []string
		ok     bool
	}{
		"right":             {right, []string{"he", "", "llo"}, true},
		"empty":             {desc(""), nil, true},
		"short":             {right, []string{"hell"}, false},
		"nothing":           {right, nil, false},
		"long":              {right, []string{"hello", "!"}, false},
		"long at once":      {right, []string{"hello!"}, false},
		"other content":     {right, []string{"hallo"}, false},
		"other digest":      {other, []string{"hello"}, false},
		"something instead": {desc(""), []string{"x"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			in := newIngest(t, s)
			w, err := in.Blob(t.Context(), tt.desc)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range tt.writes {
				if _, err = w.Write([]byte(p)); err != nil {
					break
				}
			}
			if err == nil {
				err = w.Commit()
			}
			if tt.ok != (err == nil) || err != nil && !errors.Is(err, ErrDigest) {
				t.Errorf("got %v", err)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			if left, _ := os.ReadDir(in.dir + "/tmp"); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
			if exists(in.staged("blobs", tt.desc.Digest)) != tt.ok {
				t.Error("the blob is staged, or not, against the verdict")
			}
		})
	}
	in := newIngest(t, s)
	if _, err := in.Blob(t.Context(), Descriptor{Digest: right.Digest, Size: -1}); err == nil {
		t.Error("a negative size is taken")
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	s := newStore(t)
	in := newIngest(t, s)
	if err := fill(t.Context(), in, "a", "l"); err != nil {
		t.Fatal(err)
	}
	w, err := in.NewLayer() // and not committed
	if err != nil {
		t.Fatal(err)
	}
	os.Mkdir(w.Path()+"/sub", 0)
	if err := errors.Join(in.Close(), in.Close()); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if left := content(t, s); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestHave(t *testing.T) {
	s := newStore(t)
	img := mustPull(t, s, "a", "l")
	l := img.Layers[0]
	in := newIngest(t, s)
	for name, tt := range map[string]struct {
		key, blob Digest
		want      bool
	}{
		"by key":          {l.Key, "", true},
		"from its blob":   {l.Key, l.Blob.Digest, true},
		"from another":    {l.Key, DigestOf("claims to be it"), false},
		"another":         {DigestOf("no"), "", false},
		"an image's blob": {img.ID, "", false},
	} {
		got, ok, err := in.HaveLayer(t.Context(), tt.key, tt.blob)
		if err != nil || ok != tt.want || ok && (got.Key != l.Key || got.DiffID != l.DiffID || got.Size != l.Size) {
			t.Errorf("%s: got %+v, %v, %v", name, got, ok, err)
		}
	}
	for d, want := range map[Digest]bool{img.ID: true, img.Manifest.Digest: true, l.Key: false} {
		if ok, err := in.HaveBlob(t.Context(), d); ok != want || err != nil {
			t.Errorf("blob %s: got %v, %v, want %v", d, ok, err, want)
		}
	}
	// What the index names and somebody removed has to be fetched again.
	if _, err := RemoveTree(s.LayerDir(l.Key)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(s.BlobPath(img.ID), 1); err != nil {
		t.Fatal(err)
	}
	again := newIngest(t, s)
	_, layer, errA := again.HaveLayer(t.Context(), l.Key, "")
	blob, errB := again.HaveBlob(t.Context(), img.ID)
	if layer || blob || errA != nil || errB != nil {
		t.Errorf("damaged: got %v, %v, %v, %v", layer, blob, errA, errB)
	}
	mustPull(t, s, "a", "l")
	sound(t, s)
}

// A layer that one ingest was promised must survive the removal of the only
// image that has it.
func TestClaimHoldsAgainstCollect(t *testing.T) {
	s := newStore(t)
	old := mustPull(t, s, "old", "base")
	in := newIngest(t, s)
	if _, ok, err := in.HaveLayer(t.Context(), old.Layers[0].Key, ""); !ok || err != nil {
		t.Fatal(ok, err)
	}
	update(t, s, func(tx *Tx) error { return tx.DeleteImage(old.ID) })
	if _, err := s.Collect(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if exists(s.BlobPath(old.ID)) {
		t.Error("the config that nobody claims is still there")
	}
	if err := errors.Join(fill(t.Context(), in, "new", "base"), in.Publish(t.Context(), sample("new", "base"), "new")); err != nil {
		t.Fatal(err)
	}
	sound(t, s)
	if data, err := os.ReadFile(s.LayerDir(old.Layers[0].Key) + "/file"); string(data) != "hello" {
		t.Errorf("the layer: %q, %v", data, err)
	}
}

// Between the rename to its place and the commit that names it, a layer is
// nobody's but its ingest's.
func TestCollectBetweenRenameAndCommit(t *testing.T) {
	s := newStore(t)
	in := newIngest(t, s)
	if err := errors.Join(fill(t.Context(), in, "a", "l"), in.install()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := in.Publish(t.Context(), sample("a", "l"), "a"); err != nil {
		t.Fatal(err)
	}
	sound(t, s)
}

// Two that bring the same: the second finds it there, and nothing is left.
func TestSameLayerTwice(t *testing.T) {
	s := newStore(t)
	one, two := newIngest(t, s), newIngest(t, s)
	for _, in := range []*Ingest{one, two} {
		if err := fill(t.Context(), in, "a", "l"); err != nil {
			t.Fatal(err)
		}
	}
	for _, in := range []*Ingest{one, two} {
		if err := errors.Join(in.Publish(t.Context(), sample("a", "l"), "a"), in.Close()); err != nil {
			t.Fatal(err)
		}
	}
	sound(t, s)
	if left, _ := os.ReadDir(s.path("ingest")); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestLayerDirOfIngest(t *testing.T) {
	s := newStore(t)
	in := newIngest(t, s)
	key := sample("a", "l").Layers[0].Key
	if got := in.LayerDir(key); got != s.LayerDir(key) {
		t.Errorf("before: %s", got)
	}
	if err := fill(t.Context(), in, "a", "l"); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(in.LayerDir(key) + "/file"); string(data) != "hello" {
		t.Errorf("staged: %q, %v", data, err)
	}
	config := sample("a", "l").ID
	if _, _, err := s.OpenBlob(config); !errors.Is(err, ErrNotFound) {
		t.Errorf("the store has what is only staged: %v", err)
	}
	openBoth := func() {
		t.Helper()
		f, size, err := in.OpenBlob(config)
		if err != nil || size != int64(len("config a")) {
			t.Fatalf("blob: %d, %v", size, err)
		}
		f.Close()
	}
	openBoth()
	if err := in.Publish(t.Context(), sample("a", "l")); err != nil {
		t.Fatal(err)
	}
	openBoth()
	if got := in.LayerDir(key); got != s.LayerDir(key) {
		t.Errorf("published: %s", got)
	}
}

// Many goroutines pull, remove and collect at once; each has its own locks, as
// processes have. Afterwards nothing is missing and nothing is left over.
func TestConcurrent(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := fmt.Sprint("image ", i%4)
			for range 6 {
				if err := pull(t.Context(), s, name, "base", name); err != nil {
					t.Error(err)
				}
				err := s.Update(t.Context(), func(tx *Tx) error {
					return tx.DeleteImage(sample(name).ID)
				})
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				if _, err := s.Collect(t.Context(), nil); err != nil {
					t.Error(err)
				}
			}
			if err := pull(t.Context(), s, name, "base", name); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	sound(t, s)
	if _, err := s.Collect(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if got := content(t, s); len(got) != 4*2+(4+1)*2 { // blobs, and a file in each layer
		t.Errorf("%d things are left: %s", len(got), strings.Join(got, "\n"))
	}
	sound(t, s)
}

// A blob's lock is held by one at a time, and leaves no file.
func TestLockBlobs(t *testing.T) {
	s := newStore(t)
	a, b := DigestOf("a"), DigestOf("b")
	var held atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			digests := []Digest{a, b, a}
			if i%2 == 0 {
				digests = []Digest{b, a}
			}
			release, err := s.LockBlobs(t.Context(), digests...)
			if err != nil {
				t.Error(err)
				return
			}
			if n := held.Add(1); n != 1 {
				t.Errorf("%d are inside", n)
			}
			runtime.Gosched()
			held.Add(-1)
			release()
		})
	}
	wg.Wait()
	release, err := s.LockBlob(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.LockBlob(ctx, a); !errors.Is(err, context.Canceled) {
		t.Errorf("second: got %v", err)
	}
	release()
	if left, _ := os.ReadDir(s.path("locks")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The test binary is also the process that gets killed: see TestKilled.
func TestMain(m *testing.M) {
	if root := os.Getenv("STORE_TEST_KILL"); root != "" {
		err := dieFilling(root, os.Getenv("STORE_TEST_STEP"))
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// dieFilling kills its own process at a step of a pull.
func dieFilling(root, step string) error {
	ctx := context.Background()
	s, err := Open(root)
	if err != nil {
		return err
	}
	release, err := s.LockBlob(ctx, DigestOf("x"))
	if err != nil {
		return err
	}
	defer release()
	in, err := s.Ingest(ctx)
	if err != nil {
		return err
	}
	die := func(at string) {
		if at == step {
			unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	die("made")
	w, err := in.Blob(ctx, desc("partial"))
	if err != nil {
		return err
	}
	w.Write([]byte("part"))
	l, err := in.NewLayer()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.Path()+"/a/b/c", 0o700); err != nil {
		return err
	}
	die("writing")
	if err := fill(ctx, in, "killed", "base", "own"); err != nil {
		return err
	}
	die("staged")
	if err := in.install(); err != nil {
		return err
	}
	die("renamed")
	err = s.Update(ctx, func(tx *Tx) error {
		if err := tx.PutBlob(desc("config killed")); err != nil {
			return err
		}
		die("updating")
		return nil
	})
	return errors.Join(err, errors.New("nobody killed me"))
}

func TestKilled(t *testing.T) {
	for _, step := range []string{"made", "writing", "staged", "renamed", "updating"} {
		t.Run(step, func(t *testing.T) {
			s := newStore(t)
			mustPull(t, s, "before", "base")
			want := content(t, s)
			var stderr bytes.Buffer
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), "STORE_TEST_KILL="+s.Root(), "STORE_TEST_STEP="+step)
			cmd.Stderr = &stderr
			err := cmd.Run()
			if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); err == nil || !ok || !status.Signaled() {
				t.Fatalf("it was not killed: %v: %s", err, &stderr)
			}
			if got := content(t, s); len(got) == len(want) {
				t.Fatal("the killed process left nothing: the test tests nothing")
			}
			sound(t, s)
			if _, err := s.Collect(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if got := content(t, s); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("left behind:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			mustPull(t, s, "killed", "base", "own")
			sound(t, s)
		})
	}
}

// A sweep must not take an ingest that is being made, or that lives.
func TestSweepWaitsForTheMaking(t *testing.T) {
	s := newStore(t)
	in := newIngest(t, s)
	making, err := flock.Lock(t.Context(), s.path("ingest", "lock"), flock.Shared)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Collect(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("collect during the making: got %v", err)
	}
	making.Close()
	if _, err := s.Collect(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if !exists(in.dir + "/tmp") {
		t.Error("a living ingest was swept")
	}
}
