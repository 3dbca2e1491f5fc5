// Package wire is the language between the minict command and a container's
// monitor: messages on a Unix socket that keeps their borders
// (SOCK_SEQPACKET), at most MaxMessage bytes each. Both sides come from one
// build, so there are no versions.
//
// A message is a byte that says its type, and the fields drawn here, one after
// the other, without gaps, numbers in little endian. u8 to u64 are unsigned
// numbers; str is a u16 and so many bytes; strs is a u16 and so many str;
// bytes and u64s go on to the end of the message. (n fds) are descriptors that
// travel with the message (SCM_RIGHTS, unix(7)). A test reads this drawing.
//
//	command to monitor
//	   1 Descriptors (1-250 fds)
//	   2 Start       u8 flags, bytes inputs as str, bytes kept as str, str runDir, str logDir, u64 logMax,
//	                 str exitDir, str cgroup, str oomFile, str oomKey, u8 stopSignal, u32 stopTimeout,
//	                 u8 removal, strs remove (2-252 fds: plan, lock, inputs, kept)
//	   3 Exec        u8 flags, bytes inputs as str (1-251 fds: plan, inputs)
//	   4 Attach      u8 flags
//	   5 Stdin       bytes data
//	   6 StdinEOF
//	   7 Resize      u16 rows, u16 cols
//	   8 Signal      u8 signal, u8 interrupt
//	   9 Hangup      u8 type
//	  10 Keep        bytes kept as str (0-252 fds: kept)
//
//	monitor to command
//	  16 Started     u32 pid, u64 startTime, u8 flags
//	  17 Failed      u32 step, u32 errno, u8 exec, str doing
//	  18 Stdout      bytes data
//	  19 Stderr      bytes data
//	  20 Window      u32 room
//	  21 Clocks      u64s began
//	  22 Exited      u32 status, u8 oomKilled
//	  23 Kept        u32 errno
//
// # How it goes
//
// The command that starts a container sends Start on the monitor's own socket;
// any other connects to the socket in the container's run directory and sends
// Exec, Attach or Keep. Descriptors comes before Start, Exec or Keep if there are
// more than one message carries. The answer is Clocks, if FlagTimed asks for
// them, and then Started, or Failed and the end of the connection. With Started
// the connection belongs to one process: the one that it started, or the
// container's first. Its output comes if FlagOutput is set, and at last
// Exited, after all output and after everything that the container leaves
// behind was cleaned up. The answer to Keep is Kept.
//
// The connection that started a process is its owner: the process waits for a
// slow owner as it would for a slow reader of a pipe. Others that fall behind
// are hung up on. The end of a connection means nothing to the process, but
// for FlagStdinOnce. A sender of Stdin has room for StdinWindow bytes at first,
// and for more as Window says, so that its other messages never wait behind
// its data. Hangup says that the command can't get rid of output of a type
// (Stdout, Stderr): it gets no more of it, and if it is the owner, the process
// gets SIGPIPE, as from a pipe that nobody reads.
package wire

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Limits of messages.
const (
	MaxData        = 64 << 10    // of Stdin, Stdout, Stderr
	MaxMessage     = 1 + MaxData // of any message
	MaxDescriptors = 252         // of one message; the kernel's SCM_MAX_FD is 253
	MaxInputs      = 4096        // of one plan
	MaxKept        = 4096        // of one message
	StdinWindow    = 64 << 10    // bytes of Stdin that are sent before a Window
	MonitorFD      = 3           // the monitor's own socket
	SocketName     = "sock"      // in the run directory
)

// Type is the first byte of a message.
type Type byte

const (
	TypeDescriptors Type = iota + 1
	TypeStart
	TypeExec
	TypeAttach
	TypeStdin
	TypeStdinEOF
	TypeResize
	TypeSignal
	TypeHangup
	TypeKeep
)

const (
	TypeStarted Type = iota + 16
	TypeFailed
	TypeStdout
	TypeStderr
	TypeWindow
	TypeClocks
	TypeExited
	TypeKept
)

// ErrMessage says that bytes are not a message, or not one of that type.
var ErrMessage = errors.New("malformed message")

// Flags are wishes about a process and its connection.
type Flags uint8

const (
	FlagTerminal  Flags = 1 << iota // the plan makes a terminal
	FlagStdin                       // it has a standard input that can be written to
	FlagStdinOnce                   // which ends with StdinEOF, or with this connection
	FlagOutput                      // send output on this connection
	FlagTimed                       // send Clocks
)

// Input says where the descriptor of one input of a plan comes from.
type Input byte

const (
	InputSent  Input = iota // the next one of those sent
	InputStdin              // the monitor makes it
	InputStdout
	InputStderr
	InputConsole
	inputs
)

// Kept says what a descriptor is for that the monitor keeps until the container
// has ended.
type Kept byte

const (
	KeptOpen    Kept = iota // to be open, no more: a socket that reserves a port
	KeptPackets             // the name server's socket for datagrams, and the
	KeptStreams             // one that listens for connections: both, or neither
	kepts
)

// Removal says when the paths in Start.Remove are removed.
type Removal uint8

const (
	RemoveOnFailure Removal = 1 << iota // the container could not be started
	RemoveAtEnd                         // it has ended
)

// Start starts a container. With it travel the plan (a memfd), the locked
// file that says that the container lives, the inputs, and what is kept.
type Start struct {
	Flags  Flags
	Inputs []Input
	Kept   []Kept
	// RunDir is removed at the end, the file "lock" in it last.
	RunDir string
	// LogDir takes the files "log" and "log.1"; empty for no log. A file
	// that is LogMax bytes long is renamed and begun anew; 0 is 16 MiB.
	LogDir string
	LogMax uint64
	// ExitDir takes the file "exit"; empty for none.
	ExitDir string
	// Cgroup is the directory whose processes are killed when the first
	// one has ended; empty if there is no need to.
	Cgroup string
	// OOMFile has a line "OOMKey n" that counts kills for want of memory;
	// empty if there is no limit.
	OOMFile, OOMKey string
	// StopSignal is what a monitor that is told to end (SIGTERM) passes on;
	// after StopTimeout milliseconds it kills.
	StopSignal  uint8
	StopTimeout uint32
	// Remove are files and directories that are removed in this order,
	// after everything else but RunDir, when Removal says so.
	Removal Removal
	Remove  []string
}

// Exec starts one more process. With it travel the plan and the inputs.
type Exec struct {
	Flags  Flags
	Inputs []Input
}

// Started answers Start, Exec and Attach.
type Started struct {
	Pid       uint32 // in the monitor's PID namespace
	StartTime uint64 // clock ticks since boot, field 22 of proc_pid_stat(5)
	Flags     Flags  // FlagTerminal and FlagStdin of the process
}

// NoStep is Failed.Step of what is not a step of the plan.
const NoStep = 1<<32 - 1

// Interrupts says whether a signal that a command passes on asks for an end, as
// from the keyboard: see AppendSignal. The others are the program's own affair.
func Interrupts(n unix.Signal) bool {
	return n == unix.SIGINT || n == unix.SIGTERM || n == unix.SIGHUP || n == unix.SIGQUIT
}

// Failed says what went wrong: a step of the plan, or what else the monitor
// was doing.
type Failed struct {
	Step  uint32
	Errno uint32
	Exec  bool // the step was execve of the user's program
	Doing string
}

// Exited is the end of a process.
type Exited struct {
	Status    uint32 // as wait(2) gives it
	OOMKilled bool
}
