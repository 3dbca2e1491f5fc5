package pull

import (
	"fmt"
	"strconv"
	"strings"

	"minict/image"
	"minict/store"
)

// pick chooses from an index the manifest for the platform that fits best;
// among equals the first. ref is the image's name for the error.
func pick(index imageIndex, want store.Platform, ref string) (store.Descriptor, error) {
	best, found := -1, store.Descriptor{}
	for _, m := range index.Manifests {
		if m.Platform == nil {
			continue
		}
		if f := image.Fit(want, *m.Platform); f > best {
			best, found = f, m
		}
	}
	if best < 0 {
		return store.Descriptor{}, image.Because(image.ErrPlatform, "%s: no matching manifest for %s in the manifest list entries%s", ref,
			image.FormatPlatform(want), offers(index))
	}
	return found, nil
}

// offers lists some of the platforms that are there.
func offers(index imageIndex) string {
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
