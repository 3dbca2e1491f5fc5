// Package plan holds a container's set-up as data: a flat list of system
// calls, grouped into steps that say what they do and why.
//
// A plan is made by a Builder, from an OCI specification, without touching
// the machine. It is carried out by package launch, in three parts:
//
//	Host   in the launcher, before the container's first process exists
//	       (make the cgroup, write its limits)
//	Child  in the process that becomes the container: join namespaces,
//	       mount, mask, limit, drop, filter, exec
//	Undo   in the launcher, when the container has ended
//
// Why system calls and not functions? A Go program has many threads, and the
// kernel lets only a single-threaded process enter a user namespace, become
// PID 1 of a PID namespace and lose its rights for good. After a fork the Go
// runtime can't be used in the child either. A list of system calls needs no
// runtime: one small loop works it off (launch, machine.go). As a list it can
// also be printed, compared with a golden file, and broken at any point by a
// test.
//
// # Operands
//
// A system call's arguments are numbers, addresses in the plan's data (paths,
// structures, the seccomp filter), or slots. A slot is a variable: it takes
// the result of an earlier call, mostly a file descriptor. The first slots
// are filled by the launcher with the descriptors that it was handed.
//
// # Form in memory
//
// The encoded form is the form in memory, so that the launcher needs no
// decoder, only a private mapping of the file in which addresses are made
// absolute:
//
//	header | ops | relocations | data
package plan

// Phase says where and when an operation is carried out.
type Phase uint8

const (
	Host Phase = iota
	Child
	Undo
	phases
)

// Plan is a complete, immutable list of steps. Make one with a Builder.
type Plan struct {
	Steps []Step
	// CloneFlags are the CLONE_* flags, clone3(2), of the process that
	// carries out the Child phase: the namespaces it is born in.
	CloneFlags uint64
	// Cgroup is the slot of a cgroup v2 directory in which the child is
	// born (CLONE_INTO_CGROUP), or NoSlot.
	Cgroup Slot
	// Inputs are the names of the descriptors that the launcher must be
	// handed, in the order of their slots.
	Inputs []string

	ops    [phases][]Op
	relocs []reloc
	data   []byte
	slots  int
}

// Step is what a person reads of a plan: one thing that is done and why.
type Step struct {
	Phase Phase
	// Verb and Object name the step: mount /proc.
	Verb, Object string
	// Detail is how it is done: "proc, nosuid nodev noexec".
	Detail string
	// Why says in half a line what the step isolates or protects.
	Why string
	// Undone says who takes it back: "" means the kernel, when the last
	// process of the container's namespaces is gone.
	Undone string
}

// Op is one operation: a system call or one of the launcher's own operations
// (Walk, Fork, …). Its form is part of the encoding.
type Op struct {
	Call   uint32 // system call number, or a number from firstOwn on
	Step   uint16 // index in Plan.Steps
	Phase  Phase
	Flags  OpFlags
	Result Slot // takes the result, or NoSlot
	Spare  uint16
	// Store is an offset in the data at which the result is also written
	// as 32 bits (a descriptor inside a message, say); 0 means nowhere.
	Store uint32
	Kinds [6]Kind
	// Skip are answers to errors: the first whose errno is that of the
	// call ends it quietly and skips so many operations.
	Skip   [3]Skip
	Spare2 uint16
	Spare3 uint32
	Args   [6]uint64
}

// Skip answers an errno by going on, Ops operations further than the next.
type Skip struct {
	Errno uint16
	Ops   uint16
}

// Kind says what an argument is.
type Kind uint8

const (
	KindInt  Kind = iota // the number itself
	KindData             // an offset in the data
	KindSlot             // the value of a slot
)

// OpFlags change how a result is taken.
type OpFlags uint8

const (
	// AnyError makes every error a success.
	AnyError OpFlags = 1 << iota
)

// The launcher's own operations. Linux system call numbers are far below.
const (
	firstOwn uint32 = 1 << 16

	// Walk (root fd, path, kind, mode) resolves path below root as the
	// kernel would if root were the root directory, makes what is missing
	// (a directory, or an empty file, see WalkDir and WalkFile), and
	// results in an O_PATH descriptor of it. CVE-2021-30465 and
	// CVE-2024-45310 are what happens to those who resolve twice.
	Walk = firstOwn + iota
	// Fork (flags) clones a sibling, with CLONE_PARENT; the sibling carries
	// on, the process that forked ends. The sibling's process id, as the
	// launcher sees it, is reported. It is clone(2) and not clone3(2),
	// because filters that can't look into clone3's structure forbid it.
	Fork
	// Jump skips so many operations.
	Jump
	// Expect (address, byte, errno) fails with errno unless the byte
	// stands at the address.
	Expect
	// Expect32 (address, value, mask, errno) fails with errno unless the
	// 32 bits at the address, masked, are the value.
	Expect32
	// Differ (address, address, errno) fails with errno if the 64 bits at
	// both addresses are the same.
	Differ
	// CloseFrom (fd, keep, keep, keep) closes all descriptors from fd on, but
	// the three to be kept (-1: none) and the one by which the launcher learns
	// of the end of the set-up, which closes by execve.
	CloseFrom
	// Rmdir (path) removes an empty directory, waiting for a short time
	// while it is busy: a cgroup stays so until the kernel has buried the
	// last process, and tells nobody (v1) when it has.
	Rmdir
	// Pause (number, message) tells the launcher that there is something
	// for it to do, and waits until it is done. The number, below 128, says
	// what; see launch.Program.Start. The message is 0, or the address of a
	// struct msghdr whose only byte is the number, sent with a descriptor.
	// If the launcher is gone, it fails with ECONNRESET.
	Pause
	// Gate (gate, started) tells the launcher that the child is ready, and
	// waits for a byte on the descriptor gate, which it closes then. What
	// goes wrong later is written to the descriptor started, which closes by
	// execve; see launch.Started. If nobody is left who could open the gate,
	// it fails with ECONNRESET.
	Gate
	// Copy (from, to, what) makes the empty directory to like from: with
	// CopyInside it copies what is in it, with CopyTop what the directory
	// itself is. Owners, modes and times are copied, but no extended
	// attributes; hard links become files of their own.
	Copy
	// Airlock (program, argv, envp, gate, started) becomes the user's program by
	// way of another, see launch.AirlockProgram: argv is what that takes. If gate
	// is not 0, the other waits there, and both do what those of Gate do.
	Airlock
)

// Options of Copy.
const (
	CopyTop = 1 << iota
	CopyInside
)

// What Walk makes when nothing is there.
const (
	WalkExisting = iota // nothing: it has to exist
	WalkDir             // a directory
	WalkFile            // an empty file

	// WalkPlain is added to refuse symbolic links (ELOOP).
	WalkPlain = 1 << 8
)

// Slot is a variable of a plan.
type Slot uint16

// NoSlot is the slot of a result that nobody needs.
const NoSlot Slot = 1<<16 - 1

// Arg is an argument of an operation.
type Arg struct {
	kind  Kind
	value uint64
}

// Int is a number as an argument; a negative one, such as AT_FDCWD, is
// extended to the width of a register.
func Int[T ~int | ~int32 | ~int64 | ~uint | ~uint16 | ~uint32 | ~uint64](v T) Arg {
	return Arg{KindInt, uint64(v)}
}

// Value is a slot's value as an argument.
func (s Slot) Value() Arg { return Arg{KindSlot, uint64(s)} }

type reloc struct {
	At, To uint32 // at offset At of the data stands the address of offset To
}

// Ops gives the operations of a phase, for tests.
func (p *Plan) Ops(phase Phase) []Op { return p.ops[phase] }
