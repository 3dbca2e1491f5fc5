// Package flock holds advisory locks on files, flock(2).
//
// A lock belongs to the open file description: it lives until every
// descriptor of it is closed, in whichever process they are. That makes it
// the one proof of life that survives neither its holder nor a reboot, and
// that can be handed to another process with the descriptor.
package flock

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrLocked says that somebody else holds the lock.
var ErrLocked = errors.New("locked by another process")

// Mode is how a lock is held.
type Mode int

const (
	Shared    Mode = unix.LOCK_SH // any number of holders
	Exclusive Mode = unix.LOCK_EX // one holder and no shared ones
)

// Lock opens the file at path, making it (mode 0600) if it is not there, and
// waits for the lock. Closing the file gives the lock up. The wait ends with
// ctx, whose error is then returned.
//
// The file that is locked is the one that path names when Lock returns: if it
// was removed or replaced during the wait, Lock starts again on the new one.
func Lock(ctx context.Context, path string, mode Mode) (*os.File, error) {
	for {
		f, err := open(path)
		if err != nil {
			return nil, err
		}
		if err := wait(ctx, f, mode); err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if current(f, path) {
			return f, nil
		}
		f.Close()
	}
}

// TryLock is Lock without the wait: if the lock is held by somebody else, the
// error is ErrLocked. The file has to exist; if not, the error is
// fs.ErrNotExist.
func TryLock(path string, mode Mode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := try(f, mode); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !current(f, path) {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, os.ErrNotExist)
	}
	return f, nil
}

func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
}

func try(f *os.File, mode Mode) error {
	err := flock(f, int(mode)|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// wait takes the lock, or closes f. A thread that waits in flock can't be
// called back, so when ctx ends first the thread is left behind to give the
// lock up as soon as it has it.
func wait(ctx context.Context, f *os.File, mode Mode) error {
	err := try(f, mode)
	if err == nil {
		return nil
	}
	if !errors.Is(err, ErrLocked) {
		f.Close()
		return err
	}
	locked := make(chan error, 1)
	go func() { locked <- flock(f, int(mode)) }()
	select {
	case err := <-locked:
		if err != nil {
			f.Close()
		}
		return err
	case <-ctx.Done():
		go func() {
			<-locked
			f.Close()
		}()
		return ctx.Err()
	}
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// current says whether path still names the file that is open as f.
func current(f *os.File, path string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(opened, named)
}
