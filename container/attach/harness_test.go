package attach

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minict/internal/flock"
	"minict/runtime/plan"
)

// host is where a test's container lives.
type host struct {
	t                *testing.T
	state, run, data string
	monitor          *Monitor
}

func newHost(t *testing.T) *host {
	t.Helper()
	top := t.TempDir()
	h := &host{t: t, state: top + "/state", run: top + "/state/containers/c0ffee", data: top + "/data"}
	for _, dir := range []string{h.run, h.data} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// program is a plan, written by hand, that runs a shell script.
type program struct {
	script   string
	flags    uint64 // CLONE_*
	terminal bool
	death    bool     // the child dies with the monitor
	init     bool     // run it under the init
	exec     []string // instead of the shell
	undo     string   // file that Undo removes
	extra    []string // further inputs
}

func (p program) plan() *plan.Plan {
	var b plan.Builder
	var std [3]plan.Slot
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		std[i] = b.Input(name)
	}
	console, init := plan.NoSlot, plan.NoSlot
	if p.terminal {
		console = b.Input("console")
	}
	for _, name := range p.extra {
		b.Input(name)
	}
	if p.init {
		init = b.Input("init")
	}
	if p.undo != "" {
		b.Step(plan.Step{Phase: plan.Undo, Verb: "remove", Object: p.undo})
		at := unix.AT_FDCWD
		b.Call(unix.SYS_UNLINKAT, plan.Int(at), b.Str(p.undo), plan.Int(0))
	}
	b.Step(plan.Step{Phase: plan.Child, Verb: "begin"})
	b.Call(unix.SYS_SETSID)
	if p.terminal {
		std = terminal(&b, console)
	}
	for i, s := range std {
		b.Call(unix.SYS_DUP3, s.Value(), plan.Int(i), plan.Int(0))
	}
	if p.terminal {
		b.Call(unix.SYS_IOCTL, plan.Int(0), plan.Int(unix.TIOCSCTTY), plan.Int(0))
	}
	if p.death {
		b.Call(unix.SYS_PRCTL, plan.Int(unix.PR_SET_PDEATHSIG), plan.Int(unix.SIGKILL))
	}
	b.Call(unix.SYS_CLOSE_RANGE, plan.Int(3), plan.Int(^uint32(0)), plan.Int(unix.CLOSE_RANGE_CLOEXEC))
	b.Call(unix.SYS_RT_SIGPROCMASK, plan.Int(unix.SIG_SETMASK), b.Data(make([]byte, 8)), plan.Int(0), plan.Int(8))
	argv := p.exec
	if argv == nil {
		argv = []string{"/bin/sh", "-c", p.script}
	}
	env := b.Strs([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"})
	b.Step(plan.Step{Phase: plan.Child, Verb: "exec", Object: argv[0]})
	if p.init {
		b.Call(unix.SYS_EXECVEAT, init.Value(), b.Str(""), b.Strs(append([]string{"minict-init", "--"}, argv...)), env, plan.Int(unix.AT_EMPTY_PATH))
	} else {
		b.Call(unix.SYS_EXECVE, b.Str(argv[0]), b.Strs(argv), env)
	}
	return b.Plan(p.flags, plan.NoSlot)
}

// terminal opens a terminal of the host's and sends its master side.
func terminal(b *plan.Builder, console plan.Slot) (std [3]plan.Slot) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	at := unix.AT_FDCWD
	master, slave := b.Slot(), b.Slot()
	control := unix.UnixRights(0)
	cmsg := b.Data(control)
	message := b.Words(plan.Int(0), plan.Int(0), b.Words(b.Data([]byte{0}), plan.Int(1)), plan.Int(1), cmsg, plan.Int(len(control)), plan.Int(0))
	b.Call(unix.SYS_OPENAT, plan.Int(at), b.Str("/dev/ptmx"), plan.Int(flags)).Into(master).StoreAt(cmsg.At(unix.CmsgLen(0)))
	b.Call(unix.SYS_IOCTL, master.Value(), plan.Int(unix.TIOCSPTLCK), b.Data(make([]byte, 4)))
	b.Call(unix.SYS_IOCTL, master.Value(), plan.Int(unix.TIOCGPTPEER), plan.Int(flags)).Into(slave)
	b.Call(unix.SYS_SENDMSG, console.Value(), message, plan.Int(unix.MSG_NOSIGNAL))
	return [3]plan.Slot{slave, slave, slave}
}

// start starts a container; c says what is special about it.
func (h *host) start(p program, c Container) (*Session, error) {
	h.t.Helper()
	m, err := Spawn(h.state)
	if err != nil {
		h.t.Fatal(err)
	}
	h.monitor = m
	lock, err := flock.Lock(context.Background(), h.run+"/lock", flock.Exclusive)
	if err != nil {
		h.t.Fatal(err)
	}
	defer lock.Close()
	defer m.Close()
	c.Plan, c.Lock, c.RunDir, c.Terminal = p.plan(), lock, h.run, p.terminal
	if p.init {
		c.Inputs = map[string]*os.File{"init": m.Program}
	}
	for _, name := range p.extra {
		if c.Inputs == nil {
			c.Inputs = make(map[string]*os.File)
		}
		c.Inputs[name] = m.Program
	}
	return m.Start(c)
}

func (h *host) mustStart(p program, c Container) *Session {
	h.t.Helper()
	s, err := h.start(p, c)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { // whatever the test did: nothing stays
		unix.Kill(s.Pid, unix.SIGKILL)
		h.monitor.Wait()
	})
	return s
}

// output is what a program wrote, and how it ended.
type output struct {
	Exit
	out, err string
}

// foreground starts a container in the foreground and waits for its end.
func (h *host) foreground(p program, c Container, in io.Reader) output {
	h.t.Helper()
	c.Output = true
	s := h.mustStart(p, c)
	return relayed(h.t, s, in)
}

// relayed relays a session to its end.
func relayed(t *testing.T, s *Session, in io.Reader) output {
	t.Helper()
	var o output
	st := Streams{}
	outR, outW := mustPipe(t)
	errR, errW := mustPipe(t)
	st.Out, st.Err = outW, errW
	if in != nil {
		r, w := mustPipe(t)
		st.In = r
		go func() {
			io.Copy(w, in)
			w.Close()
		}()
	}
	out, errs := slurp(outR), slurp(errR)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	exit, err := s.Relay(ctx, st)
	outW.Close()
	errW.Close()
	o.Exit, o.out, o.err = exit, <-out, <-errs
	if err != nil {
		t.Fatalf("relay: %v; stderr %q", err, o.err)
	}
	return o
}

func slurp(r *os.File) <-chan string {
	c := make(chan string, 1)
	go func() {
		var b bytes.Buffer
		io.Copy(&b, r)
		c <- b.String()
	}()
	return c
}

func mustPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// gone checks that a container has left nothing in its run directory's place.
func (h *host) gone() {
	h.t.Helper()
	if err := h.monitor.Wait(); err != nil {
		h.t.Errorf("wait for the monitor: %v", err)
	}
	if left, _ := filepath.Glob(h.run + "*"); len(left) > 0 {
		h.t.Errorf("left behind: %v", left)
	}
}

func (h *host) read(name string) string {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.data, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Fatal(err)
	}
	return string(data)
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func contains(t *testing.T, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%q is not in %q", part, text)
	}
}

// readable says whether a descriptor becomes readable within some time.
func readable(fd, milliseconds int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, milliseconds)
		if err != unix.EINTR {
			return n == 1
		}
	}
}
