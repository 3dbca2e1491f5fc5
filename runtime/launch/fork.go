package launch

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// cloneArgs is struct clone_args, clone3(2).
type cloneArgs struct {
	Flags      uint64
	Pidfd      uint64
	ChildTid   uint64
	ParentTid  uint64
	ExitSignal uint64
	Stack      uint64
	StackSize  uint64
	TLS        uint64
	SetTid     uint64
	SetTidSize uint64
	Cgroup     uint64
}

const cloneArgsSize = unsafe.Sizeof(cloneArgs{})

// shareMemory lets the child run in the launcher's memory, on a stack of its
// own, while the thread that made it waits for its execve or its end
// (CLONE_VFORK). That spares the copy of the page tables, and afterwards a
// fault for each page that the launcher writes to.
func (args *cloneArgs) shareMemory(stack []byte) {
	args.Flags |= unix.CLONE_VM | unix.CLONE_VFORK
	args.useStack(stack)
}

func (args *cloneArgs) useStack(stack []byte) {
	args.Stack = uint64(uintptr(unsafe.Pointer(&stack[0])))
	args.StackSize = uint64(len(stack))
}

// fork makes the child, which works off the machine's operations and never
// returns. All signals are blocked from before its birth: a handler of the Go
// runtime would not survive there.
func (args *cloneArgs) fork(m *machine, ops uintptr) (pid uintptr, errno unix.Errno) {
	var all, old uint64
	all = ^all
	rawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK,
		uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	if args.Flags&unix.CLONE_VM != 0 {
		pid, errno = cloneShared(args, cloneArgsSize, m, ops)
	} else {
		pid, errno = cloneCopy(args, m, ops)
	}
	rawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK,
		uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	return pid, errno
}

// cloneCopy is clone3 for a child with a copy of the memory. Its own frame is
// made before the fork, and may be of any size.
//
//go:noinline
//go:norace
func cloneCopy(args *cloneArgs, m *machine, ops uintptr) (pid uintptr, errno unix.Errno) {
	pid, _, errno = rawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), cloneArgsSize, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		becomeChild(m, ops)
	}
	return pid, errno
}

// cloneShared is clone3 for a child with the same memory and another stack,
// which a function of Go can't return from: it is written in assembly.
//
//go:noescape
func cloneShared(args *cloneArgs, size uintptr, m *machine, ops uintptr) (pid uintptr, errno unix.Errno)

// becomeChild works off the operations, the last of which is execve, and
// reports the one that failed. What it calls beside that is not inlined: the
// linker counts its frame to the depth of the deepest operation.
//
//go:nosplit
//go:norace
func becomeChild(m *machine, ops uintptr) {
	if m.aside {
		m.workAside(ops)
	}
	m.begin()
	failed, errno := m.run(ops)
	m.end(ops, failed, errno)
}

// begin makes the child a process of its own: without the launcher's end of the
// link, or that one's end would not be seen, and with default signals.
//
//go:nosplit
//go:noinline
//go:norace
func (m *machine) begin() {
	rawSyscall6(unix.SYS_CLOSE, m.other, 0, 0, 0, 0, 0)
	m.defaultSignals()
}

// end is the end of a child that has not become a program.
//
//go:nosplit
//go:noinline
//go:norace
func (m *machine) end(ops, failed uintptr, errno unix.Errno) {
	if failed == 0 {
		failed, errno = ops, unix.ENOEXEC // a plan without execve
	}
	m.fail(failed, errno)
	for {
		rawSyscall6(unix.SYS_EXIT_GROUP, 1, 0, 0, 0, 0, 0)
	}
}

// defaultSignals gives every signal its default action. clone3 has done so for
// those that had a handler, but not for those that the launcher was started
// with as ignored and that the Go runtime leaves alone.
//
//go:nosplit
//go:norace
func (m *machine) defaultSignals() {
	const signals = 64
	for n := uintptr(1); n <= signals; n++ { // SIGKILL and SIGSTOP are refused, and have it
		rawSyscall6(unix.SYS_RT_SIGACTION, n, uintptr(unsafe.Pointer(&m.action)), 0, 8, 0, 0)
	}
}
