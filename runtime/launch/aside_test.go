package launch

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// What a process aside opens is the launcher's, and what it becomes is its own.
func TestAside(t *testing.T) {
	here, err := os.Readlink("/proc/self/ns/uts")
	if err != nil {
		t.Fatal(err)
	}
	for range 50 { // the runtime's threads go on meanwhile
		var b plan.Builder
		slot := b.Slot()
		b.Step(plan.Step{Phase: plan.Child, Verb: "leave"})
		b.Call(unix.SYS_UNSHARE, plan.Int(unix.CLONE_NEWUTS))
		b.Call(unix.SYS_OPENAT, plan.Int(unix.AT_FDCWD), b.Str("/proc/self/ns/uts"), plan.Int(unix.O_RDONLY|unix.O_CLOEXEC)).Into(slot)
		a, err := GoAside(b.Plan(0, plan.NoSlot).Ready())
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		fd, err := a.Wait(slot)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "namespace")
		there, err := os.Readlink("/proc/self/fd/" + strconv.FormatUint(fd, 10))
		f.Close()
		if err != nil || there == here {
			t.Fatalf("%s is the launcher's own: %v", there, err)
		}
	}
	if after, err := os.Readlink("/proc/self/ns/uts"); err != nil || after != here {
		t.Errorf("the launcher is in %s now, it was %s: %v", after, here, err)
	}
}

func TestAsideFails(t *testing.T) {
	for name, step := range map[string]func(*plan.Builder){
		"a step": func(b *plan.Builder) { b.Call(unix.SYS_CHDIR, b.Str("/nowhere")) },
		"killed": func(b *plan.Builder) {
			pid := b.Slot()
			b.Call(unix.SYS_GETPID).Into(pid)
			b.Call(unix.SYS_KILL, pid.Value(), plan.Int(unix.SIGKILL))
		},
	} {
		var b plan.Builder
		result := b.Slot()
		b.Step(plan.Step{Phase: plan.Child, Verb: "first"})
		b.Call(unix.SYS_GETPID).Into(result)
		b.Step(plan.Step{Phase: plan.Child, Verb: "second"})
		step(&b)
		a, err := GoAside(b.Plan(0, plan.NoSlot).Ready())
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Wait(result)
		var f *Failure
		if !errors.As(err, &f) || name == "a step" && (f.Step != 1 || f.Errno != unix.ENOENT) || name == "killed" && f.Errno != 0 {
			t.Errorf("%s: got %+v", name, err)
		}
	}
}
