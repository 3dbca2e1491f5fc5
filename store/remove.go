package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxDepth is how many directories are held open at once. A layer may nest
// thousands: what lies deeper is first moved up beside the tree's own root.
const maxDepth = 64

// RemoveTree removes path and all below it and returns how many bytes of disk
// that freed. It works by descriptors alone, follows no symbolic link and goes
// into no mount: it stops there with EXDEV (openat2(2), RESOLVE_NO_XDEV).
// It needs no free space. What is gone already is no error. If its process is
// killed, what it moved out of great depth stays as PATH.N.
func RemoveTree(path string) (freed int64, err error) {
	parent, err := os.Open(filepath.Dir(path))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("remove: %w", err)
	}
	defer parent.Close()
	r := remover{top: parent, name: filepath.Base(path)}
	r.todo = []string{r.name}
	for i := 0; i < len(r.todo); i++ {
		if err := r.entry(parent, r.todo[i], 0); err != nil {
			return r.freed, fmt.Errorf("remove %s: %w", path, err)
		}
	}
	return r.freed, nil
}

type remover struct {
	top   *os.File // the directory that the tree is in
	name  string   // of the tree
	todo  []string // the tree, and what was moved up beside it
	freed int64
}

// entry removes one name of a directory.
func (r *remover) entry(dir *os.File, name string, depth int) error {
	fd := int(dir.Fd())
	var st unix.Stat_t
	err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = r.dir(dir, name, depth)
	} else if err == nil {
		err = unix.Unlinkat(fd, name, 0)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil && depth < 16 { // longer paths help nobody
		err = fmt.Errorf("%s: %w", name, err)
	}
	if err != nil {
		return err
	}
	if st.Nlink <= 1 || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		r.freed += st.Blocks * 512
	}
	return nil
}

func (r *remover) dir(parent *os.File, name string, depth int) error {
	if depth == maxDepth {
		return r.up(parent, name)
	}
	fd, err := unix.Openat2(int(parent.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1024)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := r.entry(dir, name, depth+1); err != nil {
				return err
			}
		}
	}
	return unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR)
}

// up moves a directory that is too deep beside the tree, for later.
func (r *remover) up(parent *os.File, name string) error {
	for n := len(r.todo); ; n++ {
		up := r.name + "." + strconv.Itoa(n)
		err := unix.Renameat2(int(parent.Fd()), name, int(r.top.Fd()), up, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err == nil {
			r.todo = append(r.todo, up)
		}
		return err
	}
}
