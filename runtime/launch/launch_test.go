package launch

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// carryOut runs a plan and waits for the end of its child.
func carryOut(t *testing.T, p *plan.Plan, inputs ...int) (unix.WaitStatus, error) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	prog, err := New(p.Ready(), inputs, true)
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	if err := prog.Run(plan.Host); err != nil {
		return 0, err
	}
	child, err := prog.Start(nil)
	if err != nil {
		return 0, err
	}
	defer unix.Close(child.Pidfd)
	var status unix.WaitStatus
	if _, err := unix.Wait4(child.Pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	for i, began := range prog.Clocks() {
		if p.Steps[i].Phase == plan.Child && began == 0 {
			t.Errorf("step %d has no time", i)
		}
	}
	return status, nil
}

func execve(b *plan.Builder, argv ...string) {
	b.Step(plan.Step{Phase: plan.Child, Verb: "exec", Object: argv[0]})
	b.Call(unix.SYS_EXECVE, b.Str(argv[0]), b.Strs(argv), b.Strs(nil))
}

func TestExitStatus(t *testing.T) {
	for i := range 20 { // the fork must hold whatever the runtime's threads do
		go runtime.GC()
		var b plan.Builder
		execve(&b, "/bin/sh", "-c", "exit 7")
		status, err := carryOut(t, b.Plan(unix.CLONE_NEWPID, plan.NoSlot))
		if err != nil || status.ExitStatus() != 7 {
			t.Fatalf("run %d: status %v, %v", i, status, err)
		}
	}
}

func TestFailureNamesItsStep(t *testing.T) {
	var b plan.Builder
	b.Step(plan.Step{Phase: plan.Child, Verb: "first"})
	b.Call(unix.SYS_GETPID)
	b.Step(plan.Step{Phase: plan.Child, Verb: "chdir"})
	b.Call(unix.SYS_CHDIR, b.Str("/nowhere"))
	execve(&b, "/bin/true")
	_, err := carryOut(t, b.Plan(0, plan.NoSlot))
	var f *Failure
	if !errors.As(err, &f) || f.Step != 1 || f.Errno != unix.ENOENT || f.Exec {
		t.Fatalf("got %+v", err)
	}
}

func TestExecFailure(t *testing.T) {
	var b plan.Builder
	execve(&b, "/bin/missing")
	_, err := carryOut(t, b.Plan(0, plan.NoSlot))
	var f *Failure
	if !errors.As(err, &f) || f.Errno != unix.ENOENT || !f.Exec {
		t.Fatalf("got %+v", err)
	}
}

func TestKilledDuringSetup(t *testing.T) {
	var b plan.Builder
	pid := b.Slot()
	b.Step(plan.Step{Phase: plan.Child, Verb: "die"})
	b.Call(unix.SYS_GETPID).Into(pid)
	b.Call(unix.SYS_KILL, pid.Value(), plan.Int(unix.SIGKILL))
	execve(&b, "/bin/true")
	_, err := carryOut(t, b.Plan(0, plan.NoSlot))
	var f *Failure
	if !errors.As(err, &f) || f.Errno != 0 {
		t.Fatalf("got %+v", err)
	}
}

func TestSkips(t *testing.T) {
	var b plan.Builder
	b.Step(plan.Step{Phase: plan.Child, Verb: "try"})
	first := b.Len()
	b.Call(unix.SYS_CHDIR, b.Str("/nowhere"))
	b.Call(unix.SYS_EXIT_GROUP, plan.Int(3))
	b.SkipFrom(first, int(unix.ENOENT))
	jump := b.Len()
	b.Call(plan.Jump)
	b.Call(unix.SYS_EXIT_GROUP, plan.Int(4))
	b.JumpTo(jump)
	b.Call(unix.SYS_CHDIR, b.Str("/nowhere")).Ignore(int(unix.ENOENT))
	execve(&b, "/bin/sh", "-c", "exit 5")
	status, err := carryOut(t, b.Plan(0, plan.NoSlot))
	if err != nil || status.ExitStatus() != 5 {
		t.Fatalf("status %v, %v", status, err)
	}
}

// The sibling made by Fork is the launcher's own child and PID 1 of the
// namespace that the first process only entered for its children.
func TestFork(t *testing.T) {
	var b plan.Builder
	b.Step(plan.Step{Phase: plan.Child, Verb: "enter"})
	b.Call(unix.SYS_UNSHARE, plan.Int(unix.CLONE_NEWPID))
	b.Call(plan.Fork, plan.Int(0))
	execve(&b, "/bin/sh", "-c", "exit $$")
	status, err := carryOut(t, b.Plan(0, plan.NoSlot))
	if err != nil || status.ExitStatus() != 1 {
		t.Fatalf("status %v, %v", status, err)
	}
}

func TestSlotsAndStores(t *testing.T) {
	var b plan.Builder
	in := b.Input("output")
	copied := b.Slot()
	word := b.Data(make([]byte, 8))
	b.Step(plan.Step{Phase: plan.Child, Verb: "write"})
	b.Call(unix.SYS_FCNTL, in.Value(), plan.Int(unix.F_DUPFD), plan.Int(100)).Into(copied).StoreAt(word)
	b.Call(plan.Expect32, word, plan.Int(100), plan.Int(^uint32(0)), plan.Int(int(unix.EIO)))
	b.Call(unix.SYS_WRITE, copied.Value(), b.Str("hello"), plan.Int(5))
	execve(&b, "/bin/true")
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	if _, err := carryOut(t, b.Plan(0, plan.NoSlot), pipe[1]); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	n, err := unix.Read(pipe[0], buf)
	if err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
}

func TestWalk(t *testing.T) {
	tests := []struct {
		path  string
		kind  int
		made  string // below root
		errno unix.Errno
	}{
		{"/a/b/c", plan.WalkDir, "a/b/c", 0},
		{"x/y", plan.WalkFile, "x/y", 0},
		{"/link/d", plan.WalkDir, "real/d", 0},
		// Links that lead nowhere, in the root: the way is made there.
		{"/up/up/e", plan.WalkDir, "outside/up/e", 0},
		{"/out/f", plan.WalkDir, "OUTSIDE/f", 0},
		{"/absent", plan.WalkExisting, "", unix.ENOENT},
		{"/file", plan.WalkDir, "", unix.ENOTDIR},
		{"/file/sub", plan.WalkFile, "", unix.ENOTDIR},
		{"/dangling", plan.WalkFile, "outside/nothing", 0},
		{"/dangling/z", plan.WalkDir, "outside/nothing/z", 0},
		{"/first/er/z", plan.WalkFile, "real/deep/er/z", 0},
		{"/dangling", plan.WalkDir | plan.WalkPlain, "", unix.ELOOP},
		{"/dangling", plan.WalkExisting, "", unix.ENOENT},
		{"/loop/z", plan.WalkDir, "", unix.ELOOP},
		{"/", plan.WalkDir, ".", 0},
		{"/root/h", plan.WalkDir, "h", 0},
		{"/plain/i", plan.WalkDir | plan.WalkPlain, "plain/i", 0},
		{"/link", plan.WalkDir | plan.WalkPlain, "", unix.ELOOP},
		{"/link/j", plan.WalkDir | plan.WalkPlain, "", unix.ELOOP},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			top := t.TempDir()
			tt.made = strings.Replace(tt.made, "OUTSIDE", top+"/outside", 1)
			root := filepath.Join(top, "root")
			for _, err := range []error{
				os.MkdirAll(filepath.Join(root, "real"), 0o755),
				os.WriteFile(filepath.Join(root, "file"), nil, 0o644),
				os.Symlink("/real", filepath.Join(root, "link")),
				os.Symlink("/", filepath.Join(root, "root")),
				os.Symlink(top+"/outside", filepath.Join(root, "out")),
				os.Symlink("../../outside", filepath.Join(root, "up")),
				os.Symlink("../outside/nothing", filepath.Join(root, "dangling")),
				os.Symlink("link/deep", filepath.Join(root, "first")),
				os.Symlink("loop", filepath.Join(root, "loop")),
				os.Mkdir(filepath.Join(top, "outside"), 0o755),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			var b plan.Builder
			dir := b.Slot()
			b.Step(plan.Step{Phase: plan.Child, Verb: "walk"})
			at := unix.AT_FDCWD
			b.Call(unix.SYS_OPENAT, plan.Int(at), b.Str(root), plan.Int(unix.O_PATH|unix.O_CLOEXEC)).Into(dir)
			b.Call(plan.Walk, dir.Value(), b.Str(tt.path), plan.Int(tt.kind), plan.Int(0o755))
			execve(&b, "/bin/true")
			_, err := carryOut(t, b.Plan(0, plan.NoSlot))
			var f *Failure
			switch errors.As(err, &f); {
			case tt.errno == 0 && err != nil, tt.errno != 0 && (f == nil || f.Errno != tt.errno):
				t.Fatalf("got %v, want %v", err, tt.errno)
			}
			if tt.errno == 0 {
				if _, err := os.Stat(filepath.Join(root, tt.made)); err != nil {
					t.Error(err)
				}
			}
			if left, _ := os.ReadDir(filepath.Join(top, "outside")); len(left) != 0 {
				t.Errorf("made outside: %v", left)
			}
		})
	}
}

func TestRmdirWaits(t *testing.T) {
	dir := t.TempDir()
	var b plan.Builder
	b.Step(plan.Step{Phase: plan.Undo, Verb: "rmdir"})
	b.Call(plan.Rmdir, b.Str(filepath.Join(dir, "gone")))
	full := filepath.Join(dir, "full")
	if err := os.MkdirAll(filepath.Join(full, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.Call(plan.Rmdir, b.Str(full))
	p, err := New(b.Plan(0, plan.NoSlot).Ready(), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Run(plan.Undo); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Fatalf("got %v", err)
	}
}

func TestInputsAreCounted(t *testing.T) {
	var b plan.Builder
	b.Input("root")
	execve(&b, "/bin/true")
	if _, err := New(b.Plan(0, plan.NoSlot).Ready(), nil, false); !errors.Is(err, ErrInputs) {
		t.Fatalf("got %v", err)
	}
}

// What the Host phase opens for the child is the child's, and the launcher keeps
// none of it, whatever becomes of the plan: a monitor carries out one for each
// command that is executed in its container.
func TestTheLauncherKeepsNothingOpen(t *testing.T) {
	for name, program := range map[string]string{"ok": "/bin/true", "not there": "/bin/missing", "host phase fails": ""} {
		var b plan.Builder
		opened, closed, skipped := b.Slot(), b.Slot(), b.Slot()
		b.Step(plan.Step{Phase: plan.Host, Verb: "open"})
		at := plan.Int(unix.AT_FDCWD)
		for _, slot := range []plan.Slot{opened, closed} {
			b.Call(unix.SYS_OPENAT, at, b.Str("/dev/null"), plan.Int(unix.O_CLOEXEC)).Into(slot)
		}
		b.Call(unix.SYS_CLOSE, closed.Value())
		b.Call(unix.SYS_OPENAT, at, b.Str("/nowhere"), plan.Int(0)).Into(skipped).Ignore(int(unix.ENOENT))
		if program == "" {
			b.Call(unix.SYS_CHDIR, b.Str("/nowhere"))
			program = "/bin/true"
		}
		b.Step(plan.Step{Phase: plan.Child, Verb: "use"})
		b.Call(unix.SYS_DUP3, opened.Value(), plan.Int(200), plan.Int(0))
		execve(&b, program)
		before := openFiles(t)
		status, err := carryOut(t, b.Plan(unix.CLONE_NEWPID, plan.NoSlot))
		if (err == nil) != (name == "ok") || status.ExitStatus() > 0 {
			t.Errorf("%s: status %v, %v", name, status, err)
		}
		if after := openFiles(t); after != before {
			t.Errorf("%s: %d files are open, it were %d", name, after, before)
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
