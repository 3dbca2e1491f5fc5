package network

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"minict/internal/flock"
)

// lock takes the lock of all networks. Who attaches a container shares it: as
// long as it is held no bridge is taken down, no definition changes and the
// rules are not made anew. It is held for about a millisecond.
func (m *Manager) lock(ctx context.Context, mode flock.Mode) (*os.File, error) {
	f, err := flock.Lock(ctx, m.lockPath(), mode)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(m.State, 0o700); err != nil {
			return nil, err
		}
		return flock.Lock(ctx, m.lockPath(), mode)
	}
	return f, err
}

func (m *Manager) lockPath() string { return filepath.Join(m.State, ".lock") }

// A note is a file with a short text, of which nothing depends: one that was
// lost, or is wrong, costs time. It is written in one system call, always with
// the same length.
const noteLength = 40

func readNote(path string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	b := make([]byte, noteLength)
	n, err := unix.Read(fd, b)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b[:n]))
}

func writeNote(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	defer unix.Close(fd)
	b := text + strings.Repeat(" ", max(0, noteLength-1-len(text))) + "\n"
	if _, err := unix.Write(fd, []byte(b)); err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// readNames lists a directory, without what begins with a dot; nothing if it
// is not there.
func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := f.Readdirnames(-1)
	names := all[:0]
	for _, name := range all {
		if !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	return names, err
}

// writeWhole writes a file of a run directory, which a reader sees whole or not
// at all, and a reboot forgets. Who calls it is the only one who writes there.
func writeWhole(path, text string) error {
	temp := path + ".new"
	fd, err := unix.Open(temp, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	n, err := unix.Write(fd, []byte(text))
	if err == nil && n < len(text) {
		err = unix.ENOSPC // which the next write would have said
	}
	if closed := unix.Close(fd); err == nil {
		err = closed
	}
	if err == nil {
		err = unix.Rename(temp, path)
	}
	if err != nil {
		unix.Unlink(temp)
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}
