package store

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"os"
)

// ErrDigest says that what was written is not what was announced.
var ErrDigest = errors.New("content does not match")

// BlobWriter takes the bytes of one blob and believes none of them.
type BlobWriter struct {
	in   *Ingest
	want Descriptor
	file *os.File
	hash hash.Hash
	size int64
}

// Blob begins a blob of which digest and size are known beforehand. The
// caller closes the writer; what was not committed by then is forgotten.
func (in *Ingest) Blob(ctx context.Context, d Descriptor) (*BlobWriter, error) {
	if err := ValidDigest(d.Digest); err != nil {
		return nil, fmt.Errorf("write blob: %w", err)
	}
	if d.Size < 0 {
		return nil, fmt.Errorf("write blob %s: size %d", d.Digest, d.Size)
	}
	if err := in.claim(ctx, "blobs", d.Digest); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(in.dir+"/tmp", "")
	if err != nil {
		return nil, fmt.Errorf("write blob: %w", err)
	}
	return &BlobWriter{in: in, want: d, file: f, hash: d.Digest.Hash()}, nil
}

// PutBlob is Blob, Write and Commit of bytes that are at hand.
func (in *Ingest) PutBlob(ctx context.Context, d Descriptor, data []byte) error {
	w, err := in.Blob(ctx, d)
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Commit()
}

// Write refuses what goes beyond the announced size (ErrDigest).
func (w *BlobWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > w.want.Size-w.size {
		return 0, fmt.Errorf("blob %s: %w: longer than %d bytes", w.want.Digest, ErrDigest, w.want.Size)
	}
	n, err := w.file.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("write blob %s: %w", w.want.Digest, err)
	}
	return n, nil
}

// Commit checks size and digest (ErrDigest) and adds the blob to the ingest.
func (w *BlobWriter) Commit() error {
	if w.size != w.want.Size {
		return fmt.Errorf("blob %s: %w: %d bytes instead of %d", w.want.Digest, ErrDigest, w.size, w.want.Size)
	}
	if got := NewDigest(w.want.Digest.Algorithm(), w.hash); got != w.want.Digest {
		return fmt.Errorf("blob %s: %w: the digest is %s", w.want.Digest, ErrDigest, got)
	}
	if err := os.Rename(w.file.Name(), w.in.staged("blobs", w.want.Digest)); err != nil {
		return fmt.Errorf("keep blob: %w", err)
	}
	w.in.addBlob(w.want)
	return w.Close()
}

// Close forgets the blob unless it was committed. It may be called again.
func (w *BlobWriter) Close() error {
	if w.file == nil {
		return nil
	}
	os.Remove(w.file.Name()) // after Commit it has another name
	err := w.file.Close()
	w.file = nil
	return err
}

// LayerWriter is an empty directory that becomes a layer.
type LayerWriter struct {
	Dir  *os.File // the directory, mode 0700, opened for reading
	in   *Ingest
	path string
}

// NewLayer makes one. The caller closes it; what was not committed by then is
// removed.
func (in *Ingest) NewLayer() (*LayerWriter, error) {
	path, err := os.MkdirTemp(in.dir+"/tmp", "")
	if err != nil {
		return nil, fmt.Errorf("make layer: %w", err)
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("make layer: %w", err)
	}
	return &LayerWriter{Dir: dir, in: in, path: path}, nil
}

// Path is where the directory is until Commit.
func (w *LayerWriter) Path() string { return w.path }

// Commit adds the directory to the ingest as layer l, of which the caller has
// checked the DiffID. If the ingest has a layer of that key, that one stays.
func (w *LayerWriter) Commit(ctx context.Context, l Layer) error {
	for _, d := range []Digest{l.Key, l.DiffID} {
		if err := ValidDigest(d); err != nil {
			return fmt.Errorf("keep layer: %w", err)
		}
	}
	if err := w.in.claim(ctx, "layers", l.Key); err != nil {
		return err
	}
	err := os.Rename(w.path, w.in.staged("layers", l.Key))
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("keep layer: %w", err)
	}
	if err == nil {
		w.path = ""
	}
	w.in.addLayer(l)
	return w.Close()
}

// Close removes the directory unless it was committed. It may be called again.
func (w *LayerWriter) Close() error {
	if w.Dir == nil {
		return nil
	}
	w.Dir.Close()
	w.Dir = nil
	if w.path == "" {
		return nil
	}
	_, err := RemoveTree(w.path)
	return err
}

func (r layerRecord) from(blob Digest) bool {
	if blob == "" {
		return true
	}
	for _, d := range r.Blobs {
		if d == blob {
			return true
		}
	}
	return false
}
