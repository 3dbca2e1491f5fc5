package image

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"minict/image/registry"
)

// HostPlatform is the platform of this machine as images name it.
func HostPlatform() v1.Platform {
	return normalize(v1.Platform{OS: "linux", Architecture: runtime.GOARCH})
}

// ParsePlatform reads what a user calls a platform: linux/arm64,
// linux/arm/v7, or the architecture alone, in Go's or uname's word. Empty is
// this machine's. Errors are ErrPlatform.
func ParsePlatform(s string) (v1.Platform, error) {
	if s == "" {
		return HostPlatform(), nil
	}
	parts := strings.Split(strings.ToLower(s), "/")
	for _, part := range parts {
		if part == "" || !all(part, func(c byte) bool { return isAlnum(c) || c == '_' || c == '-' || c == '.' }) {
			return v1.Platform{}, registry.Because(ErrPlatform, "platform %q is not os/architecture[/variant]", clip(s))
		}
	}
	var p v1.Platform
	switch len(parts) {
	case 1:
		p = v1.Platform{OS: "linux", Architecture: parts[0]}
	case 2:
		p = v1.Platform{OS: parts[0], Architecture: parts[1]}
	case 3:
		p = v1.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
	default:
		return v1.Platform{}, registry.Because(ErrPlatform, "platform %q is not os/architecture[/variant]", clip(s))
	}
	if p.OS != "linux" {
		return v1.Platform{}, registry.Because(ErrPlatform, "platform %q: minict runs Linux images only", clip(s))
	}
	return normalize(p), nil
}

// FormatPlatform is the form that ParsePlatform reads.
func FormatPlatform(p v1.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// normalize gives the names that mean the same one form (as containerd's
// platforms do): the variant is empty where it is the architecture's first.
func normalize(p v1.Platform) v1.Platform {
	p = v1.Platform{OS: strings.ToLower(p.OS), Architecture: strings.ToLower(p.Architecture), Variant: strings.ToLower(p.Variant)}
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "i386", "i686":
		p.Architecture, p.Variant = "386", ""
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	if _, err := strconv.Atoi(p.Variant); err == nil {
		p.Variant = "v" + p.Variant
	}
	switch p.Architecture + p.Variant {
	case "amd64v1", "arm64v8":
		p.Variant = ""
	case "arm":
		p.Variant = "v7"
	}
	return p
}

// fit says how well a machine of platform want runs what is built for have:
// higher is better, negative is not at all. A variant runs those below it.
func fit(want, have v1.Platform) int {
	want, have = normalize(want), normalize(have)
	if want.OS != have.OS || want.Architecture != have.Architecture {
		return -1
	}
	if want.Variant == have.Variant {
		return 1000
	}
	w, h := variant(want), variant(have)
	if w < 0 || h < 0 || h > w {
		return -1
	}
	return h
}

// variant is the number in a variant, of an empty one that of the
// architecture's first; -1 if it has none.
func variant(p v1.Platform) int {
	if p.Variant == "" {
		return map[string]int{"amd64": 1, "arm64": 8}[p.Architecture]
	}
	n, err := strconv.Atoi(strings.TrimPrefix(p.Variant, "v"))
	if err != nil || n < 0 || n > 100 {
		return -1
	}
	return n
}

// Runs says whether a machine of platform want runs an image for have.
func Runs(want, have v1.Platform) bool { return fit(want, have) >= 0 }

// pick chooses from an index the manifest for the platform that fits best;
// among equals the first. ref is the image's name for the error.
func pick(index v1.Index, want v1.Platform, ref string) (v1.Descriptor, error) {
	best, found := -1, v1.Descriptor{}
	for _, m := range index.Manifests {
		if m.Platform == nil {
			continue
		}
		if f := fit(want, *m.Platform); f > best {
			best, found = f, m
		}
	}
	if best < 0 {
		return v1.Descriptor{}, registry.Because(ErrPlatform, "%s: no matching manifest for %s in the manifest list entries%s", ref,
			FormatPlatform(want), offers(index))
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
		names = append(names, FormatPlatform(*m.Platform))
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf(" (it has %s)", clip(strconv.QuoteToASCII(strings.Join(names, ", "))))
}
