package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// role is what a process of minict is there for. The next one is a child of
// the one before.
type role int

const (
	command role = iota // what the user started
	monitor             // of a container; with pull, the program that fetches the image
	first               // what the monitor forks and what becomes the container's program
)

func (r role) String() string { return [...]string{"command", "monitor", "first process"}[r] }

// fault is what happens to one process of a command: at its at-th call that
// changes something, counted over all of its threads from 1, it is killed, or
// the call fails. 0 is never: then the calls are only counted.
type fault struct {
	target role
	at     int
	errno  unix.Errno // 0: it is killed
	late   bool       // killed when the call is done, not before
	alone  bool       // the command is the monitor itself: the first process is its child
}

func (f fault) String() string {
	switch {
	case f.errno != 0:
		return fmt.Sprintf("%s fails with %s at call %d", f.target, unix.ErrnoName(f.errno), f.at)
	case f.late:
		return fmt.Sprintf("%s killed after call %d", f.target, f.at)
	}
	return fmt.Sprintf("%s killed before call %d", f.target, f.at)
}

// traced is what became of a command under a tracer.
type traced struct {
	calls int    // of the target, as far as it came
	hit   string // the call that the fault hit; "" if there was none
	code  int    // of the command; 128+n after signal n
	hung  bool
}

// tracer follows a command, and what it forks down to the target, by
// ptrace(2). All of its methods run on one thread: the kernel knows that as the
// tracer. The counting is the tracer's and not, as strace's is, of each thread
// by itself: which thread of a Go program makes a call is chance.
type tracer struct {
	fault   fault
	outcome traced
	lead    int // the command's process id
	ended   bool
	threads map[int]*thread
	early   map[int]bool // new ones that stopped before their parent told of them
	leaving bool
	writing string // the file that the target's last call wrote to
}

type thread struct {
	process int
	role    role
	begun   bool // its first stop is over
	failing bool // its call was made void: it is to end with the errno
	dying   bool // it is to be killed when the call is done
}

const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK |
	unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL

// trace runs a command with a fault. If attachTo is not 0, it is the process
// id of a monitor that runs already, and the target; else the target is the
// command or comes from it.
func trace(cmd *exec.Cmd, f fault, attachTo int, patience time.Duration) (traced, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t := &tracer{fault: f, threads: map[int]*thread{}, early: map[int]bool{}}
	if attachTo != 0 {
		if err := t.attach(attachTo); err != nil {
			return t.outcome, fmt.Errorf("attach to monitor: %w", err)
		}
	} else {
		cmd.SysProcAttr = &unix.SysProcAttr{Ptrace: true}
	}
	if err := cmd.Start(); err != nil {
		return t.outcome, err
	}
	t.lead = cmd.Process.Pid
	cmd.Process.Release()                                                         // it is waited for below
	alarm := time.AfterFunc(patience, func() { unix.Kill(t.lead, unix.SIGQUIT) }) // it tells where it is
	err := t.follow(attachTo == 0)
	t.outcome.hung = !alarm.Stop()
	return t.outcome, err
}

// attach makes a running process a tracee.
func (t *tracer) attach(pid int) error {
	for more := true; more; {
		more = false
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			if err != nil || t.threads[tid] != nil {
				continue
			}
			if err := unix.PtraceAttach(tid); err != nil {
				return err
			}
			more = true
			t.threads[tid] = &thread{process: pid, role: monitor, begun: true}
			if _, err := unix.Wait4(tid, nil, unix.WALL, nil); err != nil {
				return err
			}
			if err := unix.PtraceSetOptions(tid, options); err != nil {
				return err
			}
			t.resume(tid, 0)
		}
	}
	return nil
}

// follow goes on until the command has ended, and the target too if the fault
// hit it; what else is traced then is let go.
func (t *tracer) follow(lead bool) error {
	if lead {
		if _, err := unix.Wait4(t.lead, nil, unix.WALL, nil); err != nil {
			return err
		}
		t.threads[t.lead] = &thread{process: t.lead, role: command, begun: true}
		if err := unix.PtraceSetOptions(t.lead, options); err != nil {
			return err
		}
		t.resume(t.lead, 0)
	}
	for !t.ended || len(t.threads) > 0 {
		if t.ended && !t.leaving {
			t.leave()
		}
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.ECHILD) && t.ended {
			break
		}
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		t.turn(tid, status)
	}
	// What was just forked when its parent was killed: nobody told of it.
	for tid := range t.early {
		unix.PtraceDetach(tid)
	}
	return nil
}

// leave asks all threads to stop, so that they can be let go.
func (t *tracer) leave() {
	t.leaving = true
	for tid, th := range t.threads {
		if th.begun {
			unix.Tgkill(th.process, tid, unix.SIGSTOP)
		}
	}
}

func (t *tracer) turn(tid int, status unix.WaitStatus) {
	if !status.Stopped() {
		delete(t.threads, tid)
		if tid == t.lead {
			t.ended = true
			t.outcome.code = status.ExitStatus()
			if status.Signaled() {
				t.outcome.code = 128 + int(status.Signal())
			}
		}
		return
	}
	th := t.threads[tid]
	if th == nil {
		t.early[tid] = true
		return
	}
	signal := status.StopSignal()
	switch {
	case !th.begun:
		t.begin(tid)
		return
	case signal == unix.SIGTRAP|0x80:
		t.call(tid, th)
		return
	case signal == unix.SIGTRAP && status.TrapCause() > 0:
		t.event(tid, th, status.TrapCause())
		return
	case signal == unix.SIGSTOP && t.leaving:
		delete(t.threads, tid)
		unix.PtraceDetach(tid)
		return
	}
	t.resume(tid, int(signal))
}

// event is a fork, or an exec.
func (t *tracer) event(tid int, th *thread, cause int) {
	if cause == unix.PTRACE_EVENT_EXEC {
		if th.role == first {
			delete(t.threads, tid) // it is the user's program now
			unix.PtraceDetach(tid)
			return
		}
		t.resume(tid, 0)
		return
	}
	child, err := unix.PtraceGetEventMsg(tid)
	if err == nil {
		t.adopt(int(child), th)
	}
	t.resume(tid, 0)
}

// adopt makes a thread that a tracee has made one too. The kernel attached to
// it already.
func (t *tracer) adopt(tid int, parent *thread) {
	th := &thread{process: group(tid), role: parent.role}
	switch {
	case th.process == parent.process || parent.role == first:
	case t.fault.alone:
		th.role = first
	default:
		th.role++
	}
	t.threads[tid] = th
	if t.early[tid] {
		delete(t.early, tid)
		t.begin(tid)
	}
}

// begin lets a new tracee run for the first time, or lets go of it if neither
// it nor what it forks is the target.
func (t *tracer) begin(tid int) {
	th := t.threads[tid]
	th.begun = true
	if th.role > t.fault.target || t.leaving {
		delete(t.threads, tid)
		unix.PtraceDetach(tid)
		return
	}
	t.resume(tid, 0)
}

func (t *tracer) resume(tid, signal int) {
	if t.threads[tid].role == t.fault.target && !t.leaving {
		unix.PtraceSyscall(tid, signal)
		return
	}
	unix.PtraceCont(tid, signal)
}

// group is the process that a thread belongs to.
func group(tid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return tid
	}
	_, after, _ := strings.Cut(string(status), "\nTgid:\t")
	line, _, _ := strings.Cut(after, "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		return tid
	}
	return pid
}

// syscallInfo is struct ptrace_syscall_info, ptrace(2), at an entry.
type syscallInfo struct {
	Op      uint8
	_       [3]byte
	Arch    uint32
	IP, SP  uint64
	Nr      uint64
	Args    [6]uint64
	_       [4]uint64
	tracee  int
	process int
}

const (
	getSyscallInfo = 0x420e
	opEntry        = 1
)

// call is the begin or the end of a system call of the target.
func (t *tracer) call(tid int, th *thread) {
	info := syscallInfo{tracee: tid, process: th.process}
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	switch {
	case errno != 0:
	case info.Op != opEntry:
		t.callEnds(tid, th)
	default:
		t.callBegins(tid, th, info)
	}
	t.resume(tid, 0)
}

func (t *tracer) callBegins(tid int, th *thread, info syscallInfo) {
	what, file, changes := info.changes()
	if !changes || t.leaving {
		return
	}
	// Of many writes to a file, one after the other, the first counts.
	again := file != "" && file == t.writing
	if t.writing = file; again {
		return
	}
	t.outcome.calls++
	if t.outcome.calls != t.fault.at {
		return
	}
	t.outcome.hit = what
	switch {
	case t.fault.errno != 0:
		th.failing = setCall(tid, -1) == nil
	case t.fault.late:
		th.dying = true
	default:
		unix.Kill(th.process, unix.SIGKILL)
	}
}

func (t *tracer) callEnds(tid int, th *thread) {
	if th.failing {
		th.failing = false
		setResult(tid, -int64(t.fault.errno))
	}
	if th.dying {
		th.dying = false
		unix.Kill(th.process, unix.SIGKILL)
	}
}

// word reads 64 bits of the tracee's memory.
func (i syscallInfo) word(address uint64) uint64 {
	var b [8]byte
	if _, err := unix.PtracePeekData(i.tracee, uintptr(address), b[:]); err != nil {
		return 0
	}
	return *(*uint64)(unsafe.Pointer(&b))
}

// file says what stands behind a descriptor of the tracee.
func (i syscallInfo) file(fd uint64) string {
	to, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(i.process), "fd", strconv.Itoa(int(int32(fd)))))
	if err != nil {
		return ""
	}
	return to
}
