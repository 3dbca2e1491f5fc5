// Package inroot opens files below a directory that somebody else filled.
//
// The kernel resolves each path as if the directory were the root of the file
// system (openat2(2), RESOLVE_IN_ROOT), so neither "..", nor an absolute
// symbolic link, nor a link that is swapped in the meantime leads outside.
package inroot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// ErrTooLarge says that a file is larger than its reader allows.
var ErrTooLarge = errors.New("file too large")

// Open opens name below root. Flags are those of open(2); O_CLOEXEC is added.
// Symbolic links are followed within root; links of procfs never are.
func Open(root *os.File, name string, flags int, perm uint32) (*os.File, error) {
	fd, err := openat2(int(root.Fd()), name, &unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Mode:    uint64(perm),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// ReadFile reads the regular file name below root, at most max bytes of it;
// a larger file is ErrTooLarge. A FIFO or a device is refused and never
// waited for (CVE-2024-9676 is what happens otherwise).
func ReadFile(root *os.File, name string, max int64) ([]byte, error) {
	f, err := Open(root, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", name)
	}
	if st.Size() > max {
		return nil, fmt.Errorf("read %s: %w", name, ErrTooLarge)
	}
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(data)) > max {
		err = fmt.Errorf("read %s: %w", name, ErrTooLarge)
	}
	return data, err
}

// MkdirAll makes the directory name below root with all that lead to it and
// returns it opened O_PATH. Symbolic links are followed within root; a
// dangling one is an error.
func MkdirAll(root *os.File, name string, perm uint32) (*os.File, error) {
	name = path.Clean("/" + name)
	dir, err := Open(root, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == nil || !errors.Is(err, unix.ENOENT) || name == "/" {
		return dir, err
	}
	parent, err := MkdirAll(root, path.Dir(name), perm)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	err = unix.Mkdirat(int(parent.Fd()), path.Base(name), perm)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return Open(root, name, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// openat2 tries again when the kernel could not be sure that a ".." stayed
// inside while directories were being moved, as openat2(2) asks for.
func openat2(dirfd int, name string, how *unix.OpenHow) (int, error) {
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(dirfd, name, how)
		again := errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
		if !again || tries == 128 {
			return fd, err
		}
	}
}
