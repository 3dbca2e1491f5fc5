package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/launch"
	"minict/runtime/plan"
)

// The test program is its own payload: it needs nothing on the machine.
func TestMain(m *testing.M) {
	if role := os.Getenv("CGROUP_TEST_ROLE"); role != "" {
		os.Exit(payload(role, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// payload says "ready" and then does what its role is. It ends at the latest
// when its standard input does.
func payload(role string, args []string) int {
	switch role {
	case "wait":
	case "eat": // bytes of memory
		n, _ := strconv.Atoi(args[0])
		mem := make([]byte, n)
		for i := 0; i < n; i += 4096 {
			mem[i] = 1
		}
		runtime.KeepAlive(mem)
	case "fork": // how many children it wants
		n, _ := strconv.Atoi(args[0])
		self, _ := os.Executable()
		for i := range n {
			_, err := os.StartProcess(self, []string{self}, &os.ProcAttr{
				Env: []string{"CGROUP_TEST_ROLE=wait"}, Files: []*os.File{os.Stdin}})
			if err != nil {
				fmt.Println("forked", i, err)
				return 1
			}
		}
	case "later": // open a file, with flags, when it is told to
		fmt.Println("ready")
		if n, err := os.Stdin.Read(make([]byte, 1)); n == 0 || err != nil {
			return 0
		}
		flags, _ := strconv.Atoi(args[1])
		fd, err := unix.Open(args[0], flags, 0)
		fmt.Println("opened", fd >= 0, err)
	case "spin":
		end := time.Now().Add(300 * time.Millisecond)
		for time.Now().Before(end) {
		}
	}
	fmt.Println("ready")
	var b [1]byte
	for {
		if n, err := os.Stdin.Read(b[:]); n == 0 || err != nil {
			return 0
		}
	}
}

// layouts are the ways in which this machine's groups can be used: with all
// that is mounted, and with one version alone.
func layouts(t *testing.T) map[string]Layout {
	t.Helper()
	l, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	if len(l.V1) == 0 {
		return map[string]Layout{"v2": l}
	}
	all := map[string]Layout{"hybrid": l, "v1": {V1: l.V1}}
	if l.Unified != "" {
		all["v2 without controllers"] = Layout{Unified: l.Unified}
	}
	return all
}

// everywhere runs a test with each layout that has the controllers.
func everywhere(t *testing.T, need Set, test func(*testing.T, Layout)) {
	ran := false
	for name, l := range layouts(t) {
		usable := true
		for s := Set(1); s != 0 && s <= need; s <<= 1 {
			if _, _, ok := l.on(s); need&s != 0 && !ok {
				usable = false
			}
		}
		if usable {
			ran = true
			t.Run(name, func(t *testing.T) { test(t, l) })
		}
	}
	if !ran {
		t.Fatalf("no layout of this machine has %v", need)
	}
}

// box is a payload in its group.
type box struct {
	*Cgroup
	t       *testing.T
	layout  Layout
	path    string
	pid     int
	pidfd   int
	program *launch.Program
	in, out *os.File
}

// testPath gives a group that does not exist. The one above it is removed when
// the test ends.
func testPath(t *testing.T, l Layout) string {
	above := fmt.Sprintf("/minict-test-%08x", rand.Uint32())
	t.Cleanup(func() {
		for _, m := range l.mounts() {
			if err := os.Remove(m.mount + above); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		}
	})
	return above + "/c"
}

// start carries out a plan for a payload, and waits until it is ready or dead.
func start(t *testing.T, l Layout, r *specs.LinuxResources, role string, args ...string) *box {
	t.Helper()
	b, err := tryStart(t, l, testPath(t, l), r, role, args...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func tryStart(t *testing.T, l Layout, path string, r *specs.LinuxResources, role string, args ...string) (*box, error) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var b plan.Builder
	in, out := b.Input("in"), b.Input("out")
	joined, err := l.Plan(&b, path, r, 0)
	if err != nil {
		return nil, err
	}
	joined.Join(&b)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b.Step(plan.Step{Phase: plan.Child, Verb: "exec", Object: role})
	b.Call(unix.SYS_DUP3, in.Value(), plan.Int(0), plan.Int(0))
	b.Call(unix.SYS_DUP3, out.Value(), plan.Int(1), plan.Int(0))
	b.Call(unix.SYS_DUP3, out.Value(), plan.Int(2), plan.Int(0))
	b.Call(unix.SYS_EXECVE, b.Str(self), b.Strs(append([]string{self}, args...)),
		b.Strs([]string{"CGROUP_TEST_ROLE=" + role, "GOGC=off", "GOMAXPROCS=1"}))
	return launchBox(t, l, path, b.Plan(0, joined.Slot))
}

func launchBox(t *testing.T, l Layout, path string, p *plan.Plan) (*box, error) {
	t.Helper()
	inR, inW, err1 := os.Pipe()
	outR, outW, err2 := os.Pipe()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	defer inR.Close()
	defer outW.Close()
	prog, err := launch.New(p.Encode(), []int{int(inR.Fd()), int(outW.Fd())}, false)
	if err != nil {
		t.Fatal(err)
	}
	x := &box{t: t, layout: l, path: path, program: prog, in: inW, out: outR}
	t.Cleanup(x.cleanup)
	if err := prog.Run(plan.Host); err != nil {
		return nil, describe(p, err)
	}
	child, err := prog.Start()
	if err != nil {
		return nil, describe(p, err)
	}
	x.pid, x.pidfd = child.Pid, child.Pidfd
	outW.Close()
	if x.Cgroup, err = Open(l, path); err != nil {
		t.Fatal(err)
	}
	return x, nil
}

func describe(p *plan.Plan, err error) error {
	var f *launch.Failure
	if errors.As(err, &f) {
		return fmt.Errorf("%s %s (%s): %w", p.Steps[f.Step].Verb, p.Steps[f.Step].Object, p.Steps[f.Step].Detail, f.Errno)
	}
	return err
}

// says reads what the payload says up to "ready" or its end.
func (x *box) says() string {
	x.t.Helper()
	var said []byte
	buf := make([]byte, 1000)
	if err := x.out.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		x.t.Fatal(err)
	}
	for !bytes.HasSuffix(said, []byte("ready\n")) {
		n, err := x.out.Read(buf)
		if n == 0 || err != nil {
			break
		}
		said = append(said, buf[:n]...)
	}
	return string(said)
}

func (x *box) ready() *box {
	x.t.Helper()
	if said := x.says(); said != "ready\n" {
		x.t.Fatalf("the payload says %q", said)
	}
	return x
}

// wait reaps the payload.
func (x *box) wait() unix.WaitStatus {
	x.t.Helper()
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(x.pid, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			x.t.Fatal(err)
		}
		x.pid = 0
		unix.Close(x.pidfd)
		return status
	}
}

func (x *box) cleanup() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if x.Cgroup != nil {
		if err := x.Kill(ctx); err != nil {
			x.t.Error(err)
		}
		if x.pid != 0 {
			x.wait()
		}
		if err := x.Remove(ctx); err != nil {
			x.t.Error(err)
		}
		x.Cgroup.Close()
	}
	x.in.Close()
	x.out.Close()
	if err := x.program.Run(plan.Undo); err != nil {
		x.t.Error(err)
	}
	x.program.Close()
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// content reads a file of the group, wherever its controller is.
func (x *box) content(set Set, file string) string {
	x.t.Helper()
	d, ok := x.find(set)
	if !ok {
		x.t.Fatalf("not in a hierarchy of %v", set)
	}
	data, err := readFile(d.f, file)
	if err != nil {
		x.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// v2 says of which version the controller is.
func (x *box) v2(set Set) bool {
	_, v2, _ := x.layout.on(set)
	return v2
}

func (x *box) expect(set Set, file1, want1, file2, want2 string) {
	x.t.Helper()
	file, want := file1, want1
	if x.v2(set) {
		file, want = file2, want2
	}
	if got := x.content(set, file); got != want {
		x.t.Errorf("%s is %q, want %q", file, got, want)
	}
}

func TestProcessIsInItsGroups(t *testing.T) {
	everywhere(t, 0, func(t *testing.T, l Layout) {
		x := start(t, l, nil, "wait").ready()
		pids, err := x.Processes()
		if err != nil || !slices.Equal(pids, []int{x.pid}) {
			t.Fatalf("processes %v, %v; want %d", pids, err, x.pid)
		}
		own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", x.pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range x.dirs {
			listed, err := d.procs(d.f)
			if err != nil || !slices.Equal(listed, []int{x.pid}) {
				t.Errorf("%s has %v, %v; /proc says\n%s", d.mount, listed, err, own)
			}
		}
	})
}

func TestEnter(t *testing.T) {
	everywhere(t, 0, func(t *testing.T, l Layout) {
		x := start(t, l, nil, "wait").ready()
		var b plan.Builder
		b.Input("in")
		b.Input("out")
		joined, err := l.Enter(&b, x.path)
		if err != nil {
			t.Fatal(err)
		}
		joined.Join(&b)
		b.Step(plan.Step{Phase: plan.Child, Verb: "exec"})
		self, _ := os.Executable()
		b.Call(unix.SYS_DUP3, plan.Slot(0).Value(), plan.Int(0), plan.Int(0))
		b.Call(unix.SYS_DUP3, plan.Slot(1).Value(), plan.Int(1), plan.Int(0))
		b.Call(unix.SYS_EXECVE, b.Str(self), b.Strs([]string{self}), b.Strs([]string{"CGROUP_TEST_ROLE=wait"}))
		y, err := launchBox(t, l, x.path, b.Plan(0, joined.Slot))
		if err != nil {
			t.Fatal(err)
		}
		y.ready()
		for _, d := range x.dirs {
			if listed, err := d.procs(d.f); err != nil || len(listed) != 2 {
				t.Errorf("%s has %v, %v; want %d and %d", d.mount, listed, err, x.pid, y.pid)
			}
		}
		if _, err := l.Enter(&b, x.path+"-no"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("entered what does not exist: %v", err)
		}
	})
}

// A group that exists is another's: it is neither used nor removed.
func TestExistingGroupIsRefused(t *testing.T) {
	everywhere(t, 0, func(t *testing.T, l Layout) {
		x := start(t, l, nil, "wait").ready()
		if _, err := tryStart(t, l, x.path, nil, "wait"); !errors.Is(err, unix.EEXIST) {
			t.Fatalf("got %v", err)
		}
		if pids, err := x.Processes(); err != nil || len(pids) != 1 {
			t.Errorf("the first is no longer whole: %v, %v", pids, err)
		}
		empty := testPath(t, l)
		for _, m := range l.mounts() {
			if err := os.MkdirAll(m.mount+empty, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tryStart(t, l, empty, nil, "wait"); !errors.Is(err, unix.EEXIST) {
			t.Errorf("an empty one: got %v", err)
		}
		for _, m := range l.mounts() {
			if err := os.Remove(m.mount + empty); err != nil {
				t.Errorf("another's group was removed: %v", err)
			}
		}
	})
}

func TestUndoRemoves(t *testing.T) {
	everywhere(t, 0, func(t *testing.T, l Layout) {
		x := start(t, l, nil, "wait").ready()
		if err := x.Kill(soon(t)); err != nil {
			t.Fatal(err)
		}
		x.wait()
		if err := x.program.Run(plan.Undo); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(l, x.path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("still there: %v", err)
		}
	})
}

func TestKillTree(t *testing.T) {
	everywhere(t, 0, func(t *testing.T, l Layout) {
		x := start(t, l, nil, "fork", "10").ready()
		nest(t, x, "a/b/c")
		pids, err := x.Processes()
		if err != nil || len(pids) != 11 {
			t.Fatalf("processes %v, %v", pids, err)
		}
		if err := x.Kill(soon(t)); err != nil {
			t.Fatal(err)
		}
		if left, err := x.Processes(); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
		if status := x.wait(); !status.Signaled() || status.Signal() != unix.SIGKILL {
			t.Errorf("status %v", status)
		}
		if err := x.Kill(soon(t)); err != nil {
			t.Errorf("killing nobody: %v", err)
		}
		if err := x.Remove(soon(t)); err != nil {
			t.Error(err)
		}
		if _, err := Open(l, x.path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("still there: %v", err)
		}
		if err := x.Remove(soon(t)); err != nil {
			t.Errorf("removing nothing: %v", err)
		}
	})
}

// nest makes groups below x, as a container may, and moves one of its
// processes into the deepest.
func nest(t *testing.T, x *box, below string) {
	t.Helper()
	pids, err := x.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range x.dirs {
		dir := d.mount + x.path + "/" + below
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		err := os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(pids[len(pids)-1])), 0)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemoveWaits(t *testing.T) {
	everywhere(t, 0, func(t *testing.T, l Layout) {
		x := start(t, l, nil, "wait").ready()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := x.Remove(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("removed with a process inside: %v", err)
		}
		done := make(chan error)
		go func() { done <- x.Remove(soon(t)) }()
		x.in.Close() // it ends by itself
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestRemoveDeep(t *testing.T) {
	everywhere(t, 0, func(t *testing.T, l Layout) {
		x := start(t, l, nil, "wait").ready()
		for _, d := range x.dirs {
			deep := d.mount + x.path + strings.Repeat("/x", 300)
			wide := d.mount + x.path + "/y/z"
			if err := errors.Join(os.MkdirAll(deep, 0o755), os.MkdirAll(wide, 0o755)); err != nil {
				t.Fatal(err)
			}
			for i := range 200 {
				if err := os.Mkdir(fmt.Sprintf("%s/%d", wide, i), 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := x.Kill(soon(t)); err != nil {
			t.Fatal(err)
		}
		if err := x.Remove(soon(t)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(l, x.path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("still there: %v", err)
		}
	})
}

func TestFreeze(t *testing.T) {
	everywhere(t, Freezer, func(t *testing.T, l Layout) {
		x := start(t, l, nil, "fork", "3").ready()
		for round := range 3 {
			if err := x.Freeze(soon(t)); err != nil {
				t.Fatal(err)
			}
			if frozen, err := x.Frozen(); err != nil || !frozen {
				t.Fatalf("round %d: frozen %v, %v", round, frozen, err)
			}
			if round == 2 {
				break
			}
			if err := x.Thaw(soon(t)); err != nil {
				t.Fatal(err)
			}
			if frozen, err := x.Frozen(); err != nil || frozen {
				t.Fatalf("round %d: frozen %v, %v", round, frozen, err)
			}
		}
		if err := x.Kill(soon(t)); err != nil { // frozen as it is
			t.Fatal(err)
		}
	})
}
