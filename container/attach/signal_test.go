package attach

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"minict/internal/flock"
)

// The kernel drops what PID 1 has no handler for; an interrupt must not be.
func TestInterrupt(t *testing.T) {
	tests := []struct {
		name, script string
		flags        uint64
		signal       unix.Signal
		code         int
	}{
		{"PID 1 without a handler", "echo up; read a", unix.CLONE_NEWPID, unix.SIGTERM, 143},
		{"PID 1 with a handler", "trap 'exit 3' TERM; echo up; while :; do read a; done", unix.CLONE_NEWPID, unix.SIGTERM, 3},
		{"PID 1 that ignores it", "trap '' TERM; trap 'exit 4' INT; echo up; kill -TERM 1; while :; do read a; done", unix.CLONE_NEWPID, unix.SIGINT, 4},
		{"no PID 1", "echo up; read a", 0, unix.SIGINT, 130},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			c := Container{Process: Process{Output: true, Stdin: true}, ExitDir: h.data}
			s := h.mustStart(program{script: tt.script, flags: tt.flags}, c)
			r, w := mustPipe(t)
			go func() {
				var b [3]byte
				r.Read(b[:])
				s.Interrupt(unix.SIGWINCH) // ends nothing
				s.Interrupt(tt.signal)
			}()
			exit, err := s.Relay(context.Background(), Streams{Out: w})
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "code", exit.Code, tt.code)
			h.gone()
			contains(t, h.read("exit"), `{"status":`+strconv.Itoa(tt.code)+`,`)
		})
	}
}

// The monitor tells the container to end when it is told to.
func TestTerminatedMonitor(t *testing.T) {
	tests := []struct {
		name, script string
		c            Container
		times, code  int
	}{
		{"stop signal", "trap 'exit 5' USR1; echo up; while :; do sleep 0.01; done", Container{StopSignal: unix.SIGUSR1, StopTimeout: 10000}, 1, 5},
		{"time-out", "trap '' TERM; echo up; while :; do sleep 0.01; done", Container{StopSignal: unix.SIGTERM, StopTimeout: 50}, 1, 137},
		{"at once", "trap '' TERM; echo up; while :; do sleep 0.01; done", Container{}, 1, 137},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			tt.c.ExitDir = h.data
			tt.c.Output = true
			s := h.mustStart(program{script: tt.script}, tt.c)
			r, w := mustPipe(t)
			go func() {
				var b [3]byte
				r.Read(b[:])
				for _, harmless := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGPIPE, unix.SIGALRM} {
					unix.Kill(h.monitor.pid, harmless)
				}
				for range tt.times {
					unix.Kill(h.monitor.pid, unix.SIGTERM)
				}
			}()
			exit, err := s.Relay(context.Background(), Streams{Out: w})
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "code", exit.Code, tt.code)
			h.gone()
			contains(t, h.read("exit"), `{"status":`+strconv.Itoa(tt.code)+`,`)
		})
	}
}

// The container dies with a monitor that is killed, and who is attached hears
// of it. What the monitor would have cleaned up is there, and nobody's.
func TestKilledMonitor(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{script: "exec sleep 1000", death: true}, Container{Process: Process{Output: true}})
	pidfd, err := unix.PidfdOpen(s.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	unix.Kill(h.monitor.pid, unix.SIGKILL)
	if _, err := s.Relay(context.Background(), Streams{}); err != ErrGone {
		t.Errorf("got %v", err)
	}
	if !readable(pidfd, 10000) {
		t.Error("the container lives")
	}
	h.monitor.Wait()
	lock, err := flock.TryLock(h.run+"/lock", flock.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
}

// TestMain lets this program be a command that starts a container and waits
// until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("MINICT_TEST_COMMAND"); dir != "" {
		t := &testing.T{}
		h := &host{t: t, state: dir + "/state", run: dir + "/state/containers/c0ffee", data: dir + "/data"}
		s, err := h.start(program{script: "echo up; sleep 0.3; echo later; exit 5"}, Container{Process: Process{Output: true}, LogDir: h.data, ExitDir: h.data})
		if err != nil {
			panic(err)
		}
		s.Relay(context.Background(), Streams{Out: os.Stdout})
		panic("not killed")
	}
	os.Exit(m.Run())
}

// The container goes on when the command that started it is killed.
func TestKilledCommand(t *testing.T) {
	h := newHost(t)
	c := exec.Command(os.Args[0])
	c.Env = []string{"MINICT_TEST_COMMAND=" + strings.TrimSuffix(h.data, "/data"), "SECRET=x"}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var b [3]byte
	out.Read(b[:])
	c.Process.Kill()
	c.Wait()
	s := h.look(Wishes{Output: true})
	o := relayed(t, s, nil)
	equal(t, "code", o.Code, 5)
	equal(t, "output", o.out, "later\n")
	contains(t, h.read("log"), "stdout F later\n")
	contains(t, h.read("exit"), `{"status":5,`)
}
