package store

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// MaxBlob is how many bytes of a blob Blob reads into memory: manifests and
// configs are below 4 MiB in every registry.
const MaxBlob = 8 << 20

// BlobPath is where the blob is kept if it is kept.
func (s *Store) BlobPath(d Digest) string { return s.digestPath("blobs", d) }

// LayerDir is where the layer with that key is kept if it is kept: a directory
// with the layer's tree in it. Of what is no digest, it is a path at which
// there is never anything.
func (s *Store) LayerDir(key Digest) string { return s.digestPath("layers", key) }

func (s *Store) digestPath(kind string, d Digest) string {
	if ValidDigest(d) != nil {
		return s.path(kind, "invalid")
	}
	alg, hex := d.split()
	return s.root + "/" + kind + "/" + alg + "/" + hex
}

// Blob reads a small blob (a config, a manifest) and checks it against its
// digest: ErrNotFound if it is not there, ErrCorrupt if it is another's.
func (s *Store) Blob(d Digest) ([]byte, error) {
	f, size, err := s.OpenBlob(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > MaxBlob {
		return nil, fmt.Errorf("read blob %s: %d bytes are more than %d", d, size, MaxBlob)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d, err)
	}
	if !d.Fits(data) {
		return nil, fmt.Errorf("read blob %s: %w: the content has another digest", d, ErrCorrupt)
	}
	return data, nil
}

// OpenBlob opens a blob of any size. What is read is not checked: see
// VerifyBlob, and give what leaves the machine to somebody who checks.
func (s *Store) OpenBlob(d Digest) (*os.File, int64, error) {
	if err := ValidDigest(d); err != nil {
		return nil, 0, fmt.Errorf("open blob: %w", err)
	}
	return openBlob(s.BlobPath(d), d)
}

// OpenBlob opens a blob that was committed to the ingest or, if it has none,
// that the store keeps.
func (in *Ingest) OpenBlob(d Digest) (*os.File, int64, error) {
	if err := ValidDigest(d); err != nil {
		return nil, 0, fmt.Errorf("open blob: %w", err)
	}
	f, size, err := openBlob(in.staged("blobs", d), d)
	if errors.Is(err, ErrNotFound) {
		return in.store.OpenBlob(d)
	}
	return f, size, err
}

func openBlob(path string, d Digest) (*os.File, int64, error) {
	f, err := os.OpenFile(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open blob: %w", err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("blob %s: %w: not a regular file", d, ErrCorrupt)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// VerifyBlob reads the whole blob and says ErrNotFound or ErrCorrupt.
func (s *Store) VerifyBlob(d Digest) error {
	f, _, err := s.OpenBlob(d)
	if err != nil {
		return err
	}
	defer f.Close()
	h := d.Hash()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("read blob %s: %w", d, err)
	}
	if NewDigest(d.Algorithm(), h) != d {
		return fmt.Errorf("blob %s: %w: the content has another digest", d, ErrCorrupt)
	}
	return nil
}
