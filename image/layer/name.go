package layer

import (
	"fmt"
	"path"
	"strings"
)

// Names with a meaning of their own in a layer's tar: image-spec, layer.md,
// "Whiteouts". Those that begin with metaPrefix but for the opaque mark are
// notes that AUFS kept in its layers; they are no files.
const (
	whiteoutPrefix = ".wh."
	metaPrefix     = ".wh..wh."
	opaqueName     = ".wh..wh..opq"
)

// kind is what an entry's name makes of it.
type kind int

const (
	kindRoot kind = iota
	kindFile
	kindWhiteout
	kindOpaque
	kindSkip
)

// name is an entry's name, taken apart. parent is "" for the root; base is the
// name that is hidden if it is a whiteout's.
type name struct {
	kind         kind
	parent, base string
}

// cleanPath makes a tar's path relative to the root: absolute ones begin
// there, "." and ".." are worked out by their letters, as Docker does. "" is
// the root itself.
func cleanPath(s string) (string, error) {
	if len(s) > maxPath {
		return "", fmt.Errorf("%w: path of %d bytes", ErrLimit, len(s))
	}
	p := path.Clean(strings.TrimLeft(s, "/"))
	switch {
	case p == ".":
		return "", nil
	case p == "..", strings.HasPrefix(p, "../"):
		return "", ErrBreakout
	}
	return p, checkPath(p)
}

// checkPath refuses what is too deep or has too long a component, before a
// part of it is made.
func checkPath(p string) error {
	if len(p) > maxPath {
		return fmt.Errorf("%w: path of %d bytes", ErrLimit, len(p))
	}
	depth, start := 0, 0
	for i := 0; i <= len(p); i++ {
		if i < len(p) && p[i] != '/' {
			continue
		}
		if i-start > maxComponent {
			return fmt.Errorf("%w: component of %d bytes", ErrLimit, i-start)
		}
		start = i + 1
		depth++
	}
	if depth > maxDepth {
		return fmt.Errorf("%w: %d levels deep", ErrLimit, depth)
	}
	return nil
}

func split(p string) (parent, base string) {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i], p[i+1:]
	}
	return "", p
}

func join(parent, base string) string {
	if parent == "" {
		return base
	}
	return parent + "/" + base
}

// parseName takes an entry's name apart. A whiteout is known by its last
// component; a directory on the way that looks like one is refused, since no
// file can be below what is not there.
func parseName(s string) (name, error) {
	p, err := cleanPath(s)
	if err != nil {
		return name{}, err
	}
	if p == "" {
		return name{kind: kindRoot}, nil
	}
	n := name{kind: kindFile}
	n.parent, n.base = split(p)
	switch marked, err := markedParent(n.parent); {
	case err != nil:
		return name{}, err
	case marked:
		return name{kind: kindSkip}, nil
	case n.base == opaqueName:
		n.kind = kindOpaque
	case strings.HasPrefix(n.base, metaPrefix):
		n.kind = kindSkip
	case strings.HasPrefix(n.base, whiteoutPrefix):
		n.kind = kindWhiteout
		n.base = n.base[len(whiteoutPrefix):]
		if n.base == "" || n.base == "." || n.base == ".." {
			return name{}, fmt.Errorf("whiteout of %q", n.base)
		}
	}
	return n, nil
}

// markedParent reports whether a directory is one of AUFS's notes, and
// refuses one that is a whiteout.
func markedParent(p string) (bool, error) {
	if !strings.Contains(p, whiteoutPrefix) {
		return false, nil
	}
	for c := range strings.SplitSeq(p, "/") {
		switch {
		case c == opaqueName:
			return false, fmt.Errorf("directory %q is a whiteout", c)
		case strings.HasPrefix(c, metaPrefix):
			return true, nil
		case strings.HasPrefix(c, whiteoutPrefix):
			return false, fmt.Errorf("directory %q is a whiteout", c)
		}
	}
	return false, nil
}
