package container

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDropped(t *testing.T) {
	const none = "0000000000000000"
	status := func(blocked, caught string) string {
		return "Name:\tx\nSigBlk:\t" + blocked + "\nSigIgn:\t" + none + "\nSigCgt:\t" + caught + "\n"
	}
	const term = "0000000000004000" // bit 14: signal 15
	for _, tt := range []struct {
		name   string
		status string
		n      unix.Signal
		want   bool
	}{
		{"neither", status(none, none), unix.SIGTERM, true},
		{"caught", status(none, term), unix.SIGTERM, false},
		{"blocked", status(term, none), unix.SIGTERM, false},
		{"another", status(none, term), unix.SIGINT, true},
		{"kill", status(none, none), unix.SIGKILL, false},
		{"last", status(none, "8000000000000000"), unix.Signal(64), false},
		{"cut short", "SigBlk:\t" + none + "\n", unix.SIGTERM, false},
		{"no number", status("x", none), unix.SIGTERM, false},
	} {
		if got := dropped(tt.status, tt.n); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A process whose number went to another one is not taken for it.
func TestOpenProcess(t *testing.T) {
	started, err := startTimeOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	p, err := openProcess(os.Getpid(), started)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.signal(0); err != nil {
		t.Error(err)
	}
	p.Close()
	if _, err := openProcess(os.Getpid(), started+1); !errors.Is(err, unix.ESRCH) {
		t.Errorf("got %v", err)
	}
	child := exec.Command("/bin/true")
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := openProcess(child.Process.Pid, started); !errors.Is(err, unix.ESRCH) {
		t.Errorf("got %v", err)
	}
}

func TestWaitReadable(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if over, err := waitReadable(t.Context(), r, time.Millisecond); over || err != nil {
		t.Errorf("nothing to read: got %v, %v", over, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if over, err := waitReadable(ctx, r, -1); over || !errors.Is(err, context.Canceled) {
		t.Errorf("context over: got %v, %v", over, err)
	}
	w.Close()
	if over, err := waitReadable(t.Context(), r, -1); !over || err != nil {
		t.Errorf("end of the pipe: got %v, %v", over, err)
	}
}
