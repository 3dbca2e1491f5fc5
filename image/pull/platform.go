package pull

import (
	"fmt"
	"strconv"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"minict/image"
)

// pick chooses from an index the manifest for the platform that fits best;
// among equals the first. ref is the image's name for the error.
func pick(index v1.Index, want v1.Platform, ref string) (v1.Descriptor, error) {
	best, found := -1, v1.Descriptor{}
	for _, m := range index.Manifests {
		if m.Platform == nil {
			continue
		}
		if f := image.Fit(want, *m.Platform); f > best {
			best, found = f, m
		}
	}
	if best < 0 {
		return v1.Descriptor{}, image.Because(image.ErrPlatform, "%s: no matching manifest for %s in the manifest list entries%s", ref,
			image.FormatPlatform(want), offers(index))
	}
	return found, nil
}

// offers lists some of the platforms that are there.
func offers(index v1.Index) string {
	var names []string
	for _, m := range index.Manifests {
		if m.Platform == nil || m.Platform.OS == "unknown" || len(names) == 10 {
			continue
		}
		names = append(names, image.FormatPlatform(*m.Platform))
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf(" (it has %s)", image.Clip(strconv.QuoteToASCII(strings.Join(names, ", "))))
}
