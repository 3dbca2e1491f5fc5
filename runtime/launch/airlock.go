package launch

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The child runs the launcher's program until its execve. A file that it
// executes may be a link to /proc/self/exe, or have it as its interpreter: then
// the launcher's program would be executed inside the container, could be opened
// there by /proc/PID/exe, and, by who keeps it open until nobody executes it any
// more, be overwritten (CVE-2019-5736).
//
// So a launcher whose own program could be written to sends the child through
// an airlock: a program of some hundred instructions, in memory that nobody can
// write to, which does nothing but to execute the user's program. It is taken
// from airlock_*.s; beside the code it needs an ELF header (elf(5)).
//
//	argv   control, the files that may be the program, the program's arguments
//	envp   the program's
//
// Control is bytes: 'x', the descriptor of the link as two digits of base 64,
// the number of files, each of the three increased by one. When all files have
// failed, the airlock writes the errno, with its upper bit set, to the link, as
// one byte.
//
// Instead of 'x', 'g' has the airlock wait at a gate first: so what waits in a
// container that is created, and not yet started, is nothing that would be worth
// anything to anybody. The descriptors of the gate, and of what Started reads from,
// follow in the same way. Before it waits it pauses (PauseAtGate) for the launcher to
// write down which process it is, and until then it dies with the launcher.

// AirlockFiles is how many files an airlock can try.
const AirlockFiles = 254

// AirlockControl is the first argument of an airlock that tries so many files.
// The machine fills in the link, and the gate.
func AirlockControl(files int) []byte { return []byte{'x', 1, 1, byte(files + 1), 1, 1, 1, 1, 0} }

// PauseAtGate is the number by which an airlock pauses before it waits at its gate.
// It is written down in airlock_*.s too.
const PauseAtGate = 'g'

const (
	elfHeaderSize     = 64
	programHeaderSize = 56
	airlockHeaders    = elfHeaderSize + 2*programHeaderSize
	airlockAddress    = 0x400000
)

// AirlockProgram is the file: the headers, and behind them the code.
func AirlockProgram() []byte {
	begin, end := airlockCode()
	code := unsafe.Slice((*byte)(address(begin)), end-begin)
	size := uint64(airlockHeaders + len(code))
	const (
		executable, version = 2, 1 // ET_EXEC, EV_CURRENT
		load, stack         = 1, 0x6474e551
		read, write, exec   = 4, 2, 1
	)
	machine := uint16(62) // EM_X86_64
	if runtime.GOARCH == "arm64" {
		machine = 183
	}
	le := binary.LittleEndian
	f := append(make([]byte, 0, size), "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	f = le.AppendUint16(f, executable)
	f = le.AppendUint16(f, machine)
	f = le.AppendUint32(f, version)
	f = le.AppendUint64(f, airlockAddress+airlockHeaders) // where it begins
	f = le.AppendUint64(f, elfHeaderSize)                 // program headers
	f = le.AppendUint64(f, 0)                             // no sections
	f = le.AppendUint32(f, 0)
	for _, n := range []uint16{elfHeaderSize, programHeaderSize, 2, 0, 0, 0} {
		f = le.AppendUint16(f, n)
	}
	f = appendProgramHeader(f, load, read|exec, airlockAddress, size)
	f = appendProgramHeader(f, stack, read|write, 0, 0)
	return append(f, code...)
}

func appendProgramHeader(f []byte, kind, flags uint32, where, size uint64) []byte {
	const page = 0x10000 // the largest
	f = binary.LittleEndian.AppendUint32(f, kind)
	f = binary.LittleEndian.AppendUint32(f, flags)
	for _, n := range []uint64{0, where, where, size, size, page} {
		f = binary.LittleEndian.AppendUint64(f, n)
	}
	return f
}

// airlockCode gives where the code is.
func airlockCode() (begin, end uintptr)

// failedInAirlock marks a byte on the link that is an errno of the airlock's.
const failedInAirlock = 0x80

// airlock is plan.Airlock.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (m *machine) airlock() unix.Errno {
	control := *(*uintptr)(address(m.args[1]))
	if errno := m.hand(m.link, control+1); errno != 0 {
		return errno
	}
	if gate := m.args[3]; gate != 0 {
		*(*byte)(address(control)) = 'g'
		if errno := m.hand(gate, control+4); errno != 0 {
			return errno
		}
		if errno := m.hand(m.args[4], control+6); errno != 0 {
			return errno
		}
	}
	m.report.Ready = 1
	_, _, errno := rawSyscall6(unix.SYS_EXECVEAT, m.args[0], uintptr(unsafe.Pointer(&m.empty)), m.args[1], m.args[2], unix.AT_EMPTY_PATH, 0)
	return errno
}

// hand leaves a descriptor open for the airlock, and tells it which.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (m *machine) hand(fd, digits uintptr) unix.Errno {
	*(*byte)(address(digits)) = byte(fd&63) + 1
	*(*byte)(address(digits + 1)) = byte(fd>>6) + 1
	_, _, errno := rawSyscall6(unix.SYS_FCNTL, fd, unix.F_SETFD, 0, 0, 0, 0)
	return errno
}
