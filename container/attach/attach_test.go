package attach

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"minict/container/wire"
)

func cpuTime(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')'):]))
	user, _ := strconv.Atoi(fields[12])
	system, _ := strconv.Atoi(fields[13])
	return user + system
}

// look attaches to a container.
func (h *host) look(w Wishes) *Session {
	h.t.Helper()
	s, err := Attach(h.run, w)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func TestDetachAndAttach(t *testing.T) {
	h := newHost(t)
	c := Container{Process: Process{Output: true, Stdin: true}, LogDir: h.data}
	s := h.mustStart(program{script: "while read a; do echo got $a; done"}, c)
	keys, err := ParseKeys("")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if i == 1 {
			s = h.look(Wishes{Output: true, Stdin: true})
		}
		in, w := mustPipe(t)
		out, outW := mustPipe(t)
		got := make(chan string)
		go func() {
			var b [100]byte
			n, _ := out.Read(b[:])
			w.WriteString("\x10\x11") // ctrl-p, ctrl-q
			got <- string(b[:n])
		}()
		w.WriteString("\x10" + strconv.Itoa(i) + "\n") // ctrl-p alone is the container's
		exit, err := s.Relay(context.Background(), Streams{In: in, Out: outW, DetachKeys: keys})
		if err != nil || !exit.Detached {
			t.Fatalf("got %+v, %v", exit, err)
		}
		equal(t, "output", <-got, "got \x10"+strconv.Itoa(i)+"\n")
	}
	contains(t, h.read("log"), "stdout F got \x101\n")
}

// A second one that looks on sees the end, and its status.
func TestAllSeeTheEnd(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{script: "read a; echo said $a; exit 5"}, Container{Process: Process{Output: true, Stdin: true, StdinOnce: true}})
	looker, waiter := h.look(Wishes{Output: true}), h.look(Wishes{})
	if looker.Pid != s.Pid || looker.StartTime != s.StartTime || s.StartTime == 0 {
		t.Errorf("pid %d/%d, start %d/%d", looker.Pid, s.Pid, looker.StartTime, s.StartTime)
	}
	first := relayed(t, s, strings.NewReader("x\n"))
	second, third := relayed(t, looker, nil), relayed(t, waiter, nil)
	for _, o := range []output{first, second, third} {
		equal(t, "code", o.Code, 5)
	}
	equal(t, "output", first.out+second.out+third.out, "said x\nsaid x\n")
	h.gone()
	if _, err := Attach(h.run, Wishes{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("attach to nothing: %v", err)
	}
}

// One that looks on and does not read is hung up on; the container goes on.
func TestLaggingLooker(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{script: "read a; head -c 8000000 /dev/zero; echo end; read b"}, Container{Process: Process{Output: true, Stdin: true, StdinOnce: true}})
	lagging := h.look(Wishes{Output: true})
	defer lagging.Close()
	o := relayed(t, s, strings.NewReader("x\ny\n"))
	equal(t, "bytes", len(o.out), 8000000+4)
	for {
		if _, err := lagging.receive(); err != nil {
			if !errors.Is(err, ErrGone) {
				t.Errorf("got %v", err)
			}
			break
		}
	}
	h.gone()
}

// The input ends with the one that wrote to it, if it is of that kind.
func TestStdinOnceEndsWithConnection(t *testing.T) {
	for _, once := range []bool{true, false} {
		h := newHost(t)
		c := Container{Process: Process{Stdin: true, StdinOnce: once}, LogDir: h.data}
		s := h.mustStart(program{script: "cat; echo end; exec sleep 1000"}, c)
		waiter := h.look(Wishes{Output: true})
		s.Close()
		if once {
			msg, err := waiter.receive()
			if err != nil || string(msg[1:]) != "end\n" {
				t.Errorf("got %q, %v", msg, err)
			}
		} else if readable(waiter.fd, 100) {
			t.Error("the input has ended")
		}
		waiter.Close()
		unix.Kill(waiter.Pid, unix.SIGKILL)
		h.gone()
	}
}

// A thousand come and go, and the monitor is as before.
func TestManyAttach(t *testing.T) {
	h := newHost(t)
	h.mustStart(program{script: "exec sleep 1000"}, Container{})
	count := func() int {
		entries, err := os.ReadDir("/proc/" + strconv.Itoa(h.monitor.pid) + "/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := count()
	for range 1000 {
		s := h.look(Wishes{Output: true, Stdin: true})
		if err := s.send([]byte("\x05x")); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	last := h.look(Wishes{})
	if after := count(); after > before+2 {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	last.Close()
}

// Messages that make no sense end the connection, and nothing else.
func TestNonsense(t *testing.T) {
	h := newHost(t)
	h.mustStart(program{script: "exec sleep 1000"}, Container{Process: Process{Stdin: true}})
	for _, msg := range []string{"\x00", "\x02", "\x03\x00", "\x08\x09\x05", "\x10", "\xff", "\x05" + strings.Repeat("x", 50000)} {
		for _, attached := range []bool{false, true} {
			s, err := dial(h.run)
			if attached {
				s, err = Attach(h.run, Wishes{Stdin: true})
			}
			if err != nil {
				t.Fatal(err)
			}
			// Input is wrong when it is more than there is room for: the
			// pipe takes one message, the window another.
			for range 3 {
				s.send([]byte(msg))
			}
			got, err := s.receive()
			for err == nil && wire.Type(got[0]) == wire.TypeWindow {
				got, err = s.receive()
			}
			if !errors.Is(err, ErrGone) {
				t.Errorf("%.5q: got %.5q, %v", msg, got, err)
			}
			s.Close()
		}
	}
	h.look(Wishes{}).Close()
}
