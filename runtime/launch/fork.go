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

// forkMachine forks; the child works off the machine's operations, the last of
// which is execve, reports the one that failed, and never returns. Its own
// frame is made before the fork, and may be of any size.
//
//go:noinline
//go:norace
func forkMachine(args *cloneArgs, m *machine, ops uintptr) (pid uintptr, errno unix.Errno) {
	var all, old uint64
	all = ^all
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK,
		uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	pid, _, errno = unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), cloneArgsSize, 0)
	if errno == 0 && pid == 0 {
		unix.RawSyscall(unix.SYS_CLOSE, m.other, 0, 0) // or the launcher's end would not be seen
		m.defaultSignals()
		failed, errno := m.run(ops)
		if failed == 0 {
			failed, errno = ops, unix.ENOEXEC // a plan without execve
		}
		m.fail(failed, errno)
		for {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 1, 0, 0)
		}
	}
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK,
		uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	return pid, errno
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
		unix.RawSyscall6(unix.SYS_RT_SIGACTION, n, uintptr(unsafe.Pointer(&m.action)), 0, 8, 0, 0)
	}
}
