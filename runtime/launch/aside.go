package launch

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// Aside is a process that works off a plan's Child operations beside the launcher,
// in its memory and with its descriptors (CLONE_VM and CLONE_FILES, clone(2)), and
// ends: for what a process has of its own and the kernel takes its time to make,
// such as a namespace. A thread of Go's would take longer to be there than that.
type Aside struct {
	p   *Program
	pid int
}

// GoAside starts one. Of the plan's operations none may be execve, a pause or a
// gate, and none has inputs. The error is a *Failure if no process can be made. Wait
// for it.
func GoAside(loaded *plan.Loaded) (*Aside, error) {
	p, err := New(loaded, nil, false)
	if err != nil {
		return nil, err
	}
	ops := loaded.Ops[plan.Child]
	p.m.ops, p.m.aside = unsafe.Pointer(&ops[0]), true
	args := &cloneArgs{Flags: unix.CLONE_VM | unix.CLONE_FILES | unix.CLONE_CLEAR_SIGHAND}
	args.useStack(p.m.stack[:])
	pid, errno := args.fork(&p.m, uintptr(len(ops)))
	if errno != 0 {
		p.Close()
		return nil, &Failure{Step: NoStep, Errno: errno}
	}
	return &Aside{p, int(pid)}, nil
}

// Wait waits for the end, and gives what is in a slot then, if it is not NoSlot. The
// error is a *Failure.
func (a *Aside) Wait(result plan.Slot) (uint64, error) {
	for {
		// It sends no signal at its end, so it is one of those of __WCLONE.
		if _, err := unix.Wait4(a.pid, nil, unix.WALL, nil); err != unix.EINTR {
			break
		}
	}
	defer a.p.Close()
	ops, report := a.p.loaded.Ops[plan.Child], a.p.m.report
	switch {
	case report.Failed != 0:
		return 0, failure(ops, uintptr(report.Failed), unix.Errno(report.Errno))
	case report.Ready == 0:
		return 0, &Failure{Step: NoStep}
	}
	if result == plan.NoSlot {
		return 0, nil
	}
	return a.p.slots[result], nil
}

// workAside is the life of the process.
//
//go:nosplit
//go:noinline
//go:norace
func (m *machine) workAside(ops uintptr) {
	failed, errno := m.run(ops)
	m.report.Failed, m.report.Errno = uint32(failed), uint32(errno)
	m.report.Ready = 1
	for {
		rawSyscall6(unix.SYS_EXIT_GROUP, 0, 0, 0, 0, 0, 0)
	}
}
