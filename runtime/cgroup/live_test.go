package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

func TestKillForkBomb(t *testing.T) {
	everywhere(t, Pids, func(t *testing.T, l Layout) {
		r := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(150))}}
		x := start(t, l, r, "bomb", "first").ready()
		for n := 0; n < 20; { // let it grow
			pids, err := x.Processes()
			if err != nil {
				t.Fatal(err)
			}
			n = len(pids)
		}
		if err := x.Kill(soon(t)); err != nil {
			t.Fatal(err)
		}
		if left, err := x.Processes(); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}

// Nobody is hurt by the others' making of the group above, which the first
// one makes for all.
func TestManyAtOnce(t *testing.T) {
	everywhere(t, CPUSet|Pids, func(t *testing.T, l Layout) {
		above := filepath.Dir(testPath(t, l))
		r := &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0"}, Pids: &specs.LinuxPids{Limit: ptr(int64(5))}}
		errs := make(chan error)
		const many = 20
		for i := range many {
			go func() { errs <- makeAndRemove(l, fmt.Sprintf("%s/%d", above, i), r) }()
		}
		for range many {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

func makeAndRemove(l Layout, path string, r *specs.LinuxResources) error {
	var b plan.Builder
	if _, err := l.Plan(&b, path, r, Options{}); err != nil {
		return err
	}
	p := b.Plan(0, plan.NoSlot)
	prog, err := launch.New(p.Ready(), nil, false)
	if err != nil {
		return err
	}
	defer prog.Close()
	for _, phase := range []plan.Phase{plan.Host, plan.Undo} {
		if err := prog.Run(phase); err != nil {
			return describe(p, err)
		}
	}
	return nil
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
