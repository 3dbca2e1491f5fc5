package oci

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// listener is an engine's socket for descriptors.
func (h *harness) listener(name string) (*net.UnixListener, string) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	h.must(err)
	h.t.Cleanup(func() { l.Close() })
	return l, path
}

// received gives the descriptor that came to a socket, and what came with it.
func (h *harness) received(l *net.UnixListener) (*os.File, string) {
	h.t.Helper()
	h.must(l.SetDeadline(time.Now().Add(patience)))
	conn, err := l.AcceptUnix()
	h.must(err)
	defer conn.Close()
	data, control := make([]byte, 4096), make([]byte, 256)
	n, oobn, _, _, err := conn.ReadMsgUnix(data, control)
	h.must(err)
	messages, err := unix.ParseSocketControlMessage(control[:oobn])
	if err != nil || len(messages) != 1 {
		h.t.Fatalf("%d messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		h.t.Fatalf("%d descriptors, %v", len(fds), err)
	}
	return os.NewFile(uintptr(fds[0]), "received"), string(data[:n])
}

// screen reads a terminal until its other side is closed, or the words were
// seen.
func (h *harness) screen(master *os.File, until string) string {
	h.t.Helper()
	late := time.AfterFunc(patience, func() { master.Close() })
	defer late.Stop()
	var seen strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := master.Read(buf)
		seen.Write(buf[:n])
		if err != nil || until != "" && strings.Contains(seen.String(), until) {
			return seen.String()
		}
	}
}

func terminal(s *specs.Spec) *specs.Spec {
	s.Process.Terminal = true
	s.Process.ConsoleSize = &specs.Box{Height: 12, Width: 34}
	return s
}

func TestConsoleSocket(t *testing.T) {
	h := newHarness(t)
	l, path := h.listener("console")
	h.prints("", "create", "--bundle", h.bundle(terminal(spec("tty; stty size; test -c /dev/console && echo console; cat"))), "--console-socket", path, "c")
	defer h.stop("c")
	master, name := h.received(l)
	defer master.Close()
	if name == "" {
		t.Error("no name came with the terminal")
	}
	h.prints("", "start", "c")
	if got, want := h.screen(master, "console\r\n"), "/dev/pts/0\r\n12 34\r\nconsole\r\n"; got != want {
		t.Errorf("screen %q, want %q", got, want)
	}
	h.prints("", "exec", "--detach", "--tty", "--console-socket", path, "c", "sh", "-c", "tty; echo done")
	second, _ := h.received(l)
	defer second.Close()
	if got := h.screen(second, "done\r\n"); got != "/dev/pts/1\r\ndone\r\n" {
		t.Errorf("screen of exec %q", got)
	}
}

// A socket that nobody serves is an error, and soon.
func TestDeadSockets(t *testing.T) {
	h := newHarness(t)
	l, path := h.listener("dead")
	l.SetUnlinkOnClose(false)
	l.Close()
	long := filepath.Join(h.dir, strings.Repeat("x", 120))
	for _, flag := range []string{"--console-socket", "--pidfd-socket"} {
		begin := time.Now()
		h.fails(1, []string{"connection refused"}, "create", "--bundle", h.bundle(terminal(spec("true"))), "--console-socket", path, flag, path, "c")
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("%s: took %v", flag, d)
		}
	}
	h.fails(1, []string{"no such file"}, "create", "--bundle", h.bundle(spec("true")), "--pidfd-socket", long, "c")
	_, live := h.listener("live")
	h.fails(1, []string{"--console-socket"}, "create", "--bundle", h.bundle(spec("true")), "--console-socket", live, "c")
}

func TestPidfdSocket(t *testing.T) {
	h := newHarness(t)
	l, path := h.listener("pidfd")
	h.prints("", "create", "--bundle", h.bundle(spec("exec sleep 1000")), "--pidfd-socket", path, "c")
	defer h.stop("c")
	pidfd, _ := h.received(l)
	defer pidfd.Close()
	info := content(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd.Fd()))
	if want := fmt.Sprintf("\nPid:\t%d\n", h.state("c").Pid); !strings.Contains(info, want) {
		t.Errorf("%q is not in %q", want, info)
	}
}

// pty is a terminal of the test's.
func (h *harness) pty() (master, slave *os.File) {
	h.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	h.must(err)
	h.must(unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	h.must(unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 90}))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	h.must(err)
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	h.must(err)
	h.t.Cleanup(func() { master.Close(); slave.Close() })
	return master, slave
}

// on starts a command on a terminal.
func (h *harness) on(slave *os.File, args ...string) *exec.Cmd {
	h.t.Helper()
	cmd := h.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	h.must(cmd.Start())
	return cmd
}

// On a terminal: its size comes along and so do changes of it, what is typed
// goes through untouched, and in the end it is as it was.
func TestForegroundTerminal(t *testing.T) {
	h := newHarness(t)
	for name, args := range map[string][]string{
		"run":  {"run", "--bundle", h.bundle(terminalWithoutSize(spec("stty size; read x; stty size; echo got $x; exit 5"))), "r"},
		"exec": {"exec", "--tty", "c", "sh", "-c", "stty size; read x; stty size; echo got $x; exit 5"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "exec" {
				h.prints("", "run", "--detach", "--bundle", h.bundle(spec("exec sleep 1000")), "c")
				defer h.stop("c")
			}
			master, slave := h.pty()
			before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			h.must(err)
			cmd := h.on(slave, args...)
			got := h.screen(master, "40 90\r\n")
			h.must(unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 20, Col: 30}))
			h.must(cmd.Process.Signal(unix.SIGWINCH))
			_, err = master.WriteString("word\r")
			h.must(err)
			got += h.screen(master, "got word\r\n")
			cmd.Wait()
			if !strings.Contains(got, "40 90\r\n") || !strings.Contains(got, "got word\r\n") || cmd.ProcessState.ExitCode() != 5 {
				t.Errorf("%v, screen %q", cmd.ProcessState, got)
			}
			after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil || *after != *before {
				t.Errorf("the terminal was left as %+v, %v", after, err)
			}
		})
	}
}

func terminalWithoutSize(s *specs.Spec) *specs.Spec {
	s.Process.Terminal = true
	return s
}

// Without a terminal of its own a process gets none: it could write for its
// user (TIOCSTI).
func TestNoTerminalIsLeaked(t *testing.T) {
	h := newHarness(t)
	master, slave := h.pty()
	cmd := h.on(slave, "run", "--bundle", h.bundle(spec("for i in 0 1 2; do test -t $i && echo leaked; done; (cat </dev/tty) 2>&1; readlink /proc/self/fd/0; echo end")), "c")
	got := h.screen(master, "end\r\n")
	cmd.Wait()
	if strings.Contains(got, "leaked") || !strings.Contains(got, "pipe:") || !strings.Contains(got, "can't open /dev/tty") {
		t.Errorf("screen %q", got)
	}
}
