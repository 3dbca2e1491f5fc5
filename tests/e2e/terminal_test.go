package e2e

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestShellOnATerminal(t *testing.T) {
	h := newHarness(t)
	master, slave := h.openpty()
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	h.must(err)
	slave.Close()
	master.Close()

	// Without flags a terminal on both ends means an interactive run.
	s := h.terminal(91, 17, "run", "--rm", "--rootfs", h.rootfs(), "--", "/bin/sh")
	s.expect("/ # ")
	s.send("stty size; tty; echo pid=$$\n")
	s.expect("17 91\r\n")
	s.expect("/dev/pts/0\r\n")
	s.expect("pid=1\r\n")
	s.expect("/ # ")

	// The size follows the terminal's.
	s.send("echo ready; while test \"$(stty size)\" = '17 91'; do sleep 0.01; done; stty size\n")
	s.expect("ready\r\n")
	raw, err := s.in.SyscallConn()
	h.must(err)
	h.must(raw.Control(func(fd uintptr) {
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: 60, Row: 20})
	}))
	h.must(err)
	s.expect("20 60\r\n")
	s.expect("/ # ")

	// While it runs the terminal is raw, afterwards what it was.
	s.send("exit 9\n")
	if r := s.wait(); r.code != 9 {
		t.Errorf("want exit code 9: %v", r)
	}
	var after *unix.Termios
	h.must(raw.Control(func(fd uintptr) { after, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) }))
	h.must(err)
	if *before != *after {
		t.Errorf("the terminal is %+v, was %+v", *after, *before)
	}
}

func TestInterruptOnATerminalGoesToTheContainer(t *testing.T) {
	h := newHarness(t)
	s := h.terminal(80, 24, "run", "--rm", "-it", "--rootfs", h.rootfs(), "--", "/bin/sh")
	s.expect("/ # ")
	s.send("sh -c 'echo st\"\"arted; exec cat'\n")
	s.expect("started\r\n")
	s.send("cat\n")
	s.expect("cat\r\ncat\r\n") // the terminal's echo, and its own word
	s.send("\x03")
	s.expect("/ # ")
	s.send("echo $?\n")
	s.expect("130\r\n")
	s.expect("/ # ")
	s.send("\x04")
	if r := s.wait(); r.code != 130 && r.code != 0 {
		t.Errorf("%v", r)
	}
}

func TestPipesStayPipes(t *testing.T) {
	h := newHarness(t)
	rootfs := h.rootfs()
	r := h.runWith("one\ntwo\n", "run", "--rm", "-i", "--rootfs", rootfs, "--", "/bin/sh", "-c", "test -t 0 || wc -l; echo err >&2")
	if strings.TrimSpace(r.stdout) != "2" || r.stderr != "err\n" || r.code != 0 {
		t.Error(r)
	}
	// Without -i the container has nothing to read.
	r = h.runWith("one\n", "run", "--rm", "--rootfs", rootfs, "--", "wc", "-l")
	if strings.TrimSpace(r.stdout) != "0" || r.code != 0 {
		t.Error(r)
	}
	// A large output arrives whole.
	r = h.run("run", "--rm", "--rootfs", rootfs, "--", "/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x")
	if len(r.stdout) != 3000000 || r.code != 0 {
		t.Errorf("%d bytes, code %d, %s", len(r.stdout), r.code, r.stderr)
	}
}

func TestDetachKeysLeaveItRunning(t *testing.T) {
	h := newHarness(t)
	s := h.terminal(80, 24, "run", "-it", "--name", "web", "--rootfs", h.rootfs(), "--", "/bin/sh")
	s.expect("/ # ")
	s.send("\x10\x11")
	if r := s.wait(); r.code != 0 {
		t.Errorf("want exit code 0 after detaching: %v", r)
	}
	if !h.inspect("web").State.Running {
		t.Error("not running after detaching")
	}
	h.prints("web\n", "rm", "-f", "web")
}
