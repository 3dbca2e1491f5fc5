package image

import (
	"runtime"
	"strconv"
	"strings"

	"minict/store"
)

// HostPlatform is the platform of this machine as images name it.
func HostPlatform() store.Platform {
	return NormalizePlatform(store.Platform{OS: "linux", Architecture: runtime.GOARCH})
}

// ParsePlatform reads what a user calls a platform: linux/arm64,
// linux/arm/v7, or the architecture alone, in Go's or uname's word. Empty is
// this machine's. Errors are ErrPlatform.
func ParsePlatform(s string) (store.Platform, error) {
	if s == "" {
		return HostPlatform(), nil
	}
	parts := strings.Split(strings.ToLower(s), "/")
	for _, part := range parts {
		if part == "" || !all(part, func(c byte) bool { return isAlnum(c) || c == '_' || c == '-' || c == '.' }) {
			return store.Platform{}, Because(ErrPlatform, "platform %q is not os/architecture[/variant]", Clip(s))
		}
	}
	var p store.Platform
	switch len(parts) {
	case 1:
		p = store.Platform{OS: "linux", Architecture: parts[0]}
	case 2:
		p = store.Platform{OS: parts[0], Architecture: parts[1]}
	case 3:
		p = store.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
	default:
		return store.Platform{}, Because(ErrPlatform, "platform %q is not os/architecture[/variant]", Clip(s))
	}
	if p.OS != "linux" {
		return store.Platform{}, Because(ErrPlatform, "platform %q: minict runs Linux images only", Clip(s))
	}
	return NormalizePlatform(p), nil
}

// FormatPlatform is the form that ParsePlatform reads.
func FormatPlatform(p store.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// NormalizePlatform gives the names that mean the same one form (as containerd's
// platforms do): the variant is empty where it is the architecture's first.
func NormalizePlatform(p store.Platform) store.Platform {
	p = store.Platform{OS: strings.ToLower(p.OS), Architecture: strings.ToLower(p.Architecture), Variant: strings.ToLower(p.Variant)}
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

// Fit says how well a machine of platform want runs what is built for have:
// higher is better, negative is not at all. A variant runs those below it.
func Fit(want, have store.Platform) int {
	want, have = NormalizePlatform(want), NormalizePlatform(have)
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
func variant(p store.Platform) int {
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
func Runs(want, have store.Platform) bool { return Fit(want, have) >= 0 }
