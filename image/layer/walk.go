package layer

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"minict/overlay"
)

// parent returns the directory in which an entry is to be made. It is made
// itself if the tar has not described it before.
func (u *unpacker) parent(path string) (*dir, error) {
	d := u.last
	if d == nil || path != u.lastName {
		var err error
		if d, err = u.resolve(path); err != nil {
			return nil, err
		}
		u.lastName, u.last = path, d
	}
	u.dirs.touch(d)
	d.dirty = true
	return d, nil
}

// resolve finds the directory that path means, symbolic links and all.
func (u *unpacker) resolve(path string) (*dir, error) {
	d, err := u.dirs.get(path)
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		u.last = nil // the walk may close it
		return u.walk(path)
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return d, nil
}

// walk resolves path one component at a time, in the merged view of this
// layer and those below, with the layer's root as the root of all absolute
// links. Unlike the kernel's way with a process' root, a ".." that would leave
// the root is an error. Directories that this layer lacks are made.
func (u *unpacker) walk(path string) (*dir, error) {
	w := walker{u: u, at: u.dirs.root}
	todo := strings.Split(path, "/")
	for links := 0; len(todo) > 0; {
		c := todo[0]
		todo = todo[1:]
		link, err := w.step(c)
		if err != nil {
			return nil, err
		}
		if link == "" {
			continue
		}
		if links++; links > maxLinks {
			return nil, &os.PathError{Op: "resolve", Path: path, Err: unix.ELOOP}
		}
		if link[0] == '/' {
			w.enter(u.dirs.root)
		}
		todo = append(strings.Split(link, "/"), todo...)
	}
	return w.at, nil
}

// walker is at a directory of this layer. It is bare if no layer has anything
// in it, because it was only now made.
type walker struct {
	u    *unpacker
	at   *dir
	bare bool
}

func (w *walker) enter(d *dir) { w.at, w.bare = d, false }

// step goes to the entry c, or returns the target if that is a symbolic link.
func (w *walker) step(c string) (link string, err error) {
	switch c {
	case "", ".":
		return "", nil
	case "..":
		return "", w.up()
	}
	path := join(w.at.path, c)
	if err := checkPath(path); err != nil {
		return "", err
	}
	if w.bare {
		return "", w.make(c)
	}
	var st unix.Stat_t
	err = unix.Fstatat(w.at.fd, c, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return w.missing(c)
	case err != nil:
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	case overlay.IsWhiteout(&st): // the name is this layer's own again
		return "", w.make(c)
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return readlink(w.at.fd, c)
	}
	return "", w.open(path)
}

func (w *walker) open(path string) error {
	d, err := w.u.dirs.get(path)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	w.enter(d)
	return nil
}

func (w *walker) up() error {
	if w.at.path == "" {
		return ErrBreakout
	}
	parent, _ := split(w.at.path)
	return w.open(parent)
}

// make makes the directory c as Docker makes one that neither the tar nor a
// lower layer describes: root's, mode 0755, whatever its parent and the umask
// would pass on.
func (w *walker) make(c string) error {
	w.at.dirty = true
	d, err := w.u.mkdir(w.at, c)
	if err == nil {
		err = w.u.describe(d, attrs{mode: 0o755, atime: d.mtime, mtime: d.mtime}, false)
	}
	if err != nil {
		return fmt.Errorf("make parent %q: %w", join(w.at.path, c), err)
	}
	w.at, w.bare = d, true
	return nil
}

// missing is step where this layer has no entry c: those below may.
func (w *walker) missing(c string) (link string, err error) {
	path := join(w.at.path, c)
	n, err := w.u.lower(path)
	if err != nil {
		return "", err
	}
	defer n.close()
	switch n.kind() {
	case 0:
		return "", w.make(c)
	case unix.S_IFLNK:
		return readlink(n.fd, "")
	case unix.S_IFDIR:
		w.at.dirty = true
		d, err := w.u.mkdir(w.at, c)
		if err == nil {
			err = w.u.copyAttrs(n, d)
		}
		if err != nil {
			return "", fmt.Errorf("copy parent %q: %w", path, err)
		}
		w.enter(d)
		return "", nil
	}
	return "", &os.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}
}

// readlink reads the symbolic link name in dirfd, or that dirfd itself is an
// O_PATH descriptor of. No target is empty.
func readlink(dirfd int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dirfd, name, buf)
	if err == nil && n == 0 {
		err = unix.ENOENT
	}
	if err != nil {
		return "", fmt.Errorf("read link: %w", err)
	}
	return string(buf[:n]), nil
}
