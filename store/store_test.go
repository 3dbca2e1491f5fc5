package store

import (
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sound fails the test if the store has a problem; with done, also if anything
// is in it that is on its way.
func sound(t testing.TB, s *Store) {
	t.Helper()
	problems, err := s.Check(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// content lists all files of a store but its locks and its index.
func content(t testing.TB, s *Store) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(s.root, func(path string, e os.DirEntry, err error) error {
		name := strings.TrimPrefix(strings.TrimPrefix(path, s.root), "/")
		if depth := strings.Count(name, "/"); !strings.HasPrefix(name, "index") && name != "ingest/lock" &&
			(depth > 1 || !e.IsDir()) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func desc(data string) Descriptor {
	return Descriptor{MediaType: "test", Digest: DigestOf(data), Size: int64(len(data))}
}

// sample is an image of made-up content, told apart by name; layers of the
// same name are the same layer.
func sample(name string, layers ...string) Image {
	img := Image{
		ID:       DigestOf("config " + name),
		Manifest: desc("manifest " + name),
		Created:  time.Unix(1700000000, 0).UTC(),
		Platform: Platform{OS: "linux", Architecture: "amd64"},
	}
	for _, l := range layers {
		d := DigestOf("tar " + l)
		img.Layers = append(img.Layers, Layer{DiffID: d, Key: d, Blob: desc("gzip " + l), Size: 5})
		img.Size += 5
	}
	return img
}

// fill puts what sample promises into an ingest.
func fill(ctx context.Context, in *Ingest, name string, layers ...string) error {
	for _, data := range []string{"config " + name, "manifest " + name} {
		if err := in.PutBlob(ctx, desc(data), []byte(data)); err != nil {
			return err
		}
	}
	for _, l := range sample(name, layers...).Layers {
		if _, ok, err := in.HaveLayer(ctx, l.Key, l.Blob.Digest); ok || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		w, err := in.NewLayer()
		if err != nil {
			return err
		}
		defer w.Close()
		if err := os.WriteFile(w.Path()+"/file", []byte("hello"), 0o644); err != nil {
			return err
		}
		if err := w.Commit(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

func pull(ctx context.Context, s *Store, name string, layers ...string) error {
	in, err := s.Ingest(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := fill(ctx, in, name, layers...); err != nil {
		return err
	}
	return in.Publish(ctx, sample(name, layers...), name)
}

func mustPull(t testing.TB, s *Store, name string, layers ...string) Image {
	t.Helper()
	if err := pull(t.Context(), s, name, layers...); err != nil {
		t.Fatal(err)
	}
	img, err := byName(s, name)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func byName(s *Store, name string) (img Image, err error) {
	err = s.View(context.Background(), func(tx *Tx) error {
		img, err = tx.ByName(name)
		return err
	})
	return img, err
}

func update(t testing.TB, s *Store, f func(*Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestEmptyIndexIsNotMade(t *testing.T) {
	s := newStore(t)
	if _, err := byName(s, "any"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want %v", err, ErrNotFound)
	}
	if err := s.View(t.Context(), func(tx *Tx) error {
		images, err := tx.Images()
		if len(images) != 0 {
			t.Errorf("images: %v", images)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if exists(s.path("index.db")) {
		t.Error("a View made the index")
	}
	sound(t, s)
}

func TestModes(t *testing.T) {
	s := newStore(t)
	mustPull(t, s, "a", "l")
	for _, dir := range []string{"", "blobs", "layers/sha256", "ingest", "trash", "locks"} {
		if st, err := os.Stat(s.path(dir)); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v, want 0700", dir, st.Mode(), err)
		}
	}
	for _, file := range []string{"index.db", "index.lock"} {
		if st, err := os.Stat(s.path(file)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want 0600", file, st.Mode(), err)
		}
	}
}

func TestImage(t *testing.T) {
	s := newStore(t)
	got := mustPull(t, s, "docker.io/library/a:latest", "one", "two")
	want := sample("docker.io/library/a:latest", "one", "two")
	want.Names = []string{"docker.io/library/a:latest"}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	config, err := s.Blob(got.ID)
	if err != nil || string(config) != "config docker.io/library/a:latest" {
		t.Errorf("config: %q, %v", config, err)
	}
	if data, err := os.ReadFile(s.LayerDir(got.Layers[0].Key) + "/file"); err != nil || string(data) != "hello" {
		t.Errorf("layer: %q, %v", data, err)
	}
	sound(t, s)
}

func TestNames(t *testing.T) {
	s := newStore(t)
	a := mustPull(t, s, "a", "base")
	b := mustPull(t, s, "b", "base", "more")
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.Tag("also", a.ID), tx.Tag("b", a.ID), tx.PutImage(a, "third"))
	})
	err := s.View(t.Context(), func(tx *Tx) error {
		a, errA := tx.ByName("also")
		if want := []string{"a", "also", "b", "third"}; !slices.Equal(a.Names, want) {
			t.Errorf("names %v, want %v", a.Names, want)
		}
		b, errB := tx.Image(b.ID)
		if len(b.Names) != 0 {
			t.Errorf("names %v of the image that lost its name", b.Names)
		}
		found, errC := tx.ByIDPrefix(a.ID.Hex()[:12])
		if len(found) != 1 || found[0].ID != a.ID {
			t.Errorf("by prefix: %v", found)
		}
		all, errD := tx.ByIDPrefix("")
		if len(all) != 2 {
			t.Errorf("%d images, want 2", len(all))
		}
		return errors.Join(errA, errB, errC, errD)
	})
	if err != nil {
		t.Error(err)
	}
	update(t, s, func(tx *Tx) error { return tx.Untag("also") })
	if err := s.Update(t.Context(), func(tx *Tx) error { return tx.Untag("also") }); !errors.Is(err, ErrNotFound) {
		t.Errorf("untag again: %v", err)
	}
	if err := s.Update(t.Context(), func(tx *Tx) error { return tx.Tag("x", DigestOf("no")) }); !errors.Is(err, ErrNotFound) {
		t.Errorf("tag nothing: %v", err)
	}
	sound(t, s)
}

func TestDigestsAreAdded(t *testing.T) {
	s := newStore(t)
	img := mustPull(t, s, "a")
	for _, d := range []string{"r@2", "r@1", "r@2"} {
		update(t, s, func(tx *Tx) error { i := img; i.Digests = []string{d}; return tx.PutImage(i, "") })
	}
	if img, _ = byName(s, "a"); !slices.Equal(img.Digests, []string{"r@1", "r@2"}) {
		t.Errorf("got %v", img.Digests)
	}
	update(t, s, func(tx *Tx) error { return tx.SetDigests(img.ID, []string{"r@2"}) })
	if img, _ = byName(s, "a"); !slices.Equal(img.Digests, []string{"r@2"}) {
		t.Errorf("got %v", img.Digests)
	}
}

// The index must not name half a thing, whoever asks it to.
func TestPutImageWantsAllOfIt(t *testing.T) {
	s := newStore(t)
	img := sample("a", "l")
	steps := []func(tx *Tx) error{
		func(tx *Tx) error { return tx.PutBlob(Descriptor{Digest: img.ID}) },
		func(tx *Tx) error { return tx.PutBlob(img.Manifest) },
		func(tx *Tx) error { return tx.PutLayer(img.Layers[0]) },
	}
	for i, step := range steps {
		if err := s.Update(t.Context(), func(tx *Tx) error { return tx.PutImage(img, "a") }); !errors.Is(err, ErrNotFound) {
			t.Errorf("after %d of 3: got %v, want %v", i, err, ErrNotFound)
		}
		update(t, s, step)
	}
	update(t, s, func(tx *Tx) error { return tx.PutImage(img, "a") })
}

func TestUpdateThatFailsChangesNothing(t *testing.T) {
	s := newStore(t)
	mustPull(t, s, "a")
	mine := errors.New("mine")
	err := s.Update(t.Context(), func(tx *Tx) error {
		return errors.Join(tx.Untag("a"), mine)
	})
	if !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
	if _, err := byName(s, "a"); err != nil {
		t.Error(err)
	}
}

// A bug in a caller is not to be taken for a damaged file, and must not leave
// the lock behind.
func TestPanicOfTheCaller(t *testing.T) {
	s := newStore(t)
	mustPull(t, s, "a")
	for name, do := range map[string]func(context.Context, func(*Tx) error) error{"view": s.View, "update": s.Update} {
		func() {
			defer func() {
				if recover() != "mine" {
					t.Errorf("%s swallowed the panic", name)
				}
			}()
			do(t.Context(), func(*Tx) error { panic("mine") })
		}()
	}
	update(t, s, func(*Tx) error { return nil })
}

func TestInvalidDigests(t *testing.T) {
	hex := strings.Repeat("a", 64)
	s := newStore(t)
	in, err := s.Ingest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for _, bad := range []string{
		"", ":", "sha256", "sha256:", hex, "sha256:" + hex[1:], "sha256:" + hex + "a", "md5:" + hex[:32],
		"sha256:" + strings.ToUpper(hex), "sha256:../../" + hex[6:], "sha256:" + hex[:63] + "/", "sha512:" + hex,
		"sha384:" + hex + hex[:32], "SHA256:" + hex, "sha256:" + hex[:63] + "\n", " sha256:" + hex, "sha256:" + hex[:63] + "\x00",
	} {
		d := Digest(bad)
		if ValidDigest(d) == nil {
			t.Errorf("%q is taken for a digest", bad)
		}
		if dir := s.LayerDir(d); dir != s.path("layers", "invalid") {
			t.Errorf("%q leads to %s", bad, dir)
		}
		_, _, errA := in.HaveLayer(t.Context(), d, "")
		_, errB := in.HaveBlob(t.Context(), d)
		_, errC := in.Blob(t.Context(), Descriptor{Digest: d, Size: 1})
		_, errD := s.Blob(d)
		_, errE := s.LockBlob(t.Context(), d)
		for i, err := range []error{errA, errB, errC, errD, errE} {
			if err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: call %d: got %v", bad, i, err)
			}
		}
	}
	for _, good := range []string{"sha256:" + hex, "sha512:" + hex + hex} {
		if err := ValidDigest(Digest(good)); err != nil {
			t.Error(err)
		}
	}
}

func TestBlobOfAnotherAlgorithm(t *testing.T) {
	s := newStore(t)
	in, err := s.Ingest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	d := Descriptor{Digest: Digest(fmt.Sprintf("sha512:%x", sha512.Sum512([]byte("x")))), Size: 1}
	if err := in.PutBlob(t.Context(), d, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := fill(t.Context(), in, "a"); err != nil {
		t.Fatal(err)
	}
	if err := in.Publish(t.Context(), sample("a"), "a"); err != nil {
		t.Fatal(err)
	}
	if data, err := s.Blob(d.Digest); err != nil || string(data) != "x" {
		t.Errorf("got %q, %v", data, err)
	}
	sound(t, s)
}

// The drawing of the index in the package comment is the schema: it names the
// buckets and the members of each record, in their order.
func TestDrawing(t *testing.T) {
	source, err := os.ReadFile("store.go")
	if err != nil {
		t.Fatal(err)
	}
	_, drawing, _ := strings.Cut(string(source), "//\tindex.db\n")
	drawing, _, _ = strings.Cut(drawing, "//\n")
	drawn := make(map[string]string)
	bucket := ""
	for line := range strings.Lines(drawing) {
		if _, name, ok := strings.Cut(line, "── "); ok {
			if key, record, ok := strings.Cut(name, "→ "); ok {
				drawn[bucket] = strings.TrimSpace(strings.TrimPrefix(record, "JSON: "))
				_ = key
			} else {
				bucket = strings.TrimSpace(name)
			}
		}
	}
	s := newStore(t)
	img := sample("a", "l")
	img.Digests = []string{"r@d"}
	in, err := s.Ingest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := errors.Join(fill(t.Context(), in, "a", "l"), in.Publish(t.Context(), img, "a")); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	err = s.View(t.Context(), func(tx *Tx) error {
		return tx.bolt.ForEach(func(name []byte, b *bolt.Bucket) error {
			key, value := b.Cursor().First()
			payload, err := unseal(string(name), string(key), value)
			got[string(name)] = strings.Join(members(string(payload)), " ")
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	got["refs"] = "the id of the image that is called so"
	got["images"] = "packed:"
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Image]()) {
		if field.Name != "ID" && field.Name != "Names" { // its key, and other records
			got["images"] += " " + strings.ToLower(field.Name)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(drawn) {
		t.Errorf("the index has\n%v\nthe drawing\n%v", got, drawn)
	}
}

// members names the outermost members of a JSON object, in their order.
func members(object string) []string {
	var names []string
	depth := 0
	for i, part := range strings.Split(object, `"`) {
		if i%2 == 1 {
			if depth == 1 {
				names = append(names, part)
			}
			continue
		}
		for _, c := range part {
			switch c {
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
		}
	}
	return slices.DeleteFunc(names, func(n string) bool { return !strings.Contains(object, `"`+n+`":`) })
}
