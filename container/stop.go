package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Stop asks a container to end by its stop signal, and kills it if it hasn't
// after the timeout: nil is the container's own, negative is for ever. One
// that does not run is left alone. It returns when everything is cleaned up.
//
// The first process of a container gets no signal that it did not ask for. If
// the stop signal is such a one, waiting would be in vain, and Stop kills at
// once.
func (m *Manager) Stop(ctx context.Context, ref string, timeout *time.Duration) error {
	return m.StopBy(ctx, ref, "", timeout)
}

// StopBy is Stop by a signal (name or number) in place of the container's own;
// "" is the container's own.
func (m *Manager) StopBy(ctx context.Context, ref, signal string, timeout *time.Duration) error {
	n := 0
	if signal != "" {
		var err error
		if n, err = ParseSignal(signal); err != nil {
			return err
		}
	}
	m.sweep(ctx)
	c, now, err := m.running(ref)
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	if timeout == nil {
		timeout = &c.StopTimeout
	}
	if err := m.stop(ctx, c, now, unix.Signal(cmp.Or(n, c.StopSignal)), *timeout); err != nil {
		return fmt.Errorf("stop %s: %w", ref, err)
	}
	return nil
}

func (m *Manager) stop(ctx context.Context, c *Config, now condition, n unix.Signal, timeout time.Duration) error {
	p, err := openProcess(now.living.Pid, now.living.StartTime)
	if errors.Is(err, unix.ESRCH) {
		return m.waitGone(ctx, c.ID, now.living)
	}
	if err != nil {
		return err
	}
	defer p.Close()
	if p.drops(n) {
		timeout = 0
	} else if err := p.signal(n); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	if now.state == Paused {
		if err := m.freeze(ctx, c.ID, false); err != nil {
			return err
		}
	}
	over, err := waitReadable(ctx, p.File, timeout)
	if err != nil {
		return err
	}
	if !over {
		if err := p.signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return m.waitGone(ctx, c.ID, now.living)
}

// waitReadable waits until a descriptor is readable, as a pidfd is when its
// process has ended, and says whether it is. A negative timeout is none.
func waitReadable(ctx context.Context, f *os.File, timeout time.Duration) (bool, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return false, err
	}
	defer unix.Close(wake)
	stop := context.AfterFunc(ctx, func() { unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
	defer stop()
	end := time.Now().Add(timeout)
	for {
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
		var ts *unix.Timespec
		if timeout >= 0 {
			left := unix.NsecToTimespec(max(0, time.Until(end).Nanoseconds()))
			ts = &left
		}
		n, err := unix.Ppoll(fds, ts, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return false, err
		case fds[0].Revents != 0:
			return true, nil
		case n > 0:
			return false, ctx.Err()
		default:
			return false, nil
		}
	}
}

// monitorTime is what a monitor gets to clean up after its container.
const monitorTime = 10 * time.Second

// waitGone waits until the monitor of a container that has ended, or is about
// to, has cleaned up. One that does not get on with it is killed, and what it
// leaves is swept.
func (m *Manager) waitGone(ctx context.Context, id string, l living) error {
	limited, cancel := context.WithTimeout(ctx, monitorTime)
	defer cancel()
	err := m.waitEnd(limited, id)
	if err != nil && ctx.Err() == nil {
		if err := m.killMonitor(id, l.Monitor); err != nil {
			return err
		}
		err = m.waitEnd(ctx, id)
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(m.runDir(id)); err == nil {
		return m.Sweep(ctx)
	}
	return nil
}

// killMonitor kills a process if it has a container's lock open.
func (m *Manager) killMonitor(id string, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open monitor: %w", err)
	}
	defer unix.Close(fd)
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if to, err := os.Readlink(filepath.Join(dir, name)); err == nil && to == m.lockPath(id) {
			return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
	}
	return fmt.Errorf("process %d is not the monitor of %s", pid, shortID(id))
}

// kill kills a container, whatever it is doing, and waits until nobody holds
// its lock. All of its processes are killed by their cgroup, too, in case that
// the first is in no state to be.
func (m *Manager) kill(ctx context.Context, id string) error {
	now, err := m.condition(id)
	if err != nil {
		return err
	}
	if now.state != Running && now.state != Paused {
		// Somebody is making, starting or removing it.
		return m.waitSettled(ctx, id)
	}
	p, err := openProcess(now.living.Pid, now.living.StartTime)
	if err == nil {
		err = p.signal(unix.SIGKILL)
		p.Close()
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	if now.state == Paused {
		// On cgroup v1 the frozen don't even die.
		if err := m.freeze(ctx, id, false); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return m.waitGone(ctx, id, now.living)
}

// waitSettled waits until a container runs, or nobody is at it any more.
func (m *Manager) waitSettled(ctx context.Context, id string) error {
	changes, stop, err := watch(m.runDir(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer stop()
	ended, err := m.ended(ctx, id)
	if err != nil {
		return err
	}
	for {
		if _, err := os.Lstat(filepath.Join(m.runDir(id), "state")); err == nil {
			return nil
		}
		select {
		case <-changes:
		case <-ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Kill sends a signal (name or number, "" is KILL) to a container's first
// process: ErrNotRunning if there is none.
func (m *Manager) Kill(ctx context.Context, ref string, signal string) error {
	n := int(unix.SIGKILL)
	if signal != "" {
		var err error
		if n, err = ParseSignal(signal); err != nil {
			return err
		}
	}
	m.sweep(ctx)
	c, now, err := m.running(ref)
	if err != nil {
		return err
	}
	p, err := openProcess(now.living.Pid, now.living.StartTime)
	if err == nil {
		defer p.Close()
		err = p.signal(unix.Signal(n))
	}
	if errors.Is(err, unix.ESRCH) {
		return failf(ErrNotRunning, "container %s is not running", ref)
	}
	if err == nil && unix.Signal(n) == unix.SIGKILL && now.state == Paused {
		err = m.freeze(ctx, c.ID, false)
	}
	if err != nil {
		return fmt.Errorf("kill %s: %w", ref, err)
	}
	return nil
}

// Pause freezes a container's processes.
func (m *Manager) Pause(ctx context.Context, ref string) error {
	c, now, err := m.running(ref)
	if err != nil {
		return err
	}
	if now.state == Paused {
		return failf(ErrInvalid, "container %s is paused already", ref)
	}
	if err := m.freeze(ctx, c.ID, true); err != nil {
		return fmt.Errorf("pause %s: %w", ref, err)
	}
	return nil
}

// Unpause thaws a container's processes.
func (m *Manager) Unpause(ctx context.Context, ref string) error {
	c, now, err := m.running(ref)
	if err != nil {
		return err
	}
	if now.state != Paused {
		return failf(ErrInvalid, "container %s is not paused", ref)
	}
	if err := m.freeze(ctx, c.ID, false); err != nil {
		return fmt.Errorf("unpause %s: %w", ref, err)
	}
	return nil
}

// freeze freezes or thaws a container and leaves a file in its run directory
// that says which: it is there while anything may be frozen.
func (m *Manager) freeze(ctx context.Context, id string, on bool) error {
	group, err := openCgroup(id)
	if err != nil {
		return err
	}
	defer group.Close()
	if on {
		if err := os.WriteFile(m.pausedPath(id), nil, 0o600); err != nil {
			return err
		}
		return group.Freeze(ctx)
	}
	if err := group.Thaw(ctx); err != nil {
		return err
	}
	if err := os.Remove(m.pausedPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
