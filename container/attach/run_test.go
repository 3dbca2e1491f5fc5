package attach

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExit(t *testing.T) {
	tests := []struct {
		name, script string
		code         int
		signal       unix.Signal
		exitFile     string
	}{
		{"zero", "true", 0, 0, `{"status":0,"signal":0,"oomKilled":false,"finished":"`},
		{"status", "exit 7", 7, 0, `{"status":7,"signal":0,`},
		{"signal", "sh -c 'kill -9 $$'; exit $?", 137, 0, `{"status":137,"signal":0,`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			o := h.foreground(program{script: tt.script, flags: unix.CLONE_NEWPID}, Container{ExitDir: h.data}, nil)
			equal(t, "code", o.Code, tt.code)
			equal(t, "signal", o.Signal, tt.signal)
			h.gone()
			contains(t, h.read("exit"), tt.exitFile)
		})
	}
}

func TestKilledBySignal(t *testing.T) {
	h := newHost(t)
	o := h.foreground(program{script: "kill -TERM $$"}, Container{ExitDir: h.data}, nil)
	equal(t, "code", o.Code, 128+15)
	equal(t, "signal", o.Signal, unix.SIGTERM)
	h.gone()
	contains(t, h.read("exit"), `{"status":143,"signal":15,`)
}

func TestOutputOfBoth(t *testing.T) {
	h := newHost(t)
	o := h.foreground(program{script: "echo out; echo err >&2; printf half"}, Container{}, nil)
	equal(t, "stdout", o.out, "out\nhalf")
	equal(t, "stderr", o.err, "err\n")
	h.gone()
}

// Nothing but its three streams reaches a container.
func TestNoDescriptorsLeak(t *testing.T) {
	h := newHost(t)
	o := h.foreground(program{exec: []string{"/bin/ls", "/proc/self/fd"}}, Container{LogDir: h.data}, nil)
	equal(t, "descriptors", o.out, "0\n1\n2\n3\n") // 3 is the directory itself
}

func TestFailures(t *testing.T) {
	t.Run("exec", func(t *testing.T) {
		h := newHost(t)
		undone := h.data + "/undone"
		kept := h.data + "/kept"
		for _, f := range []string{undone, kept} {
			if err := os.WriteFile(f, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := h.start(program{exec: []string{"/bin/missing"}, undo: undone}, Container{ExitDir: h.data, Remove: []string{kept}, RemoveAtEnd: true})
		var f *Failure
		if !errors.As(err, &f) || f.Errno != unix.ENOENT || !f.Exec || f.Step != 2 {
			t.Fatalf("got %+v", err)
		}
		h.gone()
		if _, err := os.Stat(undone); err == nil {
			t.Error("the plan was not undone")
		}
		if _, err := os.Stat(kept); err != nil {
			t.Error("removed though the container never ended")
		}
		equal(t, "exit file", h.read("exit"), "")
	})
	t.Run("inputs", func(t *testing.T) {
		h := newHost(t)
		m, err := Spawn(h.state)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if _, err := m.Start(Container{Process: Process{Plan: program{extra: []string{"root"}}.plan()}}); err == nil {
			t.Fatal("started without an input")
		}
	})
	t.Run("log", func(t *testing.T) {
		h := newHost(t)
		_, err := h.start(program{script: "true"}, Container{LogDir: h.data + "/missing"})
		var f *Failure
		if !errors.As(err, &f) || f.Errno != unix.ENOENT || f.Step != -1 || !strings.Contains(f.Error(), "open log in "+h.data) {
			t.Fatalf("got %+v", err)
		}
		h.gone()
	})
}

func TestRemoveOnFailure(t *testing.T) {
	h := newHost(t)
	_, err := h.start(program{exec: []string{"/bin/missing"}}, Container{Remove: []string{h.data}, RemoveOnFailure: true})
	if err == nil {
		t.Fatal("no error")
	}
	h.gone()
	if _, err := os.Stat(h.data); err == nil {
		t.Error("not removed")
	}
}

func TestClocks(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{script: "true", undo: h.data + "/u"}, Container{Process: Process{Timed: true}})
	s.Close()
	h.monitor.Wait()
	if len(s.Clocks) != 3 || s.Clocks[0] != 0 || s.Clocks[1] == 0 || s.Clocks[2] < s.Clocks[1] {
		t.Errorf("clocks %v", s.Clocks)
	}
}

// More inputs than one message carries.
func TestManyInputs(t *testing.T) {
	h := newHost(t)
	p := program{script: "echo ran"}
	for i := range 700 {
		p.extra = append(p.extra, "mount "+strings.Repeat("x", i))
	}
	equal(t, "stdout", h.foreground(p, Container{}, nil).out, "ran\n")
	h.gone()
}
