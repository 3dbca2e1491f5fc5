package layer

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// remove takes away what an earlier entry of the tar made, whole trees too.
func (u *unpacker) remove(d *dir, base string) error {
	u.last = nil // may be in the tree, or reached through the link
	err := unix.Unlinkat(d.fd, base, 0)
	if !errors.Is(err, unix.EISDIR) {
		return ignoreNotExist(err)
	}
	path := join(d.path, base)
	u.dirs.forget(path)
	if err := removeBelow(u.dirs.root.fd, path); err != nil {
		return err
	}
	return ignoreNotExist(unix.Unlinkat(d.fd, base, unix.AT_REMOVEDIR))
}

// removeBelow empties the directory at path. It holds one descriptor at a
// time, however deep the tree is.
func removeBelow(root int, path string) error {
	for {
		var sub []string
		fd, err := openBeneath(root, path, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		err = eachName(fd, func(name string) error {
			err := unix.Unlinkat(fd, name, 0)
			if errors.Is(err, unix.EISDIR) {
				err = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
				if errors.Is(err, unix.ENOTEMPTY) {
					sub, err = append(sub, name), nil
				}
			}
			return ignoreNotExist(err)
		})
		unix.Close(fd)
		if err != nil || len(sub) == 0 {
			return err
		}
		for _, name := range sub {
			if err := removeBelow(root, join(path, name)); err != nil {
				return err
			}
		}
	}
}

// eachName calls f for each entry of an open directory, from the first on.
func eachName(dirfd int, f func(name string) error) error {
	fd, err := unix.Openat(dirfd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	d := os.NewFile(uintptr(fd), ".")
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if err := f(name); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func ignoreNotExist(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
