package store

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"time"
)

// Image is one image for one platform, as it is kept.
type Image struct {
	Names     []string // canonical references that name it: docker.io/library/alpine:latest
	Digests   []string // as it was pulled: docker.io/library/alpine@sha256:…
	ID        Digest   // digest of the config, Docker's image ID
	Manifest  Descriptor
	Layers    []Layer // lowest first
	Created   time.Time
	Size      int64 // bytes of the unpacked layers
	Platform  Platform
	Execution Execution // of the config, so that a start need not read that
}

// Layer is one layer of an image.
type Layer struct {
	DiffID Digest     // digest of its plain tar
	Key    Digest     // what its directory is called: DiffID, or ChainID when it needs its parents
	Blob   Descriptor // its tar as the registry has it; the blob need not be kept
	Size   int64      // bytes of the unpacked files
}

// layerRecord is what the index knows of a layer directory.
type layerRecord struct {
	DiffID Digest   `json:"diffID"`
	Size   int64    `json:"size"`
	Blobs  []Digest `json:"blobs,omitempty"` // blobs that were seen to unpack to it
}

// blobRecord is what the index knows of a blob.
type blobRecord struct {
	MediaType string `json:"mediaType,omitempty"`
	Size      int64  `json:"size"`
}

// totalRecord is over all other records.
type totalRecord struct {
	Records int    `json:"records"`
	Sum     uint64 `json:"sum"` // their check sums, xor
}

const totalKey = "all"

// maxRecord bounds what a damaged length can make a reader allocate. An image
// of 500 layers has a record of 0.2 MiB.
const maxRecord = 4 << 20

// sumSize is the length of the check sum before each payload.
const sumSize = 8

// seal puts the check sum before a payload.
func seal(bucket, key string, payload []byte) []byte {
	sealed := binary.BigEndian.AppendUint64(make([]byte, 0, sumSize+len(payload)), checksum(bucket, key, payload))
	return append(sealed, payload...)
}

// unseal gives the payload within value, or says ErrCorrupt.
func unseal(bucket, key string, value []byte) ([]byte, error) {
	if len(value) >= sumSize && binary.BigEndian.Uint64(value) == checksum(bucket, key, value[sumSize:]) {
		return value[sumSize:], nil
	}
	return nil, fmt.Errorf("index: %s %.80q: %w", bucket, key, ErrCorrupt)
}

// checksum is FNV-1a: it can't miss a change of one byte, and unlike CRC-32
// and its relatives has no tables, which cost the start of a process 0.2 ms.
func checksum(bucket, key string, payload []byte) uint64 {
	h := fnv.New64a()
	h.Write([]byte(bucket + "\x00" + key + "\x00"))
	h.Write(payload)
	return h.Sum64()
}

// decode reads a sealed record.
func decode(bucket, key string, value []byte, into any) error {
	payload, err := unseal(bucket, key, value)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(payload, into); err != nil {
		return fmt.Errorf("index: %s %.80q: %w: %w", bucket, key, ErrCorrupt, err)
	}
	return nil
}

func decodeImage(id string, value []byte, refs map[string]Digest) (Image, error) {
	payload, err := unseal(bucketImages, id, value)
	if err != nil {
		return Image{}, err
	}
	img := Image{ID: Digest(id)}
	if !img.unpack(payload) {
		return Image{}, fmt.Errorf("index: %s %.80q: %w: no record of an image, or one of another version of minict", bucketImages, id, ErrCorrupt)
	}
	for name, named := range refs {
		if named == img.ID {
			img.Names = append(img.Names, name)
		}
	}
	slices.Sort(img.Names)
	return img, nil
}
