package oci

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCheckID(t *testing.T) {
	for _, id := range []string{"a", "Z9", "_x", "a+b-c.d_e", strings.Repeat("x", 255)} {
		if err := CheckID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", ".", "..", "-x", "+x", ".x", "a/b", "../x", "a b", "a\x00", "ä", strings.Repeat("x", 256)} {
		if err := CheckID(id); !errors.Is(err, ErrID) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]unix.Signal{
		"TERM": 15, "SIGTERM": 15, "sigkill": 9, "9": 9, "0": 0, "64": 64, "RTMIN": 34, "SIGRTMIN+1": 35, "RTMAX-2": 62, "rtmax": 64,
	} {
		if got, err := ParseSignal(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "FOO", "SIG", "65", "-1", "RTMIN-1", "RTMAX+1", "RTMIN+31", "RTMIN+x", "15x"} {
		if got, err := ParseSignal(text); err == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// A process is known by more than its id, and when it has ended it is nobody.
func TestProcess(t *testing.T) {
	cmd := exec.Command("/bin/sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	pidfd, err := p.open()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	for _, other := range []process{{p.pid, p.start + 1}, {os.Getpid(), p.start}, {0, 0}, {-1, p.start}, {1 << 22, p.start}} {
		if fd, err := other.open(); !errors.Is(err, ErrNotRunning) {
			t.Errorf("%+v: %d, %v", other, fd, err)
		}
	}
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := wait(pidfd, 10000); err != nil {
		t.Fatal(err)
	}
	if fd, err := p.open(); !errors.Is(err, ErrNotRunning) { // nobody has waited for it
		t.Errorf("a zombie: %d, %v", fd, err)
	}
	cmd.Wait()
}
