package cgroup

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// canceller is a descriptor that becomes readable when the context ends.
type canceller struct {
	fd   int
	stop func() bool
	done chan struct{}
}

func newCanceller(ctx context.Context) (*canceller, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	c := &canceller{fd: fd, done: make(chan struct{})}
	c.stop = context.AfterFunc(ctx, func() {
		defer close(c.done)
		_, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // a full counter is readable too
	})
	return c, nil
}

func (c *canceller) close() {
	if !c.stop() {
		<-c.done
	}
	unix.Close(c.fd)
}

// waitFor waits until fd has the event, or ctx ends.
func waitFor(ctx context.Context, c *canceller, fd int, events int16) error {
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(c.fd), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("poll", err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case fds[0].Revents != 0:
			return nil
		}
	}
}

// waitEvent waits until cgroup.events of a group of version 2 has the number
// behind key. The kernel wakes those who poll the file whenever it changes. A
// group that goes has no processes any more: that ends the wait as well.
func waitEvent(ctx context.Context, group *os.File, key string, want uint64) error {
	f, err := openAt(group, "cgroup.events", unix.O_RDONLY)
	if err != nil {
		return goneIsFine(err)
	}
	defer f.Close()
	var cancel *canceller
	buf := make([]byte, 256)
	for {
		n, err := unix.Pread(int(f.Fd()), buf, 0)
		if err != nil {
			return goneIsFine(os.NewSyscallError("read cgroup.events", err))
		}
		if got, ok := keyed(buf[:n], key); ok && got == want {
			return nil
		}
		if cancel == nil {
			if cancel, err = newCanceller(ctx); err != nil {
				return err
			}
			defer cancel.close()
		}
		if err := waitFor(ctx, cancel, int(f.Fd()), unix.POLLPRI); err != nil {
			return err
		}
	}
}

// nap waits for what the kernel tells nobody: 0.1 ms, and each time twice as
// long as before, up to 10 ms.
type nap struct{ next time.Duration }

func (n *nap) sleep(ctx context.Context) error {
	n.next = min(max(2*n.next, 100*time.Microsecond), 10*time.Millisecond)
	t := time.NewTimer(n.next)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
