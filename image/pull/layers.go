package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"minict/image"
	"minict/image/layer"
	"minict/store"
)

// parallel is how many layers are fetched and unpacked at once: more than
// Docker's 3 helps nobody but the registry's limits.
const parallel = 4

// unpack brings all layers into the ingest: those that the store has are
// looked up, the others fetched and unpacked side by side in one pass each;
// those that turn out to need the layers below them are unpacked again at the
// end, from the blobs that came, the lowest first.
func (p *pull) unpack(ctx context.Context, in *store.Ingest, diffIDs []store.Digest) ([]store.Layer, error) {
	blobs := p.manifest.Layers
	stacks := stackKeys(diffIDs)
	layers := make([]store.Layer, len(blobs))
	first := make(map[store.Digest]int) // where a blob is in the image for the first time
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, blob := range blobs {
		if j, seen := first[blob.Digest]; seen {
			if diffIDs[i] != diffIDs[j] {
				group.Wait()
				return nil, fmt.Errorf("image config %s: %w: layer %s has two diff_ids", p.manifest.Config.Digest, image.ErrCorrupt, blob.Digest)
			}
			continue
		}
		first[blob.Digest] = i
		group.Go(func() (err error) {
			var below []string // not known yet, but of the lowest layer that there is none
			if i == 0 {
				below = []string{}
			}
			layers[i], err = p.layer(gctx, in, blob, diffIDs[i], stacks[i], below)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i := range layers {
		if layers[i].Key != "" {
			continue
		}
		// A layer that comes again in the image, or that needs its parents.
		l := layers[first[blobs[i].Digest]]
		if l.Key != l.DiffID || l.Key == "" {
			var err error
			if l, err = p.onParents(ctx, in, blobs[i], diffIDs[i], stacks[i], layers[:i]); err != nil {
				return nil, err
			}
		}
		layers[i] = l
	}
	return layers, nil
}

// layer brings one layer into the ingest. Without an error and without a Key
// its blob is there, and it needs its parents.
func (p *pull) layer(ctx context.Context, in *store.Ingest, blob store.Descriptor, diffID, stack store.Digest, parents []string) (store.Layer, error) {
	for _, key := range []store.Digest{diffID, stack} {
		l, ok, err := in.HaveLayer(ctx, key, blob.Digest)
		if err != nil {
			return store.Layer{}, err
		}
		if ok && l.DiffID == diffID {
			p.progress.Layer(blob.Digest, Exists)
			l.Blob = blob
			return l, nil
		}
	}
	p.progress.Layer(blob.Digest, Fetching)
	l, err := p.fetchLayer(ctx, in, blob, diffID, stack, parents)
	if err == nil && l.Key != "" {
		p.progress.Layer(blob.Digest, Complete)
	}
	return l, err
}

// fetchLayer is the one pass: network, blob file, decompression, directory.
func (p *pull) fetchLayer(ctx context.Context, in *store.Ingest, blob store.Descriptor, diffID, stack store.Digest, parents []string) (store.Layer, error) {
	body, err := p.open(ctx, blob)
	if err != nil {
		return store.Layer{}, err
	}
	defer body.Close()
	file, err := in.Blob(ctx, blob)
	if err != nil {
		return store.Layer{}, err
	}
	defer file.Close()
	come := io.TeeReader(&counted{body, func(n int64) { p.progress.Bytes(blob.Digest, n) }}, file)
	l, err := p.apply(ctx, in, come, blob, diffID, stack, parents)
	needs := errors.Is(err, layer.ErrNeedsParents)
	if err != nil && !needs {
		return store.Layer{}, blame(ctx, come, err)
	}
	// What the decompressor left unread belongs to the blob too; and it is its
	// end that says that the digest was right.
	if _, err := io.Copy(io.Discard, come); err != nil {
		return store.Layer{}, err
	}
	if err := file.Commit(); err != nil {
		return store.Layer{}, err
	}
	if needs {
		return store.Layer{}, nil
	}
	return l, nil
}

// blame finds out whether a layer that could not be unpacked is what its
// digest promised: if not, that is what there is to say. A layer that was
// refused for what it does is not read on.
func blame(ctx context.Context, rest io.Reader, err error) error {
	if ctx.Err() != nil || errors.Is(err, layer.ErrLimit) || errors.Is(err, layer.ErrBreakout) {
		return err
	}
	if _, e := io.Copy(io.Discard, rest); errors.Is(e, image.ErrCorrupt) {
		return e
	}
	return err
}

// onParents unpacks a layer whose blob is in the ingest over those below it.
func (p *pull) onParents(ctx context.Context, in *store.Ingest, blob store.Descriptor, diffID, stack store.Digest, below []store.Layer) (store.Layer, error) {
	p.progress.Layer(blob.Digest, Unpacking)
	parents := make([]string, 0, len(below))
	for i := len(below) - 1; i >= 0; i-- {
		parents = append(parents, in.LayerDir(below[i].Key))
	}
	f, err := p.kept(in, blob.Digest)
	if err != nil {
		return store.Layer{}, err
	}
	defer f.Close()
	l, err := p.apply(ctx, in, f, blob, diffID, stack, parents)
	if err == nil {
		p.progress.Layer(blob.Digest, Complete)
	}
	return l, err
}

// kept opens a blob that the ingest has, or else the store. Where an ingest
// keeps it is drawn in the store's package comment.
func (p *pull) kept(in *store.Ingest, d store.Digest) (*os.File, error) {
	tmp, err := in.NewLayer()
	if err != nil {
		return nil, err
	}
	defer tmp.Close()
	alg, hex, _ := strings.Cut(string(d), ":")
	f, err := os.Open(filepath.Join(filepath.Dir(filepath.Dir(tmp.Path())), "blobs", alg, hex))
	if errors.Is(err, os.ErrNotExist) {
		f, _, err = p.Store.OpenBlob(d)
	}
	return f, err
}

// apply unpacks r to a new layer directory, checks the DiffID and commits the
// layer to the ingest, under its DiffID or, if it needed parents, under stack.
// The size of a layer is checked by who reads the blob.
func (p *pull) apply(ctx context.Context, in *store.Ingest, r io.Reader, blob store.Descriptor, diffID, stack store.Digest, parents []string) (store.Layer, error) {
	dir, err := in.NewLayer()
	if err != nil {
		return store.Layer{}, err
	}
	defer dir.Close()
	tar, err := layer.Decompress(r, blob.MediaType)
	if err != nil {
		return store.Layer{}, fmt.Errorf("layer %s: %w", blob.Digest, err)
	}
	defer tar.Close()
	got, err := layer.Unpack(ctx, tar, layer.Options{Root: dir.Dir, Parents: parents})
	if err != nil {
		return store.Layer{}, fmt.Errorf("layer %s: %w", blob.Digest, err)
	}
	if got.DiffID != diffID {
		return store.Layer{}, fmt.Errorf("layer %s: %w: wrong DiffID: the config promises %s, the tar has %s", blob.Digest, image.ErrCorrupt, diffID, got.DiffID)
	}
	key := diffID
	if !got.SelfContained {
		key = stack
	}
	l := store.Layer{DiffID: diffID, Key: key, Blob: blob, Size: got.Size}
	return l, dir.Commit(ctx, l)
}

// counted tells how many bytes have passed.
type counted struct {
	io.Reader
	tell func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if n > 0 {
		c.tell(int64(n))
	}
	return n, err
}
