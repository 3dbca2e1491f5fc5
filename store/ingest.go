package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"minict/internal/flock"
)

// Ingest is a place for what is being pulled, loaded or made. Nothing of it
// is seen by others until Publish, and nothing of it is left after Close; if
// its process is killed, the next Collect sweeps it. Its methods may be called
// by many goroutines at once, Publish and Close by the last one.
type Ingest struct {
	store *Store
	dir   string
	lock  *os.File

	mu     sync.Mutex
	blobs  map[Digest]Descriptor // staged, or kept already and claimed
	layers map[Digest]Layer
}

// Ingest makes a new one. The caller closes it.
func (s *Store) Ingest(ctx context.Context) (*Ingest, error) {
	// The sweep takes what is unlocked for garbage, so it must not come
	// between the making of the directory and its lock.
	parent, err := flock.Lock(ctx, s.path("ingest", "lock"), flock.Shared)
	if err != nil {
		return nil, fmt.Errorf("make ingest: %w", err)
	}
	defer parent.Close()
	dir, err := os.MkdirTemp(s.path("ingest"), "")
	if err != nil {
		return nil, fmt.Errorf("make ingest: %w", err)
	}
	in := &Ingest{
		store: s, dir: dir,
		blobs:  make(map[Digest]Descriptor),
		layers: make(map[Digest]Layer),
	}
	if in.lock, err = flock.Lock(ctx, dir+"/lock", flock.Exclusive); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("make ingest: %w", err)
	}
	for _, sub := range []string{"claims", "tmp", "blobs/sha256", "blobs/sha512", "layers/sha256", "layers/sha512"} {
		if err := os.MkdirAll(dir+"/"+sub, 0o700); err != nil {
			in.Close()
			return nil, fmt.Errorf("make ingest: %w", err)
		}
	}
	return in, nil
}

// Close removes what was not published and gives the claims up. It may be
// called again.
func (in *Ingest) Close() error {
	if in.lock == nil {
		return nil
	}
	_, err := RemoveTree(in.dir)
	in.lock.Close()
	in.lock = nil
	return err
}

// Abandon leaves the ingest as if its process had been killed: for the next
// Collect, which then also finds what was done beside it.
func (in *Ingest) Abandon() {
	if in.lock != nil {
		in.lock.Close()
		in.lock = nil
	}
}

// HaveBlob says whether this ingest or the store has the blob, and keeps any
// Collect from removing it until Close.
func (in *Ingest) HaveBlob(ctx context.Context, d Digest) (bool, error) {
	if err := ValidDigest(d); err != nil {
		return false, fmt.Errorf("find blob: %w", err)
	}
	if _, ok := in.blob(d); ok {
		return true, nil
	}
	if err := in.claim(ctx, "blobs", d); err != nil {
		return false, err
	}
	var desc Descriptor
	err := in.store.View(ctx, func(tx *Tx) (err error) {
		desc, err = tx.BlobInfo(d)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	st, err := os.Lstat(in.store.BlobPath(d))
	if err != nil || st.Size() != desc.Size {
		return false, nil
	}
	in.addBlob(desc)
	return true, nil
}

// HaveLayer finds the layer in this ingest or the store, and keeps any Collect
// from removing it until Close. If blob is not empty, the layer counts only if
// it once was unpacked from that very blob: the diff_ids in a config are a
// claim, and who makes it need not have what it names.
func (in *Ingest) HaveLayer(ctx context.Context, key, blob Digest) (Layer, bool, error) {
	if err := ValidDigest(key); err != nil {
		return Layer{}, false, fmt.Errorf("find layer: %w", err)
	}
	if l, ok := in.layer(key); ok && (blob == "" || l.Blob.Digest == blob) {
		return l, true, nil
	}
	if err := in.claim(ctx, "layers", key); err != nil {
		return Layer{}, false, err
	}
	var r layerRecord
	err := in.store.View(ctx, func(tx *Tx) error { return tx.record(bucketLayers, string(key), &r) })
	if errors.Is(err, ErrNotFound) {
		return Layer{}, false, nil
	}
	if err != nil {
		return Layer{}, false, err
	}
	if !r.from(blob) {
		return Layer{}, false, nil
	}
	if st, err := os.Lstat(in.store.LayerDir(key)); err != nil || !st.IsDir() {
		return Layer{}, false, nil
	}
	l := Layer{DiffID: r.DiffID, Key: key, Size: r.Size, Blob: Descriptor{Digest: blob}}
	in.addLayer(l)
	return l, true, nil
}

// LayerDir is where the layer with that key is now, in this ingest or, if it
// is not here, in the store.
func (in *Ingest) LayerDir(key Digest) string {
	if ValidDigest(key) == nil {
		if _, err := os.Lstat(in.staged("layers", key)); err == nil {
			return in.staged("layers", key)
		}
	}
	return in.store.LayerDir(key)
}

// Publish makes all that was committed to the ingest durable, and then the
// index name img, which is called by each of the names. The blobs of its
// config and manifest and the layers have to be in the ingest or be known to
// it by HaveBlob and HaveLayer; others are not kept. If it fails, the index is
// as it was, and the ingest abandoned.
func (in *Ingest) Publish(ctx context.Context, img Image, names ...string) error {
	if err := in.store.Sync(); err != nil {
		return err
	}
	err := in.install()
	if err == nil {
		err = in.name(ctx, img, names)
	}
	if err != nil {
		in.Abandon() // what was installed has no name
	}
	return err
}

// name makes the index name what was installed.
func (in *Ingest) name(ctx context.Context, img Image, names []string) error {
	return in.store.Update(ctx, func(tx *Tx) error {
		for _, d := range in.blobs {
			if err := tx.PutBlob(d); err != nil {
				return err
			}
		}
		for _, l := range in.layers {
			if err := tx.PutLayer(l); err != nil {
				return err
			}
		}
		if err := tx.PutImage(img, ""); err != nil {
			return err
		}
		for _, name := range names {
			if err := tx.Tag(name, img.ID); err != nil {
				return err
			}
		}
		return tx.prune()
	})
}

// install renames what is staged to its place. Who finds the place taken has
// been overtaken by another process with the same bytes; only a blob may have
// rotted there, so it is replaced.
func (in *Ingest) install() error {
	for d := range in.blobs {
		err := os.Rename(in.staged("blobs", d), in.store.BlobPath(d))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("keep blob: %w", err)
		}
	}
	for key := range in.layers {
		err := unix.Renameat2(unix.AT_FDCWD, in.staged("layers", key),
			unix.AT_FDCWD, in.store.LayerDir(key), unix.RENAME_NOREPLACE)
		if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("keep layer %s: %w", key, err)
		}
	}
	for _, dir := range []string{"blobs/sha256", "blobs/sha512", "layers/sha256", "layers/sha512"} {
		if err := syncDir(in.store.path(dir)); err != nil {
			return err
		}
	}
	return nil
}

// claim tells the sweep to leave a blob or layer alone while the ingest lives.
// After it, what is there stays there.
func (in *Ingest) claim(ctx context.Context, kind string, d Digest) error {
	parent, err := flock.Lock(ctx, in.store.path("ingest", "lock"), flock.Shared)
	if err != nil {
		return fmt.Errorf("claim %s: %w", d, err)
	}
	defer parent.Close()
	alg, hex := d.split()
	f, err := os.OpenFile(in.dir+"/claims/"+kind+"-"+alg+"-"+hex, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("claim %s: %w", d, err)
	}
	return f.Close()
}

func (in *Ingest) staged(kind string, d Digest) string {
	alg, hex := d.split()
	return in.dir + "/" + kind + "/" + alg + "/" + hex
}

func (in *Ingest) blob(d Digest) (Descriptor, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	desc, ok := in.blobs[d]
	return desc, ok
}

func (in *Ingest) addBlob(d Descriptor) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.blobs[d.Digest] = d
}

func (in *Ingest) layer(key Digest) (Layer, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	l, ok := in.layers[key]
	return l, ok
}

func (in *Ingest) addLayer(l Layer) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.layers[l.Key] = l
}
