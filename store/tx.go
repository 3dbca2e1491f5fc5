package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// Tx is the index during a View or an Update.
type Tx struct {
	bolt  *bolt.Tx // nil: there is no index yet, so it is empty
	index *index
	grows bool // something was put
}

// Image finds the image with that id, or ErrNotFound.
func (tx *Tx) Image(id Digest) (Image, error) {
	refs, err := tx.refs()
	if err != nil {
		return Image{}, err
	}
	return tx.image(id, refs)
}

func (tx *Tx) image(id Digest, refs map[string]Digest) (Image, error) {
	value, err := tx.sealed(bucketImages, string(id))
	if err != nil {
		return Image{}, err
	}
	return decodeImage(string(id), value, refs)
}

// ByName finds the image that the canonical reference names, or ErrNotFound.
func (tx *Tx) ByName(name string) (Image, error) {
	id, err := tx.get(bucketRefs, name)
	if err != nil {
		return Image{}, err
	}
	return tx.Image(Digest(id))
}

// ByIDPrefix finds the images whose id begins with hex, which may begin with
// the algorithm and a colon; without one, sha256 is meant. None is no error.
func (tx *Tx) ByIDPrefix(hex string) ([]Image, error) {
	if strings.Contains(hex, ":") {
		return tx.byPrefix(hex)
	}
	return tx.byPrefix("sha256:" + hex)
}

// Images lists all images, in the order of their ids.
func (tx *Tx) Images() ([]Image, error) { return tx.byPrefix("") }

func (tx *Tx) byPrefix(prefix string) ([]Image, error) {
	refs, err := tx.refs()
	if err != nil {
		return nil, err
	}
	var images []Image
	err = tx.each(bucketImages, prefix, func(key string, value []byte) error {
		img, err := decodeImage(key, value, refs)
		images = append(images, img)
		return err
	})
	return images, err
}

// Names gives each canonical reference with the id of the image it names.
func (tx *Tx) Names() (map[string]Digest, error) { return tx.refs() }

// HasLayer says whether a layer directory of that key is kept.
func (tx *Tx) HasLayer(key Digest) (bool, error) {
	_, err := tx.get(bucketLayers, string(key))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Layer finds a kept layer by its key, or ErrNotFound. Its Blob is empty.
func (tx *Tx) Layer(key Digest) (Layer, error) {
	var r layerRecord
	if err := tx.record(bucketLayers, string(key), &r); err != nil {
		return Layer{}, err
	}
	return Layer{DiffID: r.DiffID, Key: key, Size: r.Size}, nil
}

// BlobInfo finds a kept blob, or ErrNotFound.
func (tx *Tx) BlobInfo(d Digest) (Descriptor, error) {
	var r blobRecord
	if err := tx.record(bucketBlobs, string(d), &r); err != nil {
		return Descriptor{}, err
	}
	return Descriptor{MediaType: r.MediaType, Digest: d, Size: r.Size}, nil
}

// PutLayer records that the directory of l is in its place and durable.
// Whoever uses Ingest.Publish needs neither this nor PutBlob.
func (tx *Tx) PutLayer(l Layer) error {
	for _, d := range []Digest{l.Key, l.DiffID} {
		if err := ValidDigest(d); err != nil {
			return fmt.Errorf("put layer: %w", err)
		}
	}
	r := layerRecord{}
	if err := tx.record(bucketLayers, string(l.Key), &r); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	r.DiffID, r.Size = l.DiffID, l.Size
	if d := l.Blob.Digest; d != "" && !slices.Contains(r.Blobs, d) {
		r.Blobs = append(r.Blobs, d)
	}
	return tx.put(bucketLayers, string(l.Key), r)
}

// PutBlob records that the blob is in its place and durable.
func (tx *Tx) PutBlob(d Descriptor) error {
	if err := ValidDigest(d.Digest); err != nil {
		return fmt.Errorf("put blob: %w", err)
	}
	return tx.put(bucketBlobs, string(d.Digest), blobRecord{MediaType: d.MediaType, Size: d.Size})
}

// PutImage records img, whose config, manifest and layers have to be recorded
// already, and moves name to it. With name "" it gets no name; img.Names is
// not looked at. Digests are added to those that the image had before.
func (tx *Tx) PutImage(img Image, name string) error {
	if err := tx.complete(img); err != nil {
		return fmt.Errorf("put image: %w", err)
	}
	old, err := tx.image(img.ID, nil)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	img.Digests = slices.Concat(old.Digests, img.Digests)
	slices.Sort(img.Digests)
	img.Digests = slices.Compact(img.Digests)
	if err := tx.putRaw(bucketImages, string(img.ID), img.pack()); err != nil {
		return err
	}
	if old.Manifest.Digest != "" && old.Manifest.Digest != img.Manifest.Digest {
		if err := tx.prune(); err != nil {
			return err
		}
	}
	if name == "" {
		return nil
	}
	return tx.Tag(name, img.ID)
}

// complete says what of img the index would point at in vain.
func (tx *Tx) complete(img Image) error {
	for _, d := range []Digest{img.ID, img.Manifest.Digest} {
		if err := ValidDigest(d); err != nil {
			return err
		}
		if _, err := tx.get(bucketBlobs, string(d)); err != nil {
			return err
		}
	}
	for _, l := range img.Layers {
		if _, err := tx.get(bucketLayers, string(l.Key)); err != nil {
			return err
		}
	}
	return nil
}

// Tag moves name to the image with that id, or says ErrNotFound. An image
// that loses its last name stays, nameless.
func (tx *Tx) Tag(name string, id Digest) error {
	if _, err := tx.get(bucketImages, string(id)); err != nil {
		return err
	}
	return tx.putRaw(bucketRefs, name, []byte(id))
}

// Untag takes name from its image, which stays, or says ErrNotFound.
func (tx *Tx) Untag(name string) error {
	if _, err := tx.get(bucketRefs, name); err != nil {
		return err
	}
	return tx.delete(bucketRefs, name)
}

// SetDigests replaces the repo@digest references of an image, which PutImage
// only adds to.
func (tx *Tx) SetDigests(id Digest, digests []string) error {
	img, err := tx.image(id, nil)
	if err != nil {
		return err
	}
	img.Digests = digests
	return tx.putRaw(bucketImages, string(id), img.pack())
}

// DeleteImage forgets the image with that id and its names, and the blobs and
// layers that no other image has, or says ErrNotFound. Their bytes go with the
// next Collect.
func (tx *Tx) DeleteImage(id Digest) error {
	img, err := tx.Image(id)
	if err != nil {
		return err
	}
	for _, name := range img.Names {
		if err := tx.delete(bucketRefs, name); err != nil {
			return err
		}
	}
	if err := tx.delete(bucketImages, string(id)); err != nil {
		return err
	}
	return tx.prune()
}

// prune forgets the blobs and layers that no image names.
func (tx *Tx) prune() error {
	images, err := tx.Images()
	if err != nil {
		return err
	}
	named := namedBy(images)
	for _, bucket := range []string{bucketBlobs, bucketLayers} {
		keys, err := tx.keys(bucket, "")
		if err != nil {
			return err
		}
		for _, key := range keys {
			if named[Digest(key)] {
				continue
			}
			if err := tx.delete(bucket, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// namedBy is every digest that the images need, of blobs and layers alike.
func namedBy(images []Image) map[Digest]bool {
	named := make(map[Digest]bool)
	for _, img := range images {
		named[img.ID] = true
		named[img.Manifest.Digest] = true
		for _, l := range img.Layers {
			named[l.Key] = true
			named[l.Blob.Digest] = true
		}
	}
	return named
}

func (tx *Tx) refs() (map[string]Digest, error) {
	refs := make(map[string]Digest)
	err := tx.each(bucketRefs, "", func(name string, value []byte) error {
		id, err := unseal(bucketRefs, name, value)
		refs[name] = Digest(id)
		return err
	})
	return refs, err
}

// checkTotal compares all records with the total, since a page can be damaged
// in such a way that bbolt sees fewer of them.
func (tx *Tx) checkTotal() error {
	if tx.bolt == nil {
		return nil
	}
	var want totalRecord
	if err := tx.record(bucketTotal, totalKey, &want); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	got, err := tx.total()
	if err == nil && got != want {
		err = fmt.Errorf("index: %w: %d records instead of %d, or others", ErrCorrupt, got.Records, want.Records)
	}
	return err
}

func (tx *Tx) putTotal() error {
	total, err := tx.total()
	if err != nil {
		return err
	}
	grows := tx.grows // a removal is one with its total too
	err = tx.put(bucketTotal, totalKey, total)
	tx.grows = grows
	return err
}

// total reads every record.
func (tx *Tx) total() (total totalRecord, err error) {
	for _, bucket := range counted() {
		err := tx.each(bucket, "", func(key string, value []byte) error {
			_, err := unseal(bucket, key, value)
			if err == nil {
				total.Records++
				total.Sum ^= binary.BigEndian.Uint64(value)
			}
			return err
		})
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (tx *Tx) record(bucket, key string, into any) error {
	value, err := tx.sealed(bucket, key)
	if err != nil {
		return err
	}
	return decode(bucket, key, value, into)
}

func (tx *Tx) put(bucket, key string, record any) error {
	payload, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("index: %s %s: %w", bucket, key, err)
	}
	return tx.putRaw(bucket, key, payload)
}

// What is below is all that touches bbolt's tree.

func (tx *Tx) get(bucket, key string) (payload []byte, err error) {
	value, err := tx.sealed(bucket, key)
	if err != nil {
		return nil, err
	}
	return unseal(bucket, key, value)
}

// sealed copies a value out of the mapped file, or says ErrNotFound.
func (tx *Tx) sealed(bucket, key string) (value []byte, err error) {
	if tx.bolt != nil {
		err = tx.in(bucket, func(b *bolt.Bucket) error {
			v := b.Get([]byte(key))
			if len(v) > maxRecord {
				return fmt.Errorf("index: %s %.80q: %w: %d bytes", bucket, key, ErrCorrupt, len(v))
			}
			value = bytes.Clone(v)
			return nil
		})
	}
	if err == nil && value == nil {
		err = fmt.Errorf("%s %.200q: %w", strings.TrimSuffix(bucket, "s"), key, ErrNotFound)
	}
	return value, err
}

func (tx *Tx) keys(bucket, prefix string) (keys []string, err error) {
	err = tx.each(bucket, prefix, func(key string, _ []byte) error {
		keys = append(keys, key)
		return nil
	})
	return keys, err
}

// each calls f with each key that begins with prefix and its value, which lies
// in the mapped file.
func (tx *Tx) each(bucket, prefix string, f func(key string, value []byte) error) error {
	if tx.bolt == nil {
		return nil
	}
	return tx.in(bucket, func(b *bolt.Bucket) error {
		c := b.Cursor()
		last := ""
		for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			// Out of order or too large is a damaged page, and may be endless.
			if string(k) <= last || len(k) > bolt.MaxKeySize || len(v) > maxRecord {
				return fmt.Errorf("index: %s %q: %w: record out of place", bucket, k[:min(len(k), 80)], ErrCorrupt)
			}
			last = string(k)
			if err := f(last, v); err != nil {
				return err
			}
		}
		return nil
	})
}

func (tx *Tx) putRaw(bucket, key string, payload []byte) error {
	if sumSize+len(payload) > maxRecord {
		return fmt.Errorf("index: %s %.80q: %d bytes are too many", bucket, key, len(payload))
	}
	tx.grows = true
	return tx.in(bucket, func(b *bolt.Bucket) error {
		return b.Put([]byte(key), seal(bucket, key, payload))
	})
}

func (tx *Tx) delete(bucket, key string) error {
	return tx.in(bucket, func(b *bolt.Bucket) error { return b.Delete([]byte(key)) })
}

// in calls f with a bucket.
func (tx *Tx) in(bucket string, f func(*bolt.Bucket) error) error {
	if tx.bolt == nil {
		return errors.New("index: empty")
	}
	return tx.index.guard(func() error {
		b := tx.bolt.Bucket([]byte(bucket))
		if b == nil {
			return fmt.Errorf("index: no bucket %s: %w", bucket, ErrCorrupt)
		}
		return f(b)
	})
}
