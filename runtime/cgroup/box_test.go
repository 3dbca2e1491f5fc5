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
	case "bomb": // as many as it gets, each of which does the same
		self, _ := os.Executable()
		if len(args) > 0 {
			fmt.Println("ready")
		}
		go func() {
			for {
				p, err := os.StartProcess(self, []string{self}, &os.ProcAttr{
					Env: []string{"CGROUP_TEST_ROLE=bomb", "GOMAXPROCS=1"}, Files: []*os.File{os.Stdin}})
				if err == nil {
					_ = p.Release()
				}
			}
		}()
		_, _ = os.Stdin.Read(make([]byte, 1))
		return 0
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
	joined, err := l.Plan(&b, path, r, Options{})
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
	prog, err := launch.New(p.Ready(), []int{int(inR.Fd()), int(outW.Fd())}, false)
	if err != nil {
		t.Fatal(err)
	}
	x := &box{t: t, layout: l, path: path, program: prog, in: inW, out: outR}
	t.Cleanup(x.cleanup)
	if err := prog.Run(plan.Host); err != nil {
		return nil, describe(p, err)
	}
	child, err := prog.Start(nil)
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
