package attach

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minict/internal/caught"
	"minict/internal/flock"
)

// startHere starts a container whose monitor is this test.
func (h *host) startHere(p program, c Container) (*Session, error) {
	h.t.Helper()
	lock, err := flock.Lock(context.Background(), h.run+"/lock", flock.Exclusive)
	if err != nil {
		h.t.Fatal(err)
	}
	defer lock.Close()
	c.Plan, c.Lock, c.RunDir, c.Output = p.plan(), lock, h.run, true
	return StartHere(c)
}

// here runs a container to its end, and looks whether anything is left.
func (h *host) here(p program, c Container, in string) output {
	h.t.Helper()
	before := descriptors(h.t)
	s, err := h.startHere(p, c)
	if err != nil {
		h.t.Fatal(err)
	}
	var o output
	if c.Stdin {
		o = relayed(h.t, s, strings.NewReader(in))
	} else {
		o = relayed(h.t, s, nil)
	}
	if left, _ := filepath.Glob(h.run + "*"); len(left) > 0 {
		h.t.Errorf("left behind: %v", left)
	}
	if after := descriptors(h.t); !slices.Equal(after, before) {
		h.t.Errorf("descriptors %v, were %v", after, before)
	}
	return o
}

// descriptors lists those that are open, but for the pipes of the tests' own.
func descriptors(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(to, "pipe:") {
			list = append(list, to)
		}
	}
	slices.Sort(list)
	return list
}

func TestHere(t *testing.T) {
	large := strings.Repeat("0123456789abcde\n", 1<<14) // more than a pipe, a message and a window hold
	for name, tt := range map[string]struct {
		script, in string
		code       int
		out, err   string
	}{
		"silent":  {"true", "", 0, "", ""},
		"status":  {"exit 7", "", 7, "", ""},
		"output":  {"echo out; echo err >&2; exit 3", "", 3, "out\n", "err\n"},
		"input":   {"cat", "a line\n", 0, "a line\n", ""},
		"much":    {"cat", large, 0, large, ""},
		"unread":  {"exit 0", large, 0, "", ""},
		"killed":  {"kill -KILL $$", "", 137, "", ""},
		"orphans": {"sleep 1000 & echo up", "", 0, "up\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			c := Container{LogDir: h.data, ExitDir: h.data}
			c.Stdin, c.StdinOnce = tt.in != "", tt.in != ""
			flags := uint64(unix.CLONE_NEWPID)
			if name == "killed" {
				flags = 0 // the first process of a PID namespace can't kill itself
			}
			o := h.here(program{script: tt.script, flags: flags}, c, tt.in)
			equal(t, "code", o.Code, tt.code)
			equal(t, "stdout", o.out, tt.out)
			equal(t, "stderr", o.err, tt.err)
			if n := strings.Count(h.read("log"), "\n"); n < strings.Count(tt.out+tt.err, "\n") {
				t.Errorf("%d lines in the log", n)
			}
			contains(t, h.read("exit"), `{"status":`)
		})
	}
}

// A failure leaves nothing, and the thread is nobody's any more.
func TestHereFails(t *testing.T) {
	h := newHost(t)
	undone := filepath.Join(h.data, "undone")
	if err := os.WriteFile(undone, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := h.startHere(program{exec: []string{"/bin/missing"}, undo: undone}, Container{Remove: []string{h.data}, RemoveOnFailure: true})
	var f *Failure
	if !errors.As(err, &f) || !f.Exec || f.Errno != unix.ENOENT {
		t.Errorf("got %v", err)
	}
	for _, path := range []string{h.run, h.data} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

// Others can look on, and start more, while the command is the monitor.
func TestHereIsAMonitorToOthers(t *testing.T) {
	h := newHost(t)
	s, err := h.startHere(program{script: "read line; echo got $line", flags: unix.CLONE_NEWPID}, Container{Process: Process{Stdin: true}})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan output, 1)
	go func() {
		other, err := Attach(h.run, Wishes{Output: true, Stdin: true})
		if err != nil {
			t.Error(err)
			seen <- output{}
			return
		}
		seen <- relayed(t, other, strings.NewReader("it\n"))
	}()
	equal(t, "stdout", relayed(t, s, nil).out, "got it\n")
	equal(t, "what another sees", (<-seen).out, "got it\n")
}

// A signal goes to the process. One that interrupts ends it though it is PID 1
// without a handler; any other is then nothing to it, as the kernel has it.
func TestHereSignals(t *testing.T) {
	for name, tt := range map[string]struct {
		script string
		send   []unix.Signal
		code   int
	}{
		"without a handler": {"echo up; exec cat", []unix.Signal{unix.SIGTERM}, 128 + 15},
		"of no importance":  {"echo up; exec cat", []unix.Signal{unix.SIGUSR1, unix.SIGTERM}, 128 + 15},
		"with a handler":    {"trap 'exit 5' USR1; echo up; while read line; do :; done", []unix.Signal{unix.SIGUSR1}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			signals, err := caught.Catch(unix.SIGUSR1, unix.SIGTERM)
			if err != nil {
				t.Fatal(err)
			}
			defer signals.Stop()
			h := newHost(t)
			s, err := h.startHere(program{exec: []string{"/bin/sh", "-c", tt.script}, flags: unix.CLONE_NEWPID}, Container{Process: Process{Stdin: true, StdinOnce: true}})
			if err != nil {
				t.Fatal(err)
			}
			r, w := mustPipe(t)
			in, write := mustPipe(t)
			write.WriteString("catted\n")
			// A signal that is lost ends the wait for it, with another code.
			late := time.AfterFunc(20*time.Second, func() { write.Close() })
			defer late.Stop()
			go func() {
				wanted := "up\n"
				if tt.code != 5 {
					wanted += "catted\n" // now it is cat for certain
				}
				io.ReadFull(r, make([]byte, len(wanted)))
				for _, n := range tt.send {
					unix.Kill(unix.Getpid(), n)
				}
			}()
			exit, err := s.Relay(context.Background(), Streams{In: in, Out: w, Signals: signals})
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "code", exit.Code, tt.code)
		})
	}
}
