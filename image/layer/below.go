package layer

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"minict/overlay"
)

// below are the layers under the one that is unpacked, for a layer that is
// not self-contained. They are opened when first asked for.
type below struct {
	paths []string // top first; nil: not known
	roots []int
}

// node is a file of a lower layer, by an O_PATH descriptor. The zero value but
// for fd -1 is a file that is not there.
type node struct {
	fd int
	st unix.Stat_t
}

var noNode = node{fd: -1}

// kind is one of S_IFMT, or 0 if there is no such file.
func (n *node) kind() uint32 { return n.st.Mode & unix.S_IFMT }

func (n *node) close() {
	if n.fd >= 0 {
		unix.Close(n.fd)
	}
}

// lower finds what the lower layers show at path, whose parents are real
// directories of this layer. From then on the layer is not self-contained,
// unless this layer itself hides everything that could be there.
func (u *unpacker) lower(path string) (node, error) {
	hidden, err := u.hides(path)
	if err != nil {
		return noNode, fmt.Errorf("look for %q: %w", path, err)
	}
	if hidden {
		return noNode, nil
	}
	u.self = false
	if err := u.below.open(); err != nil {
		return noNode, err
	}
	n, err := u.below.find(path)
	if err != nil {
		return noNode, fmt.Errorf("look for %q in lower layers: %w", path, err)
	}
	return n, nil
}

func (b *below) open() error {
	if b.paths == nil {
		return ErrNeedsParents
	}
	for _, p := range b.paths[len(b.roots):] {
		fd, err := unix.Open(p, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: p, Err: err}
		}
		b.roots = append(b.roots, fd)
	}
	return nil
}

func (b *below) close() { closeAll(b.roots) }

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// find looks path up as overlayfs does: directories of the same name merge
// until one is opaque, anything else and a whiteout hide what is under them.
// It follows no symbolic link.
func (b *below) find(path string) (node, error) {
	merged := b.roots
	owned := false
	for {
		c, rest, more := strings.Cut(path, "/")
		nodes, err := layersOf(merged, c)
		if owned {
			closeAll(merged)
		}
		if err != nil || len(nodes) == 0 {
			return noNode, err
		}
		if !more || nodes[0].kind() != unix.S_IFDIR {
			for _, n := range nodes[1:] {
				n.close()
			}
			if more {
				nodes[0].close()
				return noNode, nil
			}
			return nodes[0], nil
		}
		merged, owned = nil, true
		for _, n := range nodes {
			merged = append(merged, n.fd)
		}
		path = rest
	}
}

// layersOf opens the entry c of a merged directory: one file, or all the
// directories that merge, the top first.
func layersOf(dirs []int, c string) (nodes []node, err error) {
	defer func() {
		if err != nil {
			for _, n := range nodes {
				n.close()
			}
		}
	}()
	for _, d := range dirs {
		n, err := openNode(d, c)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nodes, err
		}
		if overlay.IsWhiteout(&n.st) || n.kind() != unix.S_IFDIR && len(nodes) > 0 {
			n.close()
			return nodes, nil
		}
		nodes = append(nodes, n)
		if n.kind() != unix.S_IFDIR {
			return nodes, nil
		}
		opaque, err := isOpaqueNode(n)
		if opaque || err != nil {
			return nodes, err
		}
	}
	return nodes, nil
}

// isOpaqueNode asks a directory that is held by an O_PATH descriptor, which has
// no extended attributes to read.
func isOpaqueNode(n node) (bool, error) {
	fd, err := unix.Openat(n.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	return overlay.IsOpaque(fd)
}

// openNode opens the entry c of a directory itself, whatever it is.
func openNode(dirfd int, c string) (node, error) {
	fd, err := unix.Openat(dirfd, c, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return noNode, err
	}
	n := node{fd: fd}
	if err := unix.Fstat(fd, &n.st); err != nil {
		n.close()
		return noNode, err
	}
	return n, nil
}
