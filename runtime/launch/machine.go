package launch

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// machine works off operations. In the child it runs in a process that was
// forked from a threaded Go program: there is one thread, and no Go runtime
// behind it. So everything below is nosplit (the stack may not grow),
// allocates nothing, locks nothing, and makes system calls only by
// rawSyscall6; the linker checks the depth of the stack.
type machine struct {
	ops    unsafe.Pointer // of the phase being carried out, []plan.Op
	data   uintptr
	slots  unsafe.Pointer // [n]uint64
	report *report
	// link is the child's end of a socket pair, the other end is the
	// launcher's. It closes with execve or with the child's end.
	link    uintptr
	other   uintptr // the launcher's end, for the child to close
	started uintptr // takes the failure after plan.Gate, 0 before it
	aside   bool    // see Aside

	// What would be variables on the stack, which has no room for them.
	args   [6]uintptr
	how    unix.OpenHow
	action [4]uint64 // struct sigaction: SIG_DFL, nothing masked
	word   byte
	empty  byte // an empty string
	after  afterGate
	parent uintptr // of walk: the directory at hand
	links  uintptr
	file   bool
	*scratch
}

// scratch is what is too large for a heap that nobody tidies: a monitor's.
type scratch struct {
	copier copier
	// Of walk: the target of a link, and the path as it goes on from there.
	target [unix.PathMax]byte
	ways   [2][2 * unix.PathMax]byte
	stack  [8 << 10]byte // of a child that shares the launcher's memory
}

// report is memory shared by the launcher and the child.
type report struct {
	Failed uint32 // number of the operation that failed, from 1
	Errno  uint32
	Pid    uint32 // process that carries on after a Fork
	Ready  uint32 // not 0: the child came to execve, or to its gate
	Timed  uint32 // not 0: fill Began
	_      uint32
	Began  [1]uint64 // per step: CLOCK_MONOTONIC at its begin, nanoseconds
}

// run carries out operations from first to end. It gives the number of the
// operation that failed, counted from 1, and why.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (m *machine) run(end uintptr) (failed uintptr, errno unix.Errno) {
	step := ^uint16(0)
	for i := uintptr(0); i < end; i++ {
		op := m.op(i)
		if op.Step != step && m.report.Timed != 0 {
			step = op.Step
			m.clock(step)
		}
		result, errno := m.do(op)
		if errno != 0 && op.Flags&plan.AnyError == 0 {
			skip, ok := answer(op, errno)
			if !ok {
				return i + 1, errno
			}
			i += skip
			continue
		}
		if op.Call == plan.Jump {
			i += uintptr(op.Args[0])
		}
		m.keep(op, result)
	}
	return 0, 0
}

// op is the operation at a position.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (m *machine) op(i uintptr) *plan.Op {
	return (*plan.Op)(unsafe.Add(m.ops, i*unsafe.Sizeof(plan.Op{})))
}

// answer looks for what an operation does about an error.
//
//go:nosplit
//go:norace
func answer(op *plan.Op, errno unix.Errno) (skip uintptr, ok bool) {
	for j := 0; j < len(op.Skip); j++ {
		if op.Skip[j].Errno == uint16(errno) {
			return uintptr(op.Skip[j].Ops), true
		}
	}
	return 0, false
}

// keep puts a result where the operation wants it.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (m *machine) keep(op *plan.Op, result uintptr) {
	if op.Result != plan.NoSlot {
		*(*uint64)(unsafe.Add(m.slots, uintptr(op.Result)*8)) = uint64(result)
	}
	if op.Store != 0 {
		*(*uint32)(address(m.data + uintptr(op.Store))) = uint32(result)
	}
}

// do makes one system call, or carries out one operation of our own.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (m *machine) do(op *plan.Op) (result uintptr, errno unix.Errno) {
	a := &m.args
	for j := 0; j < 6; j++ {
		a[j] = uintptr(op.Args[j])
		if op.Kinds[j] == plan.KindSlot {
			a[j] = uintptr(*(*uint64)(unsafe.Add(m.slots, a[j]*8)))
		}
	}
	switch op.Call {
	case plan.Walk:
		result, errno = m.walk()
		for errno == isLink {
			result, errno = m.makeWay()
		}
		return result, errno
	case plan.Fork:
		return m.fork(a[0])
	case plan.Jump:
		return 0, 0
	case plan.Expect:
		return 0, expect(uint32(*(*byte)(address(a[0]))) == uint32(a[1]), a[2])
	case plan.Expect32:
		return 0, expect(*(*uint32)(address(a[0]))&uint32(a[2]) == uint32(a[1]), a[3])
	case plan.Differ:
		return 0, expect(*(*uint64)(address(a[0])) != *(*uint64)(address(a[1])), a[2])
	case plan.CloseFrom:
		return 0, m.closeFrom()
	case plan.Rmdir:
		return 0, rmdir(a[0])
	case plan.Copy:
		return 0, m.copyTree()
	case plan.Pause:
		return 0, m.pause()
	case plan.Gate:
		return 0, m.gate()
	case plan.Airlock:
		return 0, m.airlock()
	case unix.SYS_EXECVE, unix.SYS_EXECVEAT:
		m.report.Ready = 1
	}
	for {
		r, _, e := rawSyscall6(uintptr(op.Call), a[0], a[1], a[2], a[3], a[4], a[5])
		// Go's runtime signals its threads, and a memory limit that is being
		// written takes a signal for a reason to stop.
		if e != unix.EINTR || op.Call != unix.SYS_WRITE {
			return r, e
		}
	}
}

// closeFrom is plan.CloseFrom: it closes what lies between the descriptors
// that are kept.
//
//go:nosplit
//go:norace
func (m *machine) closeFrom() unix.Errno {
	const last = uintptr(^uint32(0))
	first := m.args[0]
	m.args[0] = m.link
	for {
		kept := last
		for j := 0; j < 4; j++ {
			if k := m.args[j]; k >= first && k < kept {
				kept = k
			}
		}
		if kept > first {
			if _, _, errno := rawSyscall6(unix.SYS_CLOSE_RANGE, first, kept-1, 0, 0, 0, 0); errno != 0 {
				return errno
			}
		}
		if kept == last {
			return 0
		}
		first = kept + 1
	}
}

//go:nosplit
//go:norace
func expect(ok bool, errno uintptr) unix.Errno {
	if ok {
		return 0
	}
	return unix.Errno(errno)
}

// fork hands over to a sibling: the launcher becomes its parent, this process
// ends. With no stack and no thread-local storage given, clone's order of
// arguments is the same on all architectures.
//
//go:nosplit
//go:norace
func (m *machine) fork(flags uintptr) (uintptr, unix.Errno) {
	// The kernel reports it: this process may be killed before it could.
	pid, _, errno := rawSyscall6(unix.SYS_CLONE, flags|unix.CLONE_PARENT|unix.CLONE_PARENT_SETTID,
		0, uintptr(unsafe.Pointer(&m.report.Pid)), 0, 0, 0)
	if errno != 0 || pid == 0 {
		return 0, errno
	}
	for {
		rawSyscall6(unix.SYS_EXIT_GROUP, 0, 0, 0, 0, 0, 0)
	}
}

//go:nosplit
//go:norace
//go:nocheckptr
func (m *machine) clock(step uint16) {
	var now [2]uint64 // struct timespec
	rawSyscall6(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&now)), 0, 0, 0, 0)
	*(*uint64)(unsafe.Add(unsafe.Pointer(&m.report.Began), uintptr(step)*8)) = now[0]*1e9 + now[1]
}

// address makes a pointer of an address in the plan's data. The data is not
// moved nor freed while the machine runs, which is what the rule against such
// pointers guards against.
//
//go:nosplit
//go:norace
//go:nocheckptr
func address(a uintptr) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&a))
}
