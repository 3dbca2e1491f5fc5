package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// session is a minict that runs while the test talks to it, over pipes or over
// a terminal.
type session struct {
	h      *harness
	cmd    *exec.Cmd
	in     *os.File
	out    *os.File
	seen   bytes.Buffer // all that came out
	passed int          // how much of it expect has consumed
	stderr bytes.Buffer // nothing with a terminal
	done   chan struct{}
}

// start starts minict with pipes.
func (h *harness) start(args ...string) *session {
	h.t.Helper()
	s := &session{h: h, cmd: h.command(args...)}
	stdin, in, err := os.Pipe()
	h.must(err)
	out, stdout, err := os.Pipe()
	h.must(err)
	s.in, s.out = in, out
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = stdin, stdout, &s.stderr
	s.begin(stdin, stdout)
	return s
}

// terminal starts minict on a terminal of the given size, as its session's
// leader.
func (h *harness) terminal(columns, rows uint16, args ...string) *session {
	h.t.Helper()
	s := &session{h: h, cmd: h.command(args...)}
	s.cmd.Env = append(s.cmd.Env, "TERM=xterm")
	master, slave := h.openpty()
	h.must(unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}))
	s.in, s.out = master, master
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = slave, slave, slave
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s.begin(slave)
	return s
}

// openpty makes a terminal. The master's end is pollable, so that reads of it
// can have a deadline.
func (h *harness) openpty() (master, slave *os.File) {
	h.t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	h.must(err)
	h.must(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		h.t.Fatal(errno)
	}
	return os.NewFile(uintptr(fd), "ptmx"), os.NewFile(peer, "pts")
}

func (s *session) begin(childs ...*os.File) {
	s.h.t.Helper()
	s.done = make(chan struct{})
	s.h.must(s.cmd.Start())
	for _, f := range childs {
		f.Close()
	}
	go func() {
		s.cmd.Wait()
		close(s.done)
	}()
	s.h.t.Cleanup(func() {
		s.cmd.Process.Kill()
		<-s.done
		s.in.Close()
		s.out.Close()
	})
}

// send writes to the session's input.
func (s *session) send(text string) {
	s.h.t.Helper()
	_, err := s.in.WriteString(text)
	s.h.must(err)
}

// closeInput ends the session's standard input.
func (s *session) closeInput() { s.in.Close() }

// expect reads output until text comes, and returns what came before it. What
// an earlier expect has found is not looked at again.
func (s *session) expect(text string) string {
	s.h.t.Helper()
	s.out.SetReadDeadline(time.Now().Add(patience))
	for {
		fresh := s.seen.String()[s.passed:]
		if before, _, found := strings.Cut(fresh, text); found {
			s.passed += len(before) + len(text)
			return before
		}
		if !s.read() {
			s.h.t.Fatalf("minict %s\nended its output without %q: %q\nstderr: %q", strings.Join(s.cmd.Args[1:], " "), text, fresh, s.stderr.String())
		}
	}
}

// read takes what has come, and says whether there may be more.
func (s *session) read() bool {
	s.h.t.Helper()
	buffer := make([]byte, 4096)
	n, err := s.out.Read(buffer)
	s.seen.Write(buffer[:n])
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.h.t.Fatalf("minict %s\nnothing more after %v: %q", strings.Join(s.cmd.Args[1:], " "), patience, s.seen.String())
	}
	return err == nil // a terminal ends with EIO
}

// wait reads the rest of the output and waits for the end of minict.
func (s *session) wait() result {
	s.h.t.Helper()
	s.out.SetReadDeadline(time.Now().Add(patience))
	for s.read() {
	}
	select {
	case <-s.done:
	case <-time.After(patience):
		s.h.t.Fatalf("minict %s: its output has ended, but it has not", strings.Join(s.cmd.Args[1:], " "))
	}
	return result{args: s.cmd.Args[1:], stdout: s.seen.String(), stderr: s.stderr.String(), code: exitCode(s.cmd)}
}

// signal sends a signal to minict itself.
func (s *session) signal(sig syscall.Signal) {
	s.h.t.Helper()
	s.h.must(s.cmd.Process.Signal(sig))
}

func exitCode(cmd *exec.Cmd) int {
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// gone waits until the process has ended.
func (h *harness) gone(pid int) {
	h.t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	h.must(err)
	defer unix.Close(fd)
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds()))
		if n == 1 {
			return
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			h.t.Fatal(err)
		}
	}
	h.t.Fatalf("process %d has not ended", pid)
}

// parent is the parent of a process: of a container's first process, its
// monitor.
func (h *harness) parent(pid int) int {
	h.t.Helper()
	parent, err := strconv.Atoi(h.status(pid, "PPid"))
	h.must(err)
	return parent
}

// status reads one field of /proc/PID/status.
func (h *harness) status(pid int, field string) string {
	h.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	h.must(err)
	for _, line := range strings.Split(string(text), "\n") {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	h.t.Fatalf("no %s in the status of process %d", field, pid)
	return ""
}

// cgroupOf is the directory of a process's cgroup in the hierarchy that has
// the controller, and whether that is of version 2.
func (h *harness) cgroupOf(pid int, controller string) (dir string, unified bool) {
	h.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	h.must(err)
	var v2 string
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		fields := strings.SplitN(line, ":", 3) // cgroups(7): ID:controllers:path
		if fields[1] == "" {
			v2 = fields[2]
		}
		for _, name := range strings.Split(fields[1], ",") {
			if name == controller {
				return filepath.Join("/sys/fs/cgroup", controller, fields[2]), false
			}
		}
	}
	return filepath.Join("/sys/fs/cgroup", v2), true
}
