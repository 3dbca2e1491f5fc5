package container

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"minict/internal/flock"
)

// A claim is the right to change a container: to make it, start it, remove
// it. It is the lock that a monitor holds as long as its container lives, so
// only one can be had at a time, and none of a living container.
type claim struct {
	m    *Manager
	id   string
	lock *os.File
}

// claim takes the lock of a container, which need not exist. If it lives, or
// somebody else is at it, the error is flock.ErrLocked.
//
// The run directory and its lock are made under the shared lock of the parent
// directory: who holds that exclusively knows that a run directory without a
// lock is nobody's.
func (m *Manager) claim(ctx context.Context, id string) (*claim, error) {
	if err := m.layOut(); err != nil {
		return nil, err
	}
	parent, err := flock.Lock(ctx, m.parentLock(), flock.Shared)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	for {
		err := os.Mkdir(m.runDir(id), 0o700)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		lock, err := makeLock(m.lockPath(id))
		// Who had it may just have removed the directory.
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return &claim{m, id, lock}, nil
	}
}

// makeLock is flock.TryLock that makes the file. Who looks whether a container
// lives holds the lock shared for a moment, and is not taken for its holder.
func makeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	for {
		f, err := flock.TryLock(path, flock.Exclusive)
		if !errors.Is(err, flock.ErrLocked) {
			return f, err
		}
		looking, err := flock.TryLock(path, flock.Shared)
		if err != nil {
			return nil, err
		}
		looking.Close()
	}
}

// pass gives the claim up for a process that was handed the lock.
func (c *claim) pass() { c.lock.Close() }

// release gives the claim up, and removes the run directory: nothing may be
// left to do. One that a monitor has removed already may be somebody else's
// by now.
func (c *claim) release() error {
	defer c.lock.Close()
	if !c.current() {
		return nil
	}
	return c.m.removeRunDir(c.id)
}

// current says whether the lock that is held is the container's. Without a
// lock, on a full disk, there is none to compare.
func (c *claim) current() bool {
	if c.lock == nil {
		return true
	}
	held, err := c.lock.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(c.m.lockPath(c.id))
	return err == nil && os.SameFile(held, named)
}

// removeRunDir removes a run directory, the lock last: as long as it is there,
// the rest is known to be somebody's. What the container had of networks is
// written down in it, and goes before.
func (m *Manager) removeRunDir(id string) error {
	if err := m.release(id); err != nil {
		return err
	}
	dir := m.runDir(id)
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != "lock" {
			if err := os.RemoveAll(dir + "/" + name); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(m.lockPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// If it isn't empty, the next one has made it theirs already.
	err = os.Remove(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	return err
}

// alive says whether somebody holds the lock of a container: its monitor, or
// who is making, starting or removing it.
func (m *Manager) alive(id string) bool {
	fd, err := unix.Open(m.lockPath(id), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK
}
