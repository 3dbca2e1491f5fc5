package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"minict/store"
)

// List gives all images of the store, in the order of their IDs.
func (c *Client) List(ctx context.Context) (images []store.Image, err error) {
	err = c.Store.View(ctx, func(tx *store.Tx) error {
		images, err = tx.Images()
		return err
	})
	return images, err
}

// Resolve finds the image that ref means (see Find) and its config.
func (c *Client) Resolve(ctx context.Context, ref string) (img store.Image, config store.ImageConfig, err error) {
	err = c.Store.View(ctx, func(tx *store.Tx) error {
		if img, err = Find(tx, ref); err != nil {
			return err
		}
		config, err = Config(c.Store, img)
		return err
	})
	return img, config, err
}

// Find finds the image that ref means, as Docker does: a full ID, or else a
// name, or else the start of an ID. Errors are ErrUnknown, ErrAmbiguous and
// ErrReference.
func Find(tx *store.Tx, ref string) (store.Image, error) {
	img, _, err := find(tx, ref)
	return img, err
}

// find also gives the canonical name by which the image was found, empty if
// it was by its ID.
func find(tx *store.Tx, ref string) (store.Image, string, error) {
	hex, isID := strings.CutPrefix(ref, "sha256:")
	if isID || isHex(ref, 64) {
		img, err := byID(tx, hex, ref)
		return img, "", err
	}
	name, err := Parse(ref)
	if err != nil {
		return store.Image{}, "", err
	}
	img, err := byName(tx, name)
	if err == nil || !errors.Is(err, ErrUnknown) {
		return img, name.Stored(), err
	}
	if isHex(ref, len(ref)) {
		img, err := byID(tx, ref, ref)
		return img, "", err
	}
	return store.Image{}, "", err
}

// byName finds what a name or a digest of a repository means. Digests are
// known for what was pulled by a tag too.
func byName(tx *store.Tx, name Name) (store.Image, error) {
	img, err := tx.ByName(name.Stored())
	if !errors.Is(err, store.ErrNotFound) {
		return img, err
	}
	if name.Digest != "" {
		images, err := tx.Images()
		if err != nil {
			return store.Image{}, err
		}
		for _, img := range images {
			if slices.Contains(img.Digests, name.Stored()) {
				return img, nil
			}
		}
	}
	return store.Image{}, Because(ErrUnknown, "no such image: %s", name.Familiar())
}

func byID(tx *store.Tx, hex, ref string) (store.Image, error) {
	if hex == "" || len(hex) > 64 || !isHex(hex, len(hex)) {
		return store.Image{}, fmt.Errorf("%w: %q is not an image ID", ErrReference, Clip(ref))
	}
	images, err := tx.ByIDPrefix(hex)
	if err != nil {
		return store.Image{}, err
	}
	switch len(images) {
	case 0:
		return store.Image{}, Because(ErrUnknown, "no such image: %s", ref)
	case 1:
		return images[0], nil
	}
	return store.Image{}, Because(ErrAmbiguous, "image ID %s is ambiguous: %d images have it", ref, len(images))
}

// Config reads an image's config from the store, checked against the image's
// ID. What is in it is the image's author's word.
func Config(s *store.Store, img store.Image) (store.ImageConfig, error) {
	raw, err := s.Blob(img.ID)
	if err != nil {
		return store.ImageConfig{}, fmt.Errorf("image %s: %w", ShortID(img.ID), err)
	}
	return DecodeConfig(img.ID, raw)
}

// ShortID is the form of an ID that people read: 12 hexadecimal digits.
func ShortID(id store.Digest) string {
	_, hex, _ := strings.Cut(string(id), ":")
	return hex[:min(len(hex), 12)]
}
