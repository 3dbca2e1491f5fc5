package layer

import (
	"cmp"
	"container/list"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
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
