// Package overlay turns a stack of directories into one tree.
//
// It makes detached mounts: file descriptors of mounts that are in nobody's
// mount table and that the kernel frees when the last descriptor, and the last
// place they were attached to, is gone. See overlayfs in the kernel's
// Documentation/filesystems/overlayfs.rst, fsopen(2), open_tree(2).
package overlay

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Stack is what to merge.
type Stack struct {
	Lower []string // directories that stay as they are, top first
	Upper string   // where changes go; empty: read-only
	Work  string   // an empty directory on Upper's file system, for the kernel alone

	// Volatile leaves Upper out of every sync. It is for what a reboot may
	// forget: the kernel refuses to mount the same Work again.
	Volatile bool
	// NoDev makes device files in the tree useless.
	NoDev bool
}

// Mount merges the stack and returns the mount as an O_PATH descriptor. The
// tree is gone when it is closed, unless it was attached somewhere.
func Mount(s Stack) (*os.File, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("mount overlay: %w", err)
	}
	if len(s.Lower) == 1 && s.Upper == "" {
		return s.single()
	}
	f, err := mountByContext(s)
	if errors.Is(err, errNoContext) {
		f, err = mountByNamespace(s)
	}
	if err != nil {
		return nil, fmt.Errorf("mount overlay: %w", err)
	}
	return f, nil
}

func (s Stack) check() error {
	switch {
	case len(s.Lower) == 0:
		return errors.New("no lower directory")
	case (s.Upper == "") != (s.Work == ""):
		return errors.New("an upper directory needs a work directory and the other way round")
	case s.Volatile && s.Upper == "":
		return errors.New("volatile without an upper directory")
	}
	return nil
}

// attributes are those of the mount, not of the file system.
func (s Stack) attributes() int {
	attr := 0
	if s.NoDev {
		attr |= unix.MOUNT_ATTR_NODEV
	}
	if s.Upper == "" {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	return attr
}

// single is a stack of one directory, which overlayfs refuses without an upper
// one: a read-only clone of it is the same.
func (s Stack) single() (*os.File, error) {
	f, err := clone(s.Lower[0], 0)
	if err != nil {
		return nil, err
	}
	err = unix.MountSetattr(int(f.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set:    uint64(s.attributes()),
		Propagation: unix.MS_PRIVATE,
	})
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("mount %s: %w", s.Lower[0], err)
	}
	return f, nil
}

// Bind is a detached clone of a directory with the mounts below it. What is
// mounted in it later does not spread to the original, nor the other way.
func Bind(dir string) (*os.File, error) {
	f, err := clone(dir, unix.AT_RECURSIVE)
	if err != nil {
		return nil, err
	}
	err = unix.MountSetattr(int(f.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE,
		&unix.MountAttr{Propagation: unix.MS_PRIVATE})
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("bind %s: %w", dir, err)
	}
	return f, nil
}

func clone(dir string, flags uint) (*os.File, error) {
	st, err := os.Stat(dir)
	if err == nil && !st.IsDir() {
		err = &os.PathError{Op: "stat", Path: dir, Err: unix.ENOTDIR}
	}
	if err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|flags)
	if err != nil {
		return nil, fmt.Errorf("bind %s: %w", dir, err)
	}
	return os.NewFile(uintptr(fd), dir), nil
}
