package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"minict/store"
)

// MaxLayers bounds the layers of an image. Docker stops at 127, since that was
// what overlayfs took; more than 500 lower directories Linux refuses to this
// day.
const MaxLayers = 500

// DecodeConfig reads an image's config, whose digest is the image's ID. Errors
// wrap ErrCorrupt.
func DecodeConfig(id store.Digest, raw []byte) (store.ImageConfig, error) {
	var config store.ImageConfig
	if err := DecodeJSON(raw, &config); err != nil {
		return store.ImageConfig{}, fmt.Errorf("image config %s: %w", id, err)
	}
	if t := config.RootFS.Type; t != "layers" {
		return store.ImageConfig{}, fmt.Errorf("image config %s: %w: rootfs of type %q", id, ErrCorrupt, Clip(t))
	}
	if len(config.RootFS.DiffIDs) > MaxLayers {
		return store.ImageConfig{}, fmt.Errorf("image config %s: %w: %d layers are more than %d", id, ErrCorrupt, len(config.RootFS.DiffIDs), MaxLayers)
	}
	for _, d := range config.RootFS.DiffIDs {
		if err := store.ValidDigest(d); err != nil {
			return store.ImageConfig{}, fmt.Errorf("image config %s: %w: %w", id, ErrCorrupt, err)
		}
	}
	return config, nil
}

// DecodeJSON reads one JSON value with nothing behind it. Errors wrap
// ErrCorrupt.
func DecodeJSON(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%w: %s", ErrCorrupt, Clip(err.Error()))
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("%w: more than one JSON value", ErrCorrupt)
	}
	return nil
}
