package container

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process is a process that is addressed by a descriptor: unlike its number,
// that never comes to mean another one.
type process struct {
	*os.File // pidfd
	pid      int
}

// openProcess opens the process that has this pid and start time (field 22 of
// proc_pid_stat(5), clock ticks since boot). If it has gone, even if another
// has its number, the error is unix.ESRCH.
func openProcess(pid int, startTime uint64) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	p := &process{os.NewFile(uintptr(fd), "pidfd"), pid}
	now, err := startTimeOf(pid)
	if err == nil && now != startTime {
		err = fmt.Errorf("open process %d: %w", pid, unix.ESRCH)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func startTimeOf(pid int) (uint64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, errors.Join(unix.ESRCH, err)
	}
	// The command's name may have anything in it; the last bracket ends it.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("read /proc/%d/stat: too short", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// signal sends a signal: unix.ESRCH if the process has ended.
func (p *process) signal(n unix.Signal) error {
	return unix.PidfdSendSignal(int(p.Fd()), n, nil, 0)
}

// drops says whether the kernel drops a signal for this process, which is the
// first of its PID namespace: one that it neither handles nor blocks
// (pid_namespaces(7)).
func (p *process) drops(n unix.Signal) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return false
	}
	return dropped(string(raw), n)
}

func dropped(status string, n unix.Signal) bool {
	if n == unix.SIGKILL || n == unix.SIGSTOP {
		return false
	}
	found := 0
	for line := range strings.SplitSeq(status, "\n") {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigBlk" && name != "SigCgt" {
			continue
		}
		mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil || mask&(1<<(n-1)) != 0 {
			return false
		}
		found++
	}
	return found == 2
}

// root opens the process's root directory.
func (p *process) root() (*os.File, error) { return p.open("root", unix.O_PATH|unix.O_DIRECTORY) }

// open opens something of the process's directory in /proc.
func (p *process) open(name string, flags int) (*os.File, error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/%s", p.pid, name), flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// It was the process's if that still lives: nobody else had its number.
	if err := p.signal(0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
