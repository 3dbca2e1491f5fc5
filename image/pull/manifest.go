package pull

import (
	"encoding/json"
	"fmt"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"minict/image"
	"minict/image/registry"
	"minict/store"
)

// Bounds on what an image may consist of, beside image.MaxLayers.
const (
	maxConfig = 4 << 20  // bytes of a config
	maxBlob   = 64 << 30 // bytes of a layer's blob
	maxNested = 3        // indexes in indexes
)

const (
	dockerConfig = "application/vnd.docker.container.image.v1+json"
	dockerLayer  = "application/vnd.docker.image.rootfs.diff.tar"
	dockerLayerZ = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	dockerLayerS = "application/vnd.docker.image.rootfs.diff.tar.zstd"
	foreign      = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	foreignZ     = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	ociForeign   = "application/vnd.oci.image.layer.nondistributable.v1.tar"
)

// imageIndex offers one image for several platforms, imageManifest says what
// an image for one consists of (OCI image specification, image-index.md and
// manifest.md).
type imageIndex struct {
	SchemaVersion int                `json:"schemaVersion"`
	MediaType     string             `json:"mediaType,omitempty"`
	Manifests     []store.Descriptor `json:"manifests"`
}

type imageManifest struct {
	SchemaVersion int                `json:"schemaVersion"`
	MediaType     string             `json:"mediaType,omitempty"`
	Config        store.Descriptor   `json:"config"`
	Layers        []store.Descriptor `json:"layers"`
}

// decodeIndex reads an index, decodeManifest a manifest. Both are strict about
// which of the two it is: a document that could be read as either is read by
// two programs as two images (CVE-2021-41190).
func decodeIndex(doc registry.Document) (imageIndex, error) {
	var index imageIndex
	if err := decodeDocument(doc, "manifests", &index, &index.MediaType, &index.SchemaVersion); err != nil {
		return imageIndex{}, err
	}
	for _, m := range index.Manifests {
		if err := checkDescriptor(m, registry.MaxManifest); err != nil {
			return imageIndex{}, fmt.Errorf("index %s: %w", doc.Descriptor.Digest, err)
		}
	}
	return index, nil
}

func decodeManifest(doc registry.Document) (imageManifest, error) {
	var m imageManifest
	if err := decodeDocument(doc, "layers", &m, &m.MediaType, &m.SchemaVersion); err != nil {
		return imageManifest{}, err
	}
	if err := checkManifest(m); err != nil {
		return imageManifest{}, fmt.Errorf("manifest %s: %w", doc.Descriptor.Digest, err)
	}
	return m, nil
}

func decodeDocument(doc registry.Document, field string, into any, mediaType *string, schema *int) error {
	if err := image.DecodeJSON(doc.Raw, into); err != nil {
		return fmt.Errorf("manifest %s: %w", doc.Descriptor.Digest, err)
	}
	got, err := kind(doc.Raw)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", doc.Descriptor.Digest, err)
	}
	announced := doc.Descriptor.MediaType
	switch {
	case *schema != 2:
		return fmt.Errorf("manifest %s: %w: schema version %d", doc.Descriptor.Digest, image.ErrCorrupt, *schema)
	case got != field:
		return fmt.Errorf("manifest %s: %w: it has %q where its media type says %q", doc.Descriptor.Digest, image.ErrCorrupt, got, field)
	case *mediaType != "" && announced != "" && *mediaType != announced:
		return fmt.Errorf("manifest %s: %w: the registry calls it %q, itself %q", doc.Descriptor.Digest, image.ErrCorrupt, announced, image.Clip(*mediaType))
	case *mediaType != "" && isIndex(*mediaType) != (field == "manifests"):
		return fmt.Errorf("manifest %s: %w: it calls itself %q", doc.Descriptor.Digest, image.ErrCorrupt, image.Clip(*mediaType))
	}
	return nil
}

// kind is "manifests" for an index and "layers" for a manifest, by what is in
// it. Names are compared as encoding/json does, without regard to case.
func kind(raw []byte) (string, error) {
	var has struct {
		Manifests json.RawMessage `json:"manifests"`
		Layers    json.RawMessage `json:"layers"`
		Config    json.RawMessage `json:"config"`
		FSLayers  json.RawMessage `json:"fsLayers"`
	}
	if err := image.DecodeJSON(raw, &has); err != nil {
		return "", err
	}
	switch manifest := has.Layers != nil || has.Config != nil; {
	case has.FSLayers != nil:
		return "", fmt.Errorf("%w: a manifest of schema 1, which is obsolete and can't be verified", image.ErrCorrupt)
	case has.Manifests != nil && manifest:
		return "", fmt.Errorf("%w: it is both an index and a manifest", image.ErrCorrupt)
	case has.Manifests != nil:
		return "manifests", nil
	case manifest:
		return "layers", nil
	}
	return "", fmt.Errorf("%w: it is neither an index nor a manifest", image.ErrCorrupt)
}

func isIndex(mediaType string) bool {
	return mediaType == v1.MediaTypeImageIndex || mediaType == registry.DockerIndex
}

func checkManifest(m imageManifest) error {
	switch m.Config.MediaType {
	case v1.MediaTypeImageConfig, dockerConfig:
	default:
		return fmt.Errorf("it is no container image but %q", image.Clip(m.Config.MediaType))
	}
	if len(m.Layers) > image.MaxLayers {
		return fmt.Errorf("%w: %d layers are more than %d", image.ErrCorrupt, len(m.Layers), image.MaxLayers)
	}
	if err := checkDescriptor(m.Config, maxConfig); err != nil {
		return err
	}
	for _, l := range m.Layers {
		if !isLayer(l.MediaType) {
			return fmt.Errorf("%w: layer %s has the media type %q", image.ErrCorrupt, l.Digest, image.Clip(l.MediaType))
		}
		if err := checkDescriptor(l, maxBlob); err != nil {
			return err
		}
	}
	return nil
}

func isLayer(mediaType string) bool {
	switch mediaType {
	case v1.MediaTypeImageLayer, v1.MediaTypeImageLayerGzip, v1.MediaTypeImageLayerZstd,
		ociForeign, ociForeign + "+gzip", ociForeign + "+zstd",
		dockerLayer, dockerLayerZ, dockerLayerS, foreign, foreignZ:
		return true
	}
	return false
}

// checkDescriptor checks the digest, which becomes part of a path, and the
// size. The URLs in it are never used: that a manifest could send its reader
// to any host was CVE-2020-15157.
func checkDescriptor(d store.Descriptor, most int64) error {
	if err := store.ValidDigest(d.Digest); err != nil {
		return fmt.Errorf("%w: %w", image.ErrCorrupt, err)
	}
	if d.Size < 0 || d.Size > most {
		return fmt.Errorf("%w: %s: size %d is not between 0 and %d", image.ErrCorrupt, d.Digest, d.Size, most)
	}
	return nil
}

// stackKeys are the keys of layers that need the layers below them: the
// ChainID (image-spec, config.md, "Layer ChainID"). Only the lowest layer's is
// not its ChainID, which is its DiffID and means a self-contained layer: the
// same layer over another one would be taken for it.
func stackKeys(diffIDs []store.Digest) []store.Digest {
	keys := make([]store.Digest, len(diffIDs))
	var chain store.Digest
	for i, d := range diffIDs {
		keys[i] = store.DigestOf(string(chain) + " " + string(d))
		chain = keys[i]
		if i == 0 {
			chain = d
		}
	}
	return keys
}
