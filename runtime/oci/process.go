package oci

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// process names a process for good: an id alone is given again.
type process struct {
	pid   int
	start uint64 // proc_pid_stat(5), field 22: clock ticks since boot
}

// identify gives the name of a process that is known to live.
func identify(pid int) (process, error) {
	start, _, err := startTime(pid)
	return process{pid, start}, err
}

// open gives a pidfd of the process, or ErrNotRunning if it has ended.
func (p process) open() (int, error) {
	if p.pid <= 0 {
		return -1, ErrNotRunning
	}
	pidfd, err := unix.PidfdOpen(p.pid, 0)
	if err == unix.ESRCH || err == unix.EINVAL { // EINVAL: now it is a thread
		return -1, ErrNotRunning
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", p.pid, err)
	}
	// What the pidfd means can't change any more, so now is the time to see
	// whether it is the right one.
	start, dead, err := startTime(p.pid)
	if err != nil || dead || start != p.start {
		unix.Close(pidfd)
		return -1, ErrNotRunning
	}
	return pidfd, nil
}

// startTime reads when a process began, and whether it has ended and is only
// waited for.
func startTime(pid int) (start uint64, dead bool, err error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false, err
	}
	// The second field is the program's name, which may contain anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, false, errors.New("/proc/PID/stat is not as it was")
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return start, fields[0][0] == 'Z' || fields[0][0] == 'X', err
}

// bootID names the time since the machine was started last: ids and start
// times of processes mean nothing beyond it.
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(bytes.TrimSpace(id)), err
}

// wait waits for the end of the process behind a pidfd, for so many
// milliseconds, or without end if that is negative.
func wait(pidfd, ms int) error {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	return retry(func() error {
		n, err := unix.Poll(fds, ms)
		if err == nil && n == 0 {
			return unix.ETIMEDOUT
		}
		return err
	})
}

// Wait waits for the end of a child, and gives its status.
func Wait(pid, pidfd int) (unix.WaitStatus, error) {
	if err := wait(pidfd, -1); err != nil {
		return 0, err
	}
	return reap(pid)
}

// reap takes the status of a child.
func reap(pid int) (status unix.WaitStatus, err error) {
	err = retry(func() error {
		_, err := unix.Wait4(pid, &status, 0, nil)
		return err
	})
	return status, err
}
