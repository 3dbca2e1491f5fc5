package container

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ended gives a channel that is closed when nobody holds a container's lock:
// its monitor has gone, one way or the other. The kernel wakes the wait.
func (m *Manager) ended(ctx context.Context, id string) (<-chan struct{}, error) {
	done := make(chan struct{})
	f, err := os.OpenFile(m.lockPath(id), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		close(done)
		return done, nil
	}
	if err != nil {
		return nil, err
	}
	go func() {
		// A thread that waits for a lock can't be called back. If ctx
		// ends first it is left to itself: it holds the lock for a moment
		// only.
		for unix.Flock(int(f.Fd()), unix.LOCK_SH) == unix.EINTR {
		}
		f.Close()
		close(done)
	}()
	return done, nil
}

// waitEnd waits until nobody holds a container's lock.
func (m *Manager) waitEnd(ctx context.Context, id string) error {
	done, err := m.ended(ctx, id)
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watch gives a channel that gets something whenever a file in a directory
// changes, or one is made, renamed or removed.
func watch(dir string) (changes <-chan struct{}, stop func(), err error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fd), "inotify")
	const events = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, dir, events); err != nil {
		f.Close()
		return nil, nil, err
	}
	c := make(chan struct{}, 1)
	go func() {
		var buf [4096]byte
		for {
			if _, err := f.Read(buf[:]); err != nil {
				return
			}
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}()
	return c, func() { f.Close() }, nil
}
