package attach

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func (h *host) exec(p program, c Process, in string) output {
	h.t.Helper()
	c.Plan, c.Output, c.Terminal = p.plan(), true, p.terminal
	s, err := Exec(h.run, c)
	if err != nil {
		h.t.Fatal(err)
	}
	if c.Stdin {
		return relayed(h.t, s, strings.NewReader(in))
	}
	return relayed(h.t, s, nil)
}

func TestExec(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{script: "exec sleep 1000"}, Container{LogDir: h.data})
	s.Close()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			in := fmt.Sprintf("input %d\n", i)
			o := h.exec(program{script: fmt.Sprintf("cat; echo err >&2; exit %d", i)}, Process{Stdin: true, StdinOnce: true}, in)
			if o.Code != i || o.out != in || o.err != "err\n" {
				t.Errorf("%d: got %+v", i, o)
			}
		})
	}
	all.Wait()
	o := h.exec(program{script: "tty; exit 9", terminal: true}, Process{}, "")
	equal(t, "code", o.Code, 9)
	contains(t, o.out, "/dev/pts/")
	equal(t, "log", h.read("log"), "")
}

func TestExecFailure(t *testing.T) {
	h := newHost(t)
	h.mustStart(program{script: "exec sleep 1000"}, Container{})
	undone := h.data + "/undone"
	if err := os.WriteFile(undone, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Exec(h.run, Process{Plan: program{exec: []string{"/bin/missing"}, undo: undone}.plan()})
	var f *Failure
	if !errors.As(err, &f) || f.Errno != unix.ENOENT || !f.Exec {
		t.Fatalf("got %+v", err)
	}
	if _, err := os.Stat(undone); err == nil {
		t.Error("the plan was not undone")
	}
}

// The end of a process is the end, though others have its output open still.
func TestBackgroundChild(t *testing.T) {
	h := newHost(t)
	h.mustStart(program{script: "exec sleep 1000"}, Container{})
	began := time.Now()
	o := h.exec(program{script: "echo before; sleep 3 & exit 4"}, Process{}, "")
	equal(t, "code", o.Code, 4)
	equal(t, "stdout", o.out, "before\n")
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	// The same for a container without a PID namespace of its own.
	h2 := newHost(t)
	o = h2.foreground(program{script: "echo main; sleep 3 & exit 6"}, Container{}, nil)
	equal(t, "code", o.Code, 6)
	equal(t, "stdout", o.out, "main\n")
}

// Without a PID namespace of its own, the cgroup says who goes with the first
// process.
func TestCgroupIsKilled(t *testing.T) {
	h := newHost(t)
	script := "sleep 1000 & echo $! | tee " + h.data + "/cgroup.procs"
	o := h.foreground(program{script: script}, Container{Cgroup: h.data}, nil)
	pid, err := strconv.Atoi(strings.TrimSpace(o.out))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it is gone already
	}
	defer unix.Close(fd)
	if !readable(fd, 5000) {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		t.Error("its child lives")
	}
}

// A child in the background that never stops writing does not hold it either.
func TestNoisyChild(t *testing.T) {
	h := newHost(t)
	h.mustStart(program{script: "exec sleep 1000"}, Container{})
	began := time.Now()
	equal(t, "code", h.exec(program{script: "timeout 4 yes & sleep 0.1; exit 4"}, Process{}, "").Code, 4)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

// The container's end is the end of what else was started in it.
func TestExecEndsWithContainer(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{script: "read a; exit 0"}, Container{Process: Process{Output: true, Stdin: true, StdinOnce: true}})
	p := Process{Plan: program{script: "echo begun; exec sleep 1000"}.plan(), Output: true}
	e, err := Exec(h.run, p)
	if err != nil {
		t.Fatal(err)
	}
	if msg, err := e.receive(); err != nil || string(msg[1:]) != "begun\n" {
		t.Fatalf("got %q, %v", msg, err)
	}
	equal(t, "main", relayed(t, s, strings.NewReader("x\n")).Code, 0)
	equal(t, "exec", relayed(t, e, nil).Signal, unix.SIGKILL)
	h.gone()
}

// An exec whose command is gone goes on, and nobody waits for its output.
func TestExecWithoutReader(t *testing.T) {
	h := newHost(t)
	h.mustStart(program{script: "exec sleep 1000"}, Container{})
	mark := h.data + "/mark"
	e, err := Exec(h.run, Process{Plan: program{script: "head -c 1000000 /dev/zero; echo done >" + mark}.plan(), Output: true})
	if err != nil {
		t.Fatal(err)
	}
	pid := e.Pid
	e.Close()
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		readable(fd, 10000)
		unix.Close(fd)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Error(err)
	}
}
