package attach

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minict/container/wire"
)

// Everything that a process writes comes to its owner, however slow that is.
func TestSlowOwnerLosesNothing(t *testing.T) {
	const size = 100 << 20
	h := newHost(t)
	p := program{script: "i=0; while [ $i -lt 100 ]; do head -c 1048576 /bin/bash | tr '\\000' x; i=$((i+1)); done"}
	if st, err := os.Stat("/bin/bash"); err != nil || st.Size() < 1<<20 {
		t.Fatalf("needs a large file: %v", err)
	}
	s := h.mustStart(p, Container{Process: Process{Output: true}, LogDir: h.data})
	r, w := mustPipe(t)
	sum, count := sha256.New(), 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<20)
		for {
			n, err := r.Read(buf)
			sum.Write(buf[:n])
			count += n
			if count%(8<<20) < n { // now and then it looks away
				unix.Poll(nil, 20)
			}
			if err != nil {
				return
			}
		}
	}()
	if _, err := s.Relay(context.Background(), Streams{Out: w}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	<-done
	file, err := os.ReadFile("/bin/bash")
	if err != nil {
		t.Fatal(err)
	}
	want := sha256.New()
	for range 100 {
		want.Write(bytes.ReplaceAll(file[:1<<20], []byte{0}, []byte("x")))
	}
	equal(t, "bytes", count, size)
	if !bytes.Equal(sum.Sum(nil), want.Sum(nil)) {
		t.Error("the bytes are not those that were written")
	}
}

func TestStdin(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB: more than any window or pipe
	tests := []struct{ name, script, in, out string }{
		{"copy", "cat", big, big},
		{"first line", "read a; echo $a", "hello\nworld\n", "hello\n"},
		{"closed early", "exec <&-; sleep 0.1; echo done", big, "done\n"},
		{"not read", "echo done", big, "done\n"},
		{"empty", "wc -c", "", "0\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			c := Container{Process: Process{Stdin: true, StdinOnce: true}}
			o := h.foreground(program{script: tt.script}, c, strings.NewReader(tt.in))
			if o.out != tt.out {
				t.Errorf("got %d bytes, want %d", len(o.out), len(tt.out))
			}
			h.gone()
		})
	}
}

// Without -i the input is empty, whatever is sent.
func TestNoStdin(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{script: "cat; echo end"}, Container{Process: Process{Output: true}})
	if s.Stdin {
		t.Error("says that it can be written to")
	}
	// The program may have ended by now, and the monitor with it.
	if err := s.send([]byte("\x05ignored")); err != nil && !errors.Is(err, unix.EPIPE) {
		t.Fatal(err)
	}
	equal(t, "stdout", relayed(t, s, nil).out, "end\n")
}

// A signal does not wait behind input that nobody reads.
func TestSignalOvertakesStdin(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{script: "exec sleep 1000"}, Container{Process: Process{Output: true, Stdin: true, StdinOnce: true}})
	r, w := mustPipe(t)
	go io.Copy(w, endless{})
	go func() {
		unix.Poll(nil, 200)
		s.Signal(unix.SIGTERM)
	}()
	exit, err := s.Relay(context.Background(), Streams{In: r})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "signal", exit.Signal, unix.SIGTERM)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// Who writes to a command whose output nobody reads gets SIGPIPE.
func TestBrokenPipe(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{exec: []string{"/usr/bin/yes"}}, Container{Process: Process{Output: true}, LogDir: h.data})
	r, w := mustPipe(t)
	go func() {
		var b [100]byte
		io.ReadFull(r, b[:])
		r.Close()
	}()
	exit, err := s.Relay(context.Background(), Streams{Out: w})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "signal", exit.Signal, unix.SIGPIPE)
	h.gone()
}

func TestFullDisk(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{script: "echo text; trap '' PIPE; sleep 0.2; echo text; exit 3"}, Container{Process: Process{Output: true}})
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	exit, err := s.Relay(context.Background(), Streams{Out: full})
	equal(t, "code", exit.Code, 3)
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error: %v", err)
	}
}

func TestContextEndsRelay(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{script: "exec sleep 1000"}, Container{Process: Process{Output: true}})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Relay(ctx, Streams{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if err := unix.Kill(s.Pid, 0); err != nil {
		t.Errorf("the container is gone: %v", err)
	}
}

// A terminal: one stream, with a size, whose master is never the caller's.
func TestTerminal(t *testing.T) {
	h := newHost(t)
	c := Container{Process: Process{Output: true, Stdin: true, StdinOnce: true}}
	s := h.mustStart(program{script: "read a; stty size; echo $a; echo err >&2; tty", terminal: true}, c)
	if !s.Terminal || !s.Stdin {
		t.Errorf("terminal %v, stdin %v", s.Terminal, s.Stdin)
	}
	if err := s.Resize(33, 77); err != nil {
		t.Fatal(err)
	}
	o := relayed(t, s, strings.NewReader("hello\n"))
	contains(t, o.out, "hello\r\n33 77\r\nhello\r\nerr\r\n/dev/pts/")
	equal(t, "stderr", o.err, "")
	h.gone()
}

// A terminal has no end: who comes later can type too.
func TestTerminalHasNoEnd(t *testing.T) {
	h := newHost(t)
	c := Container{Process: Process{Stdin: true, StdinOnce: true}}
	s := h.mustStart(program{script: "read a; echo got $a", terminal: true}, c)
	if err := s.send([]byte{byte(wire.TypeStdinEOF)}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	contains(t, relayed(t, h.look(Wishes{Output: true, Stdin: true}), strings.NewReader("x\n")).out, "got x\r\n")
}

// The monitor's CPU does not spin when a process closes its terminal.
func TestTerminalIsClosed(t *testing.T) {
	h := newHost(t)
	c := Container{Process: Process{Output: true}}
	s := h.mustStart(program{script: "trap '' HUP; exec </dev/null >/dev/null 2>&1; sleep 0.3; echo back >/dev/tty", terminal: true}, c)
	before := cpuTime(t, h.monitor.pid)
	unix.Poll(nil, 250)
	if used := cpuTime(t, h.monitor.pid) - before; used > 10 {
		t.Errorf("used %d ticks of CPU in 25", used)
	}
	contains(t, relayed(t, s, nil).out, "back\r\n")
}
