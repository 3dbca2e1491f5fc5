// Package launch carries out plans (package plan).
//
// The launcher is a Go program with a runtime; the process that it makes has
// none. It is forked with clone3(2), which gives it the new namespaces and
// the cgroup at birth, works off the plan's Child operations in machine.run,
// and ends in execve(2) or with a report. Where others may be before it, it
// shares no writable memory with the launcher: inside a container it must be
// worth nothing to an attacker (Program.alone).
package launch

import (
	"errors"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// Program is a plan that is being carried out.
type Program struct {
	loaded  *plan.Loaded
	slots   []uint64
	shared  []byte // report and clock of each step
	private []byte // scratch
	m       machine
}

// Child is a process that was started by a Program.
type Child struct {
	Pid   int // as the launcher sees it
	Pidfd int // close-on-exec; polls readable when the process has ended
	// Sent is a descriptor that came with a pause, for as long as that
	// lasts; -1: none.
	Sent int
}

// Failure is a step that went wrong. Its text is for the log: what the user
// reads is made by those who know the plan's steps.
type Failure struct {
	Step  int        // index in plan.Plan.Steps, or NoStep
	Errno unix.Errno // 0: the process was killed before it could report
	Exec  bool       // the step was execve(2)
}

// NoStep is the step of a failure to make the child: no namespaces (ENOSPC,
// EPERM), no processes (EAGAIN), or no room in its cgroup (EBUSY), clone(2).
const NoStep = -1

func (f *Failure) Error() string {
	if f.Errno == 0 {
		return "killed during set-up"
	}
	return f.Errno.Error()
}

// ErrInputs says that the plan wants other descriptors than it was given.
var ErrInputs = errors.New("wrong number of descriptors for the plan")

// New takes a plan, which must stay referenced by nobody else. The inputs stay the
// caller's to close, after Start.
func New(loaded *plan.Loaded, inputs []int, timed bool) (*Program, error) {
	if len(inputs) != loaded.Inputs {
		return nil, ErrInputs
	}
	size := int(unsafe.Sizeof(report{})) + 8*loaded.Steps
	shared, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	private, err := unix.Mmap(-1, 0, int(unsafe.Sizeof(scratch{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		unix.Munmap(shared)
		return nil, err
	}
	p := &Program{loaded: loaded, shared: shared, private: private, slots: make([]uint64, loaded.Slots+1)}
	for i, fd := range inputs {
		p.slots[i] = uint64(fd)
	}
	p.m = machine{
		data:    uintptr(unsafe.Pointer(&loaded.Data[0])),
		slots:   unsafe.Pointer(&p.slots[0]),
		report:  (*report)(unsafe.Pointer(&shared[0])),
		scratch: (*scratch)(unsafe.Pointer(&private[0])),
	}
	if timed {
		p.m.report.Timed = 1
	}
	return p, nil
}

// Close frees what the program holds, but none of its inputs.
func (p *Program) Close() error {
	p.closeOpened()
	return errors.Join(unix.Munmap(p.shared), unix.Munmap(p.private))
}

// closeOpened closes what the Host phase has opened and left open: it was for the
// child, which has its own, or has ended.
func (p *Program) closeOpened() {
	ops := p.loaded.Ops[plan.Host]
	for i := range ops {
		if ops[i].Call != unix.SYS_OPENAT || ops[i].Result == plan.NoSlot || closes(ops[i+1:], ops[i].Result) {
			continue
		}
		if slot := &p.slots[ops[i].Result]; *slot > 2 { // 0: it was not needed
			unix.Close(int(*slot))
			*slot = 0
		}
	}
}

// closes says whether one of the operations closes what is in a slot.
func closes(ops []plan.Op, slot plan.Slot) bool {
	for i := range ops {
		if ops[i].Call == unix.SYS_CLOSE && ops[i].Kinds[0] == plan.KindSlot && ops[i].Args[0] == uint64(slot) {
			return true
		}
	}
	return false
}

// Clocks gives, for each step that was begun, the time of its begin:
// CLOCK_MONOTONIC in nanoseconds; 0 for the others.
func (p *Program) Clocks() []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(&p.m.report.Began)), p.loaded.Steps)
}

// Run carries out a phase other than Child in this process. The error is a
// *Failure.
func (p *Program) Run(phase plan.Phase) error {
	ops := p.loaded.Ops[phase]
	if len(ops) == 0 {
		return nil
	}
	p.m.ops = unsafe.Pointer(&ops[0])
	// The Go runtime sends its threads signals, which would cut calls short.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return err
	}
	failed, errno := p.m.run(uintptr(len(ops)))
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err != nil {
		return err
	}
	if failed == 0 {
		return nil
	}
	return failure(ops, failed, errno)
}

// Results are the values that the operations of a phase have stored in the
// plan's memory, for those of a later one: what has to be kept if the memory is
// dropped and read anew in between.
func (p *Program) Results(phase plan.Phase) []uint32 {
	var list []uint32
	for _, cell := range p.cells(phase) {
		list = append(list, *cell)
	}
	return list
}

// SetResults puts back what Results gave.
func (p *Program) SetResults(phase plan.Phase, list []uint32) {
	for i, cell := range p.cells(phase) {
		*cell = list[i]
	}
}

func (p *Program) cells(phase plan.Phase) []*uint32 {
	var list []*uint32
	for i := range p.loaded.Ops[phase] {
		if at := p.loaded.Ops[phase][i].Store; at != 0 {
			list = append(list, (*uint32)(unsafe.Pointer(&p.loaded.Data[at])))
		}
	}
	return list
}

// Pause is called in the launcher for each plan.Pause of the child, which
// waits meanwhile. If it gives an error, the child is killed.
type Pause func(number uint32, child *Child) error

// ErrPause says that a plan has something for the launcher to do that nobody
// does.
var ErrPause = errors.New("the plan pauses, and nobody acts on it")

// Start makes the child and waits until it has become the user's program, or
// waits at its gate (plan.Gate). An error about a step is a *Failure, one of
// pause is given as it is; the child is gone then. A plan without pauses needs
// no pause.
//
// The parent-death signal that a plan may ask for is sent when the calling
// thread ends: lock the thread (runtime.LockOSThread) and keep it.
func (p *Program) Start(pause Pause) (*Child, error) {
	ops := p.loaded.Ops[plan.Child]
	p.m.ops = unsafe.Pointer(&ops[0])
	// The child's end closes with execve, at its gate, or with its life.
	link, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(link[0])
	p.m.other, p.m.link = uintptr(link[0]), uintptr(link[1])
	c, errno := p.clone(len(ops))
	unix.Close(link[1])
	if errno != 0 {
		return nil, &Failure{Step: NoStep, Errno: errno}
	}
	if err := p.attend(link[0], c, pause); err != nil {
		c.kill()
		return nil, err
	}
	child, err := p.outcome(ops, c)
	// It may be long until Close.
	unix.Madvise(p.private, unix.MADV_DONTNEED)
	p.closeOpened()
	return child, err
}

// clone makes the child.
func (p *Program) clone(ops int) (*Child, unix.Errno) {
	fd := int32(-1)
	args := &cloneArgs{
		Flags:      p.loaded.CloneFlags | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		Pidfd:      uint64(uintptr(unsafe.Pointer(&fd))),
		ExitSignal: uint64(unix.SIGCHLD),
	}
	if p.loaded.Cgroup != plan.NoSlot {
		args.Flags |= unix.CLONE_INTO_CGROUP
		args.Cgroup = p.slots[p.loaded.Cgroup]
	}
	if p.alone() {
		args.shareMemory(p.m.stack[:])
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	n, errno := args.fork(&p.m, uintptr(ops))
	return &Child{Pid: int(n), Pidfd: int(fd), Sent: -1}, errno
}

// alone says whether nobody can be near the child before it is the user's
// program: it is the first process of a PID namespace, and waits for nobody.
// Then it may share the launcher's memory. One that enters a container where
// others are already gets a copy: whoever got at it there would get at the
// launcher. And who has its memory from somebody else can't join a user or time
// namespace.
func (p *Program) alone() bool {
	if p.loaded.CloneFlags&unix.CLONE_NEWPID == 0 {
		return false
	}
	for i := range p.loaded.Ops[plan.Child] {
		op := &p.loaded.Ops[plan.Child][i]
		switch {
		case op.Call == plan.Pause, op.Call == plan.Gate,
			op.Call == unix.SYS_SETNS && op.Args[1]&(unix.CLONE_NEWUSER|unix.CLONE_NEWTIME) != 0:
			return false
		}
	}
	return true
}

// outcome reads what became of the child once its end of the link is closed.
func (p *Program) outcome(ops []plan.Op, c *Child) (*Child, error) {
	if err := p.follow(c); err != nil {
		c.bury()
		return nil, err
	}
	if p.m.report.Failed != 0 {
		c.bury()
		return nil, failure(ops, uintptr(p.m.report.Failed), unix.Errno(p.m.report.Errno))
	}
	// A process that is killed closes its files a moment before it has ended.
	if p.m.report.Ready == 0 {
		c.bury()
		return nil, &Failure{Step: int(ops[len(ops)-1].Step)}
	}
	return c, nil
}

func failure(ops []plan.Op, number uintptr, errno unix.Errno) *Failure {
	op := ops[number-1]
	return &Failure{Step: int(op.Step), Errno: errno, Exec: isExec(&op)}
}

//go:nosplit
func isExec(op *plan.Op) bool { return op.Call == unix.SYS_EXECVE || op.Call == plan.Airlock }
