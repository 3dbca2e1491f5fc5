package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// begin starts the child of a plan; the test has to wait for it.
func begin(t *testing.T, p *plan.Plan, pause Pause, inputs ...int) (*Child, error) {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	prog, err := New(p.Ready(), inputs, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	return prog.Start(pause)
}

func end(t *testing.T, c *Child) unix.WaitStatus {
	t.Helper()
	defer unix.Close(c.Pidfd)
	var status unix.WaitStatus
	if _, err := unix.Wait4(c.Pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	return status
}

// pausing is a plan that pauses, forks, and pauses once more.
func pausing() *plan.Plan {
	var b plan.Builder
	b.Step(plan.Step{Phase: plan.Child, Verb: "pause"})
	b.Call(plan.Pause, plan.Int(7), plan.Int(0))
	b.Call(plan.Fork, plan.Int(0))
	b.Call(plan.Pause, plan.Int(8), plan.Int(0))
	execve(&b, "/bin/sh", "-c", "exit 5")
	return b.Plan(0, plan.NoSlot)
}

func TestPauses(t *testing.T) {
	var numbers, pids []int
	child, err := begin(t, pausing(), func(number uint32, c *Child) error {
		numbers, pids = append(numbers, int(number)), append(pids, c.Pid)
		if err := unix.PidfdSendSignal(c.Pidfd, 0, nil, 0); err != nil || c.Sent != -1 {
			t.Errorf("pause %d: %v, descriptor %d", number, err, c.Sent)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if status := end(t, child); status.ExitStatus() != 5 {
		t.Errorf("status %v", status)
	}
	if len(numbers) != 2 || numbers[0] != 7 || numbers[1] != 8 || pids[0] == pids[1] || pids[1] != child.Pid {
		t.Errorf("pauses %v of %v, child %d", numbers, pids, child.Pid)
	}
}

func TestPauseFails(t *testing.T) {
	mine := errors.New("mine")
	for at := uint32(7); at <= 9; at++ {
		pause, want := Pause(func(number uint32, _ *Child) error {
			if number == at {
				return mine
			}
			return nil
		}), mine
		if at == 9 {
			pause, want = nil, ErrPause
		}
		if _, err := begin(t, pausing(), pause); !errors.Is(err, want) {
			t.Errorf("pause %d: got %v, want %v", at, err, want)
		}
		if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
			t.Errorf("pause %d: a process is left: %v", at, err)
		}
	}
}

func TestKilledInPause(t *testing.T) {
	_, err := begin(t, pausing(), func(_ uint32, c *Child) error {
		return unix.PidfdSendSignal(c.Pidfd, unix.SIGKILL, nil, 0)
	})
	var f *Failure
	if !errors.As(err, &f) || f.Errno != 0 {
		t.Errorf("got %v", err)
	}
}

func TestPauseSendsDescriptor(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var b plan.Builder
	in := b.Input("file")
	b.Step(plan.Step{Phase: plan.Child, Verb: "send"})
	b.Call(plan.Pause, plan.Int(9), message(&b, 9, in))
	execve(&b, "/bin/true")
	var sent, original unix.Stat_t
	child, err := begin(t, b.Plan(0, plan.NoSlot), func(number uint32, c *Child) error {
		if number != 9 {
			t.Errorf("pause %d", number)
		}
		return unix.Fstat(c.Sent, &sent)
	}, int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	end(t, child)
	if err := unix.Fstat(int(file.Fd()), &original); err != nil || sent.Ino != original.Ino {
		t.Errorf("another file came: %v", err)
	}
}

// message is a struct msghdr with one byte and one descriptor.
func message(b *plan.Builder, number byte, fd plan.Slot) plan.Arg {
	control := append(unix.UnixRights(0), make([]byte, unix.CmsgSpace(4)-len(unix.UnixRights(0)))...)
	cmsg := b.Data(control)
	b.Call(unix.SYS_FCNTL, fd.Value(), plan.Int(unix.F_DUPFD_CLOEXEC), plan.Int(0)).StoreAt(cmsg.At(unix.CmsgLen(0)))
	return b.Words(plan.Int(0), plan.Int(0), b.Words(b.Data([]byte{number}), plan.Int(1)), plan.Int(1), cmsg, plan.Int(len(control)), plan.Int(0))
}

// fifo gives a fifo as a child at its gate is handed it, and its path.
func fifo(t *testing.T) (int, string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd, name
}

// gated starts a child that waits at its gate, and gives the ends of its fifos
// that belong to whoever starts it.
func gated(t *testing.T, argv ...string) (c *Child, gate, started int) {
	t.Helper()
	var b plan.Builder
	b.Input("gate")
	b.Input("started")
	b.Step(plan.Step{Phase: plan.Child, Verb: "close"})
	b.Call(plan.CloseFrom, plan.Int(3), plan.Slot(0).Value(), plan.Slot(1).Value())
	b.Call(plan.Gate, plan.Slot(0).Value(), plan.Slot(1).Value())
	execve(&b, argv...)
	gateFD, gateName := fifo(t)
	startedFD, startedName := fifo(t)
	c, err := begin(t, b.Plan(0, plan.NoSlot), nil, gateFD, startedFD)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(gateFD)
	if gate, err = unix.Open(gateName, unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
		started, err = unix.Open(startedName, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(startedFD)
	t.Cleanup(func() { unix.Close(gate); unix.Close(started) })
	return c, gate, started
}

func TestGate(t *testing.T) {
	c, gate, started := gated(t, "/bin/sh", "-c", "set -- /proc/self/fd/*; exit $#")
	if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", c.Pid)); err != nil || string(comm) == "sh\n" {
		t.Errorf("started already: %q, %v", comm, err)
	}
	if _, err := unix.Write(gate, []byte{0}); err != nil {
		t.Fatal(err)
	}
	if err := Started(started); err != nil {
		t.Error(err)
	}
	if status := end(t, c); status.ExitStatus() != 4 { // three, and that of the directory
		t.Errorf("%d descriptors", status.ExitStatus())
	}
}

func TestExecFailsBehindTheGate(t *testing.T) {
	c, gate, started := gated(t, "/bin/missing")
	if _, err := unix.Write(gate, []byte{0}); err != nil {
		t.Fatal(err)
	}
	err := Started(started)
	var f *Failure
	if !errors.As(err, &f) || f.Errno != unix.ENOENT || !f.Exec || f.Step != 1 {
		t.Errorf("got %+v", err)
	}
	end(t, c)
}

// Without anybody who could open it, a gate is no place to wait at for ever.
func TestGateNobodyOpens(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	var b plan.Builder
	b.Input("gate")
	b.Input("started")
	b.Step(plan.Step{Phase: plan.Child, Verb: "wait"})
	b.Call(unix.SYS_CLOSE, plan.Slot(1).Value())
	b.Call(unix.SYS_OPENAT, plan.Int(unix.AT_FDCWD), b.Str("/dev/null"), plan.Int(unix.O_WRONLY)).Into(plan.Slot(1))
	b.Call(plan.Gate, plan.Slot(0).Value(), plan.Slot(1).Value())
	execve(&b, "/bin/true")
	c, err := begin(t, b.Plan(0, plan.NoSlot), nil, pipe[0], pipe[1])
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(pipe[0])
	unix.Close(pipe[1])
	if status := end(t, c); status.ExitStatus() != 1 {
		t.Errorf("status %v", status)
	}
}

// What fails before there is a child is no step's failure.
func TestNoProcess(t *testing.T) {
	var b plan.Builder
	execve(&b, "/bin/true")
	_, err := begin(t, b.Plan(unix.CLONE_NEWPID|unix.CLONE_THREAD, plan.NoSlot), nil)
	var f *Failure
	if !errors.As(err, &f) || f.Step != NoStep || f.Errno != unix.EINVAL {
		t.Errorf("got %+v", err)
	}
}

// dying names the variable by which the test program is told to be a launcher
// that is killed while its child pauses. Descriptor 3 shows who is left.
const dying = "LAUNCH_TEST_DYING"

func init() {
	if os.Getenv(dying) == "" {
		return
	}
	runtime.LockOSThread()
	prog, err := New(pausing().Ready(), nil, false)
	if err == nil {
		_, err = prog.Start(func(uint32, *Child) error { return unix.Kill(os.Getpid(), unix.SIGKILL) })
	}
	panic(err)
}

// A child whose launcher is killed does not wait for it.
func TestLauncherKilledInPause(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{dying + "=1"}
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Run()
	w.Close()
	if cmd.ProcessState == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		t.Fatalf("the launcher was not killed: %v", err)
	}
	if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the child is still there: %d, %v", n, err)
	}
}
