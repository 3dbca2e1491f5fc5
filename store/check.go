package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Problem is one thing that is not as it should be.
type Problem struct {
	Object string // "index", "image sha256:…", "layer sha256:…", "blob sha256:…", "name docker.io/…"
	Err    error  // ErrCorrupt or ErrNotFound is in it
}

func (p Problem) Error() string {
	if text := p.Err.Error(); strings.HasPrefix(text, p.Object) {
		return text
	}
	return p.Object + ": " + p.Err.Error()
}

// Check reads the whole index and every blob it names and looks for every
// layer's directory. What it finds wrong is in the list; the error says that
// the check itself could not be done. No lock is held while blobs are read.
//
// The files of a layer are not compared with its DiffID: a tree does not say
// in which order its tar had them.
func (s *Store) Check(ctx context.Context) ([]Problem, error) {
	c := checker{store: s}
	err := s.View(ctx, func(tx *Tx) error {
		// bbolt's own check runs in a goroutine of its own, where nobody can
		// catch what a damaged page does to it.
		if err := tx.checkTotal(); err != nil {
			c.add("index", err)
		}
		c.records(tx)
		return nil
	})
	if errors.Is(err, ErrCorrupt) {
		c.add("index", err)
		err = nil
	}
	if err != nil {
		return nil, err
	}
	for _, d := range c.blobs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.blob(ctx, d)
	}
	return c.problems, nil
}

type checker struct {
	store    *Store
	blobs    []Digest
	problems []Problem
}

func (c *checker) add(object string, err error) {
	c.problems = append(c.problems, Problem{Object: object, Err: err})
}

// records reads every record and follows what it names.
func (c *checker) records(tx *Tx) {
	c.each(tx, bucketRefs, "name", func(name string) error {
		id, err := tx.get(bucketRefs, name)
		if err == nil {
			_, err = tx.get(bucketImages, string(id))
		}
		return err
	})
	c.each(tx, bucketImages, "image", func(id string) error {
		img, err := tx.Image(Digest(id))
		if err != nil {
			return err
		}
		return tx.complete(img)
	})
	c.each(tx, bucketLayers, "layer", func(key string) error {
		l, err := tx.Layer(Digest(key))
		if err != nil {
			return err
		}
		return c.layer(l)
	})
	c.each(tx, bucketBlobs, "blob", func(d string) error {
		_, err := tx.BlobInfo(Digest(d))
		if err == nil {
			c.blobs = append(c.blobs, Digest(d))
		}
		return err
	})
}

func (c *checker) each(tx *Tx, bucket, kind string, f func(key string) error) {
	keys, err := tx.keys(bucket, "")
	if err != nil {
		c.add("index", err)
	}
	for _, key := range keys {
		if err := f(key); err != nil {
			c.add(kind+" "+key, err)
		}
	}
}

func (c *checker) layer(l Layer) error {
	if err := ValidDigest(l.Key); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	st, err := os.Lstat(c.store.LayerDir(l.Key))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("directory: %w", ErrNotFound)
	}
	if err == nil && !st.IsDir() {
		err = fmt.Errorf("%w: not a directory", ErrCorrupt)
	}
	return err
}

// blob hashes one. If it is bad, the index is asked again: it may have been
// removed in the meantime.
func (c *checker) blob(ctx context.Context, d Digest) {
	bad := c.store.VerifyBlob(d)
	if bad == nil {
		return
	}
	err := c.store.View(ctx, func(tx *Tx) error {
		_, err := tx.BlobInfo(d)
		return err
	})
	if !errors.Is(err, ErrNotFound) {
		c.add("blob "+string(d), bad)
	}
}
