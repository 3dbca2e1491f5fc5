package layer

import (
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"minict/overlay"
)

// maxOpen bounds the directories kept open. A tar walks a tree, so the next
// entry's parent is nearly always among the last few.
const maxOpen = 64

// dir is a directory of the layer, kept open to make entries in it.
type dir struct {
	path  string // below the root, free of symbolic links; "" is the root
	fd    int
	mtime unix.Timespec // to be set again when dirty
	dirty bool          // entries were made in it since it got its time
	elem  *list.Element
}

// dirs are the open directories, the last used first. Entries made in a
// directory change its time of modification; so each is given its time back
// when it is let go, and no list of all directories is needed, which a hostile
// tar could make as long as the memory.
type dirs struct {
	root *dir
	open map[string]*dir
	used *list.List
}

// newDirs takes over the descriptor of the root.
func newDirs(root int) (*dirs, error) {
	d := &dirs{open: map[string]*dir{}, used: list.New()}
	r, err := newDir("", root)
	d.root = r
	return d, err
}

func newDir(path string, fd int) (*dir, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &dir{path: path, fd: fd, mtime: st.Mtim}, nil
}

// get returns the directory at a path free of symbolic links.
func (ds *dirs) get(path string) (*dir, error) {
	if path == "" {
		return ds.root, nil
	}
	if d := ds.open[path]; d != nil {
		ds.touch(d)
		return d, nil
	}
	fd, err := openBeneath(ds.root.fd, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	return ds.add(path, fd)
}

// touch keeps the directory open for a while longer.
func (ds *dirs) touch(d *dir) {
	if d != ds.root {
		ds.used.MoveToFront(d.elem)
	}
}

// add takes over a descriptor. The one used last before it stays open, others
// may be closed.
func (ds *dirs) add(path string, fd int) (*dir, error) {
	d, err := newDir(path, fd)
	if err != nil {
		return nil, err
	}
	for ds.used.Len() >= maxOpen {
		if err := ds.drop(ds.used.Back().Value.(*dir), true); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	ds.open[path] = d
	d.elem = ds.used.PushFront(d)
	return d, nil
}

func (ds *dirs) drop(d *dir, whole bool) error {
	delete(ds.open, d.path)
	ds.used.Remove(d.elem)
	return d.close(whole)
}

func (d *dir) close(whole bool) error {
	var err error
	if whole && d.dirty {
		err = setTimes(d.fd, unix.Timespec{Nsec: unix.UTIME_OMIT}, d.mtime)
	}
	return cmp.Or(err, unix.Close(d.fd))
}

// forget drops the directory at path and all below it, before it is removed.
func (ds *dirs) forget(path string) {
	for p, d := range ds.open {
		if p == path || strings.HasPrefix(p, path+"/") {
			ds.drop(d, false)
		}
	}
}

func (ds *dirs) close(whole bool) error {
	var err error
	for _, d := range ds.open {
		err = cmp.Or(err, ds.drop(d, whole))
	}
	return cmp.Or(err, ds.root.close(whole))
}

// openBeneath lets the kernel resolve path below dirfd; it refuses what leads
// outside (EXDEV) and any symbolic link on the way (ELOOP).
func openBeneath(dirfd int, path string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(dirfd, path, &how)
		again := errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
		if !again || tries == 128 {
			return fd, err
		}
	}
}

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
	at := u.dirs.root
	todo := strings.Split(path, "/")
	for links := 0; len(todo) > 0; {
		c := todo[0]
		todo = todo[1:]
		switch c {
		case "", ".":
			continue
		case "..":
			if at.path == "" {
				return nil, ErrBreakout
			}
			up, _ := split(at.path)
			var err error
			if at, err = u.dirs.get(up); err != nil {
				return nil, &os.PathError{Op: "open", Path: up, Err: err}
			}
			continue
		}
		next, link, err := u.step(at, c)
		if err != nil {
			return nil, err
		}
		if link == "" {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return nil, &os.PathError{Op: "resolve", Path: path, Err: unix.ELOOP}
		}
		if link[0] == '/' {
			at = u.dirs.root
		}
		todo = append(strings.Split(link, "/"), todo...)
	}
	return at, nil
}

// step goes from a directory to its entry c: to a directory, or to the target
// of a symbolic link. What this layer lacks is looked for in the ones below.
func (u *unpacker) step(at *dir, c string) (next *dir, link string, err error) {
	path := join(at.path, c)
	if err := checkPath(path); err != nil {
		return nil, "", err
	}
	var st unix.Stat_t
	err = unix.Fstatat(at.fd, c, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return u.missing(at, c)
	case err != nil:
		return nil, "", &os.PathError{Op: "stat", Path: path, Err: err}
	case overlay.IsWhiteout(&st): // the name is this layer's own again
		next, err = u.mkdirPlain(at, c)
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		link, err = readlink(at.fd, c)
	default:
		next, err = u.dirs.get(path)
	}
	if err != nil {
		err = &os.PathError{Op: "open", Path: path, Err: err}
	}
	return next, link, err
}

// missing is step where this layer has no entry c.
func (u *unpacker) missing(at *dir, c string) (next *dir, link string, err error) {
	path := join(at.path, c)
	n, err := u.lower(path)
	if err != nil {
		return nil, "", err
	}
	defer n.close()
	switch n.kind() {
	case 0:
		next, err = u.mkdirPlain(at, c)
	case unix.S_IFDIR:
		at.dirty = true
		if next, err = u.mkdir(at, c); err == nil {
			err = u.copyAttrs(n, next)
		}
	case unix.S_IFLNK:
		link, err = readlink(n.fd, "")
	default:
		err = unix.ENOTDIR
	}
	if err != nil {
		err = fmt.Errorf("make parent %q: %w", path, err)
	}
	return next, link, err
}

// readlink reads the symbolic link name in dirfd, or that dirfd itself is an
// O_PATH descriptor of. No target is empty.
func readlink(dirfd int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dirfd, name, buf)
	if err == nil && n == 0 {
		err = unix.ENOENT
	}
	return string(buf[:max(n, 0)]), err
}
