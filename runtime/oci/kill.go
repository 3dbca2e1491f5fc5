package oci

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ParseSignal reads a signal's name, with or without SIG, or its number.
func ParseSignal(s string) (unix.Signal, error) {
	const last = 64
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > last {
			return 0, fmt.Errorf("unknown signal %q", s)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	const rtMin, rtMax = 34, 64 // signal(7): the C library keeps two for itself
	for base, prefix := range map[int]string{rtMin: "SIGRTMIN", rtMax: "SIGRTMAX"} {
		offset, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		n, err := strconv.Atoi(offset)
		if offset == "" {
			n, err = 0, nil
		}
		if err == nil && base+n >= rtMin && base+n <= rtMax {
			return unix.Signal(base + n), nil
		}
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}

// Kill sends a signal to the first process, or with all to each process of the
// container. The error is ErrNotRunning if it has stopped.
func (c *Container) Kill(sig unix.Signal, all bool) error {
	pidfd, status, err := c.open()
	if err != nil {
		return err
	}
	if pidfd >= 0 {
		defer unix.Close(pidfd)
	}
	if all {
		return c.signalAll(sig)
	}
	if status == specs.StateStopped || pidfd < 0 {
		return ErrNotRunning
	}
	return c.kill(pidfd, sig)
}

// kill sends a signal to the first process. One that is frozen with cgroup v1
// dies only when it is thawed.
func (c *Container) kill(pidfd int, sig unix.Signal) error {
	err := unix.PidfdSendSignal(pidfd, sig, nil, 0)
	if err == unix.ESRCH {
		return ErrNotRunning
	}
	if err != nil {
		return fmt.Errorf("send signal %d to container %s: %w", sig, c.ID, err)
	}
	if sig != unix.SIGKILL {
		return nil
	}
	if frozen, err := c.frozen(); err != nil || !frozen {
		return err
	}
	return c.Resume()
}

// signalAll sends a signal to all processes. It is none of errors if there are
// none.
func (c *Container) signalAll(sig unix.Signal) error {
	if sig == unix.SIGKILL && c.record.Cgroup != "" {
		return c.killAll()
	}
	pids, err := c.Processes()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // has ended
		}
		// The id may be somebody else's by now.
		if still, err := c.Processes(); err == nil && slices.Contains(still, pid) {
			unix.PidfdSendSignal(pidfd, sig, nil, 0)
		}
		unix.Close(pidfd)
	}
	return nil
}
