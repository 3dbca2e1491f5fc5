package image

import (
	"fmt"
	"strings"

	"minict/store"
)

// Docker's names for its own registry. Both domains mean the same place, and
// a name without a domain is looked for there.
const (
	hubDomain       = "docker.io"
	hubLegacyDomain = "index.docker.io"
	hubLibrary      = "library/"
	defaultTag      = "latest"
)

// maxPath is the most bytes that a repository's path may have
// (distribution/reference, RepositoryNameTotalLengthMax).
const maxPath = 255

// Name is a reference to an image, in its canonical parts. The zero Name
// refers to nothing.
type Name struct {
	Domain string       // host[:port] of the registry, "docker.io" for Docker Hub
	Path   string       // repository in the registry, "library/alpine"
	Tag    string       // "latest" if the reference had neither tag nor digest; empty if it had a digest alone
	Digest store.Digest // empty if the reference had none
}

// Parse reads a reference as Docker does (distribution/reference): alpine is
// docker.io/library/alpine:latest. Errors are ErrReference.
//
// The grammar is read by hand and not by that library, whose regular
// expressions take longer to be compiled when the program starts (0.6 ms)
// than a container takes to get its namespaces; a test holds the two together.
func Parse(ref string) (Name, error) {
	if ref == "" {
		return Name{}, fmt.Errorf("%w: it is empty", ErrReference)
	}
	if isHex(ref, 64) {
		return Name{}, fmt.Errorf("%w %q: 64 hexadecimal digits are an image ID, not a name", ErrReference, ref)
	}
	n, err := split(ref)
	if err != nil {
		return Name{}, fmt.Errorf("%w %q: %w", ErrReference, Clip(ref), err)
	}
	if n.Tag == "" && n.Digest == "" {
		n.Tag = defaultTag
	}
	return n, nil
}

// split takes a reference apart, from its end to its beginning, and checks
// each part.
func split(ref string) (Name, error) {
	var n Name
	domain, rest := splitDomain(ref)
	if path, sum, ok := strings.Cut(rest, "@"); ok {
		n.Digest, rest = store.Digest(sum), path
		if err := store.ValidDigest(n.Digest); err != nil {
			return Name{}, fmt.Errorf("bad %w", err)
		}
	}
	if path, tag, ok := strings.Cut(rest, ":"); ok {
		if !isTag(tag) {
			return Name{}, fmt.Errorf("bad tag %q", Clip(tag))
		}
		n.Tag, rest = tag, path
	}
	n.Domain, n.Path = domain, rest
	switch {
	case !isDomain(domain):
		return Name{}, fmt.Errorf("bad registry name %q", Clip(domain))
	case rest != strings.ToLower(rest):
		return Name{}, fmt.Errorf("the repository name must be lowercase")
	case !isPath(rest):
		return Name{}, fmt.Errorf("bad repository name")
	case len(rest) > maxPath:
		return Name{}, fmt.Errorf("the repository name is longer than %d characters", maxPath)
	}
	return n, nil
}

// splitDomain separates the registry from the repository. The first component
// is a registry only if it looks like one: it has a dot, a colon or an
// upper-case letter, or it is "localhost".
func splitDomain(ref string) (domain, rest string) {
	first, rest, ok := strings.Cut(ref, "/")
	switch {
	case !ok:
		return hubDomain, hubLibrary + ref
	case first == hubLegacyDomain:
		first = hubDomain
	case first != "localhost" && !strings.ContainsAny(first, ".:") && first == strings.ToLower(first):
		return hubDomain, ref
	}
	if first == hubDomain && !strings.Contains(rest, "/") {
		rest = hubLibrary + rest
	}
	return first, rest
}

// Repository is the name without tag and digest, docker.io/library/alpine.
func (n Name) Repository() string { return n.Domain + "/" + n.Path }

// String is the canonical form, docker.io/library/alpine:latest.
func (n Name) String() string { return n.Repository() + n.suffix() }

// Familiar is the form that people write and read, alpine:latest.
func (n Name) Familiar() string { return n.FamiliarRepository() + n.suffix() }

// FamiliarRepository is Familiar without tag and digest, alpine.
func (n Name) FamiliarRepository() string {
	if n.Domain != hubDomain {
		return n.Repository()
	}
	if short, ok := strings.CutPrefix(n.Path, hubLibrary); ok && !strings.Contains(short, "/") {
		return short
	}
	return n.Path
}

func (n Name) suffix() string {
	var s string
	if n.Tag != "" {
		s = ":" + n.Tag
	}
	if n.Digest != "" {
		s += "@" + string(n.Digest)
	}
	return s
}

// Stored is the name under which the store keeps the image: a digest beats a
// tag, since a tag beside a digest is only a remark of the user's.
func (n Name) Stored() string {
	if n.Digest != "" {
		n.Tag = ""
	}
	return n.String()
}

// isDomain says whether s is host[:port], where host is dot-separated words
// of letters, digits and inner hyphens, or an IPv6 address in brackets.
func isDomain(s string) bool {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		address, port, closed := strings.Cut(rest, "]")
		return closed && address != "" && all(address, isIPv6) && (port == "" || isPort(port))
	}
	host, port, ok := strings.Cut(s, ":")
	if ok && !isPort(":"+port) {
		return false
	}
	for word := range strings.SplitSeq(host, ".") {
		if word == "" || word[0] == '-' || word[len(word)-1] == '-' || !all(word, isHostByte) {
			return false
		}
	}
	return true
}

func isPort(s string) bool {
	return len(s) > 1 && s[0] == ':' && all(s[1:], isDigit)
}

// isPath says whether s is one or more components between slashes.
func isPath(s string) bool {
	for component := range strings.SplitSeq(s, "/") {
		if !isComponent(component) {
			return false
		}
	}
	return true
}

// isComponent says whether s is words of lower-case letters and digits with
// one dot, one or two underscores or any number of hyphens between them.
func isComponent(s string) bool {
	for {
		word := strings.TrimLeft(s, "abcdefghijklmnopqrstuvwxyz0123456789")
		if len(word) == len(s) {
			return false // no letter where one has to be
		}
		if word == "" {
			return true
		}
		switch s = strings.TrimLeft(word, word[:1]); len(word) - len(s) {
		case 1:
			if !strings.Contains("._-", word[:1]) {
				return false
			}
		case 2:
			if !strings.Contains("_-", word[:1]) {
				return false
			}
		default:
			if word[0] != '-' {
				return false
			}
		}
	}
}

func isTag(s string) bool {
	return s != "" && len(s) <= 128 && s[0] != '.' && s[0] != '-' && all(s, func(c byte) bool {
		return isAlnum(c) || c == '_' || c == '.' || c == '-'
	})
}

func isHex(s string, n int) bool {
	return len(s) == n && all(s, func(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' })
}

func isDigit(c byte) bool    { return '0' <= c && c <= '9' }
func isAlnum(c byte) bool    { return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isHostByte(c byte) bool { return isAlnum(c) || c == '-' }
func isIPv6(c byte) bool {
	return isDigit(c) || c == ':' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func all(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return true
}

// Clip keeps a foreign word from filling the user's line.
func Clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
