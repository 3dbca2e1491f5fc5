package container

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minict/store"
)

func (m *machine) state(ref string) InspectedState {
	m.t.Helper()
	i, err := m.Inspect(m.t.Context(), ref)
	if err != nil {
		m.t.Fatal(err)
	}
	return i.State
}

// wait waits for the container's end, with a limit that no test should reach.
func (m *machine) wait(ref string) int {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	status, err := m.Wait(ctx, ref)
	if err != nil {
		m.t.Fatal(err)
	}
	return status
}

// exec runs a command in a container and gives its output.
func (m *machine) exec(ref string, o ExecOptions) (out string, exit int, err error) {
	m.t.Helper()
	f, err := os.Create(filepath.Join(m.t.TempDir(), "out"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	o.Streams = &Streams{Out: f, Err: f}
	ended, err := m.Exec(m.t.Context(), ref, &o)
	raw, _ := os.ReadFile(f.Name())
	return string(raw), ended.Exit, err
}

func TestLife(t *testing.T) {
	m := newMachine(t, store.Execution{Env: []string{"PATH=/bin"}})
	id := m.detached(Options{Name: "web", Args: sh("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done")})
	if s := m.state("web"); s.Status != Running || s.Pid == 0 || s.StartedAt.IsZero() {
		t.Fatalf("got %+v", s)
	}
	list, err := m.List(t.Context(), false)
	if err != nil || len(list) != 1 || list[0].ID != id || list[0].State != Running || list[0].Image != "busybox" {
		t.Errorf("got %+v, %v", list, err)
	}
	if err := m.Remove(t.Context(), "web", false, false); !errors.Is(err, ErrRunning) {
		t.Errorf("removed while it runs: %v", err)
	}
	if _, err := m.Start(t.Context(), "web", RunOptions{}); !errors.Is(err, ErrRunning) {
		t.Errorf("started while it runs: %v", err)
	}
	m.awaitLog(id, "up")
	if err := m.Stop(t.Context(), "web", nil); err != nil {
		t.Fatal(err)
	}
	if s := m.state("web"); s.Status != Exited || s.ExitCode != 3 || s.Pid != 0 || s.StartedAt.IsZero() || s.FinishedAt.Before(s.StartedAt) {
		t.Errorf("got %+v", s)
	}
	if status := m.wait("web"); status != 3 {
		t.Errorf("wait: got %d", status)
	}
	var out bytes.Buffer
	if err := m.Logs(t.Context(), "web", LogOptions{Tail: -1}, &out, &out); err != nil || out.String() != "up\nbye\n" {
		t.Errorf("got logs %q, %v", out.String(), err)
	}
	if _, err := m.Start(t.Context(), "web", RunOptions{}); err != nil {
		t.Fatal(err)
	}
	if s := m.state("web"); s.Status != Running {
		t.Errorf("started again: %+v", s)
	}
	if err := m.Remove(t.Context(), "web", true, false); err != nil {
		t.Fatal(err)
	}
	m.checkClean()
}

// awaitLog waits until the log has the text.
func (m *machine) awaitLog(id, text string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	w := &awaitWriter{text: text, found: cancel}
	err := m.Logs(ctx, id, LogOptions{Tail: -1, Follow: true}, w, w)
	if !strings.Contains(w.got.String(), text) {
		m.t.Fatalf("the log has no %q: %q, %v", text, w.got.String(), err)
	}
}

type awaitWriter struct {
	got   bytes.Buffer
	text  string
	found func()
}

func (w *awaitWriter) Write(p []byte) (int, error) {
	w.got.Write(p)
	if strings.Contains(w.got.String(), w.text) {
		w.found()
	}
	return len(p), nil
}

// A first process that does not handle the stop signal never gets it: Stop
// does not wait for what can't come.
func TestStopDoesNotWaitInVain(t *testing.T) {
	m := newMachine(t, store.Execution{})
	id := m.detached(Options{Args: []string{"/bin/sleep", "1000"}})
	begin := time.Now()
	if err := m.Stop(t.Context(), id, nil); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if s := m.state(id); s.ExitCode != 137 {
		t.Errorf("got %+v", s)
	}
}

func TestStopKillsAfterTheTimeout(t *testing.T) {
	m := newMachine(t, store.Execution{Env: []string{"PATH=/bin"}})
	id := m.detached(Options{Args: sh("trap 'echo no' TERM; echo up; while :; do sleep 0.05; done")})
	m.awaitLog(id, "up")
	timeout := 200 * time.Millisecond
	if err := m.Stop(t.Context(), id, &timeout); err != nil {
		t.Fatal(err)
	}
	if s := m.state(id); s.Status != Exited || s.ExitCode != 137 {
		t.Errorf("got %+v", s)
	}
}

func TestKillAndWait(t *testing.T) {
	m := newMachine(t, store.Execution{Env: []string{"PATH=/bin"}})
	id := m.detached(Options{AutoRemove: true, Args: sh("trap 'exit 9' USR1; echo up; while :; do sleep 0.05; done")})
	m.awaitLog(id, "up")
	got := make(chan int, 4)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { got <- m.wait(id) })
	}
	if err := m.Kill(t.Context(), id, "USR1"); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	close(got)
	for status := range got {
		if status != 9 {
			t.Errorf("got %d", status)
		}
	}
	m.checkClean()
}

func TestExec(t *testing.T) {
	m := newMachine(t, store.Execution{Env: []string{"PATH=/bin", "A=image"}, WorkingDir: "/srv"})
	id := m.detached(Options{Args: []string{"/bin/sleep", "1000"}, Env: []string{"B=run"}})
	for _, tt := range []struct {
		name string
		o    ExecOptions
		out  string
		exit int
	}{
		{"sees the first process", ExecOptions{Args: sh("cat /proc/1/comm; pwd; echo $A $B $C"), Env: []string{"C=exec"}}, "sleep\n/srv\nimage run exec\n", 0},
		{"user", ExecOptions{Args: sh("id -u; echo $HOME"), User: "alice"}, "1000\n/home/alice\n", 0},
		{"directory", ExecOptions{Args: []string{"pwd"}, WorkDir: "/etc"}, "/etc\n", 0},
		{"status", ExecOptions{Args: sh("exit 5")}, "", 5},
		{"rights", ExecOptions{Args: sh("grep CapEff /proc/self/status; grep Seccomp: /proc/self/status")}, "CapEff:\t00000000a80425fb\nSeccomp:\t2\n", 0},
		{"cgroup", ExecOptions{Args: sh("cmp /proc/self/cgroup /proc/1/cgroup && echo same")}, "same\n", 0},
	} {
		out, exit, err := m.exec(id, tt.o)
		if err != nil || out != tt.out || exit != tt.exit {
			t.Errorf("%s: got %q, status %d, %v, want %q, %d", tt.name, out, exit, err, tt.out, tt.exit)
		}
	}
	for _, tt := range []struct {
		o    ExecOptions
		kind error
	}{
		{ExecOptions{Args: []string{"missing"}}, ErrNoCommand},
		{ExecOptions{Args: []string{"/bin/notexecutable"}}, ErrNotRunnable},
		{ExecOptions{Args: []string{"true"}, User: "bob"}, ErrInvalid},
		{ExecOptions{}, ErrInvalid},
	} {
		if _, _, err := m.exec(id, tt.o); !errors.Is(err, tt.kind) {
			t.Errorf("%v: got %v, want %v", tt.o.Args, err, tt.kind)
		}
	}
	if err := m.Stop(t.Context(), id, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.exec(id, ExecOptions{Args: []string{"true"}}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

// When the monitor is killed its container goes with it, and the next command
// sees to the rest.
func TestMonitorKilled(t *testing.T) {
	m := newMachine(t, store.Execution{})
	for _, rm := range []bool{false, true} {
		id := m.detached(Options{AutoRemove: rm, Args: []string{"/bin/sleep", "1000"}})
		now, err := m.condition(id)
		if err != nil {
			t.Fatal(err)
		}
		first, err := openProcess(now.living.Pid, now.living.StartTime)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		if err := unix.Kill(now.living.Monitor, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if over, err := waitReadable(t.Context(), first.File, time.Minute); !over || err != nil {
			t.Fatalf("the container lives on: %v", err)
		}
		unix.Wait4(now.living.Monitor, nil, 0, nil)
		list, err := m.List(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		if rm {
			if len(list) != 0 {
				t.Errorf("got %+v", list)
			}
			m.checkClean()
			continue
		}
		if len(list) != 1 || list[0].State != Exited || list[0].ExitCode != lostStatus {
			t.Errorf("got %+v", list)
		}
		if err := m.Remove(t.Context(), id, false, false); err != nil {
			t.Error(err)
		}
	}
}

// A monitor that hangs does not keep its container from being removed.
func TestMonitorStopped(t *testing.T) {
	m := newMachine(t, store.Execution{})
	id := m.detached(Options{Args: []string{"/bin/sleep", "1000"}})
	now, err := m.condition(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(now.living.Monitor, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove(t.Context(), id, true, false); err != nil {
		t.Fatal(err)
	}
	unix.Wait4(now.living.Monitor, nil, 0, nil)
	m.checkClean()
}

func TestPause(t *testing.T) {
	m := newMachine(t, store.Execution{})
	id := m.detached(Options{Args: []string{"/bin/sleep", "1000"}})
	if err := m.Pause(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if s := m.state(id); s.Status != Paused || !s.Paused || !s.Running {
		t.Errorf("got %+v", s)
	}
	if err := m.Pause(t.Context(), id); err == nil {
		t.Error("paused twice")
	}
	if _, _, err := m.exec(id, ExecOptions{Args: []string{"true"}}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("exec: got %v", err)
	}
	if err := m.Unpause(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if s := m.state(id); s.Status != Running {
		t.Errorf("got %+v", s)
	}
	if err := m.Pause(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove(t.Context(), id, true, false); err != nil {
		t.Fatal(err)
	}
	m.checkClean()
}

// A limit of memory ends in a kill that is told as what it was.
func TestOOM(t *testing.T) {
	m := newMachine(t, store.Execution{Env: []string{"PATH=/bin"}})
	id := m.detached(Options{
		Args:      []string{"/bin/sh", "-c", "tail /dev/zero; exit 5"},
		Resources: Resources{Memory: 16 << 20, MemorySwap: 16 << 20},
	})
	m.wait(id)
	if s := m.state(id); s.Status != Exited || !s.OOMKilled {
		t.Errorf("got %+v", s)
	}
}

// A container claims its image and layers as long as it exists.
func TestInUse(t *testing.T) {
	m := newMachine(t, store.Execution{Cmd: []string{"true"}})
	id, err := m.Create(t.Context(), &Options{Networks: on(NetworkNone), Image: "busybox"}, m.find)
	if err != nil {
		t.Fatal(err)
	}
	run := m.detached(Options{AutoRemove: true, Args: []string{"/bin/sleep", "1000"}})
	claims, err := m.InUse()
	if err != nil {
		t.Fatal(err)
	}
	for _, ids := range claims.Images {
		if len(ids) != 2 || len(claims.Images) != 1 || len(claims.Layers) != 2 {
			t.Errorf("got %+v", claims)
		}
	}
	for _, id := range []string{id, run} {
		if err := m.Remove(t.Context(), id, true, true); err != nil {
			t.Fatal(err)
		}
	}
	if claims, err = m.InUse(); err != nil || len(claims.Images) != 0 || len(claims.Layers) != 0 {
		t.Errorf("got %+v, %v", claims, err)
	}
	m.checkClean()
}

func TestForeignPlatform(t *testing.T) {
	m := newMachine(t, store.Execution{Cmd: []string{"true"}})
	find := func(tx *store.Tx) (store.Image, error) {
		img, err := m.find(tx)
		img.Platform.Architecture = "s390x"
		return img, err
	}
	if _, err := m.Create(t.Context(), &Options{Networks: on(NetworkNone), Image: "busybox"}, find); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "linux/s390x") {
		t.Errorf("got %v", err)
	}
	if _, err := m.Create(t.Context(), &Options{Networks: on(NetworkNone), Image: "busybox", Platform: "linux/s390x"}, find); err != nil {
		t.Error(err)
	}
}

func TestExplain(t *testing.T) {
	m := newMachine(t, store.Execution{Cmd: []string{"true"}})
	e, err := m.Explain(t.Context(), &Options{Networks: on(NetworkNone), Image: "busybox"}, m.find)
	if err != nil || e.Plan == nil || len(e.Plan.Steps) < 20 || e.Clocks != nil {
		t.Errorf("got %+v, %v", e, err)
	}
	m.checkClean()
	var timed Explanation
	o := Options{Networks: on(NetworkNone), Image: "busybox", AutoRemove: true}
	_, err = m.Run(t.Context(), &o, m.find, RunOptions{
		Streams: &Streams{}, Timed: true, Explained: func(e Explanation) { timed = e },
	})
	if err != nil || timed.Plan == nil || len(timed.Clocks) == 0 {
		t.Errorf("got %+v, %v", timed, err)
	}
}

// Many at once get in nobody's way, and nothing is left of them.
func TestManyAtOnce(t *testing.T) {
	m := newMachine(t, store.Execution{Cmd: []string{"true"}})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			o := Options{Networks: on(NetworkNone), Image: "busybox", AutoRemove: true}
			if ended, err := m.Run(context.Background(), &o, m.find, RunOptions{Streams: &Streams{}}); err != nil || ended.Exit != 0 {
				t.Errorf("got %+v, %v", ended, err)
			}
		})
	}
	wg.Wait()
	m.checkClean()
}
