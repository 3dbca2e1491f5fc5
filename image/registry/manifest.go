package registry

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"minict/store"
)

// MaxManifest is how many bytes a manifest or an index may have; it is what
// Docker's registry takes.
const MaxManifest = 4 << 20

// The media types of Docker that mean the same as those of OCI.
const (
	DockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	schema1        = "application/vnd.docker.distribution.manifest.v1+" // json or prettyjws
)

var manifestTypes = []string{
	v1.MediaTypeImageIndex, v1.MediaTypeImageManifest, DockerIndex, DockerManifest,
}

// Document is a manifest or an index as a registry sent it.
type Document struct {
	Descriptor store.Descriptor // computed here: a registry's own word for the digest is not listened to
	Raw        []byte
}

// Manifest fetches the manifest or index that reference, a tag or a digest,
// names. What comes for a digest has that digest.
func (r *Repository) Manifest(ctx context.Context, reference string) (Document, error) {
	object := r.object(reference)
	var t tries
	for {
		doc, err := r.manifest(ctx, reference)
		if err == nil {
			return doc, nil
		}
		if err := t.again(ctx, r, err); err != nil {
			return Document{}, r.explain(ctx, object, err)
		}
	}
}

func (r *Repository) manifest(ctx context.Context, reference string) (Document, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := r.get(ctx, "/manifests/"+reference, strings.Join(manifestTypes, ", "), 0)
	if err != nil {
		return Document{}, err
	}
	defer resp.Body.Close()
	if err := r.status(resp, http.StatusOK); err != nil {
		return Document{}, err
	}
	mediaType, err := manifestType(resp.Header.Get("Content-Type"))
	if err != nil {
		return Document{}, err
	}
	body := newStallReader(resp.Body, r.cfg.StallTimeout, cancel)
	raw, err := io.ReadAll(io.LimitReader(body, MaxManifest+1))
	if err != nil {
		return Document{}, err
	}
	if len(raw) > MaxManifest {
		return Document{}, fmt.Errorf("%w: a manifest of more than %d bytes", ErrCorrupt, MaxManifest)
	}
	sum := store.DigestOf(raw)
	if want := store.Digest(reference); strings.Contains(reference, ":") && !want.Fits(raw) {
		return Document{}, fmt.Errorf("%w: wrong digest: the registry sent %s", ErrCorrupt, sum)
	}
	return Document{store.Descriptor{MediaType: mediaType, Digest: sum, Size: int64(len(raw))}, raw}, nil
}

// manifestType checks the header of what should be a manifest. Without one,
// the document has to say itself what it is.
func manifestType(header string) (string, error) {
	if header == "" {
		return "", nil
	}
	mediaType, _, err := mime.ParseMediaType(header)
	switch {
	case err != nil:
		return "", fmt.Errorf("%w: bad media type %q", ErrCorrupt, word(header))
	case strings.HasPrefix(mediaType, schema1):
		return "", fmt.Errorf("%w: the image has a manifest of schema 1, which is obsolete and can't be verified", ErrCorrupt)
	case mediaType == "text/html":
		return "", fmt.Errorf("%w: the answer is a web page and not a manifest (is a proxy or a login page before the registry?)", ErrCorrupt)
	case !slices.Contains(manifestTypes, mediaType):
		return "", fmt.Errorf("%w: media type %q is not an image's", ErrCorrupt, word(mediaType))
	}
	return mediaType, nil
}

// object is how the user knows what reference names.
func (r *Repository) object(reference string) string {
	separator := ":"
	if strings.Contains(reference, ":") {
		separator = "@"
	}
	name := r.endpoint.domain + "/" + r.path
	if short, ok := strings.CutPrefix(name, hubDomain+"/"); ok {
		name = strings.TrimPrefix(short, "library/")
	}
	return name + separator + reference
}
