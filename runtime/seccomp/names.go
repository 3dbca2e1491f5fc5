package seccomp

import (
	"slices"
	"sort"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

//go:generate go run ./internal/gentables

// The columns of callNumbers.
const (
	columnAMD64 = iota
	column386
	columnARM64
	columnARM
	columns
)

// An abi is one way to make system calls. Its numbers are those of its column,
// with two exceptions: x32's carry a bit, and some of them are their own.
type abi struct {
	arch   specs.Arch
	audit  uint32 // what the kernel calls it: seccomp_data.arch
	column int
	narrow bool // arguments are 32 bits wide
	x32    bool
	// first and last bound the numbers that are this ABI's business.
	first, last uint32
	// private is where numbers begin that say nothing about a call's age.
	private uint32
}

// x32Bit marks a call of x86_64 as one of the x32 ABI.
// Source: __X32_SYSCALL_BIT in arch/x86/include/uapi/asm/unistd.h.
const x32Bit = 0x40000000

const noLimit = ^uint32(0)

// abis are the ABIs that filters are made for, in the order of their numbers
// in the kernel, families together.
var abis = [...]abi{
	{arch: specs.ArchX86, audit: unix.AUDIT_ARCH_I386, column: column386, narrow: true, last: noLimit, private: noLimit},
	{arch: specs.ArchX86_64, audit: unix.AUDIT_ARCH_X86_64, column: columnAMD64, last: x32Bit - 1, private: noLimit},
	{arch: specs.ArchX32, audit: unix.AUDIT_ARCH_X86_64, column: columnAMD64, x32: true, first: x32Bit, last: noLimit, private: noLimit},
	{arch: specs.ArchARM, audit: unix.AUDIT_ARCH_ARM, column: columnARM, narrow: true, last: noLimit, private: 0xf0000},
	{arch: specs.ArchAARCH64, audit: unix.AUDIT_ARCH_AARCH64, column: columnARM64, last: noLimit, private: noLimit},
}

// family returns the ABIs that a kernel for arch, one of Go's names for
// architectures, can know, and which of them is its own.
func family(arch string) (all []abi, native specs.Arch) {
	switch arch {
	case "amd64":
		return abis[:3], specs.ArchX86_64
	case "386":
		return abis[:3], specs.ArchX86
	case "arm64":
		return abis[3:], specs.ArchAARCH64
	case "arm":
		return abis[3:], specs.ArchARM
	}
	return nil, ""
}

// knownArch tells whether the OCI specification names the architecture.
func knownArch(a specs.Arch) bool {
	switch a {
	case specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64,
		specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32,
		specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32,
		specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X,
		specs.ArchPARISC, specs.ArchPARISC64, specs.ArchRISCV64, specs.ArchLOONGARCH64,
		specs.ArchM68K, specs.ArchSH, specs.ArchSHEB:
		return true
	}
	return false
}

// call returns the place of a name in the tables, or -1.
func call(name string) int {
	i := sort.Search(callCount, func(i int) bool { return callName(i) >= name })
	if i < callCount && callName(i) == name {
		return i
	}
	return -1
}

func callName(i int) string {
	start := 0
	if i > 0 {
		start = int(callEnds[i-1])
	}
	return callNames[start:callEnds[i]]
}

// number returns the number that a call, given by its place in the tables, has
// in the ABI.
func (a abi) number(call int) (nr uint32, ok bool) {
	n := callNumbers[a.column][call]
	if n < 0 {
		return 0, false
	}
	if !a.x32 {
		return uint32(n), true
	}
	if own := x32Number(uint32(n)); own != 0 {
		return x32Bit | own, true
	}
	return x32Bit | uint32(n), true
}

// x32Own are the calls that x32 has apart from x86_64 because their arguments
// hold pointers, by their numbers of x86_64; those of x32 follow one another
// from 512. Source: arch/x86/entry/syscalls/syscall_64.tbl, the ABI x32.
var x32Own = [...]uint16{
	13, 15, 16, 19, 20, 45, 46, 47, 59, 101, 127, 128,
	129, 131, 222, 244, 246, 247, 273, 274, 278, 279, 295, 296,
	297, 299, 307, 310, 311, 54, 55, 206, 209, 322, 327, 328,
}

// x32Number returns the number of a call that x32 has apart, and 0 for all others.
func x32Number(amd64 uint32) uint32 {
	for i, n := range x32Own {
		if uint32(n) == amd64 {
			return 512 + uint32(i)
		}
	}
	return 0
}

// A muxed call is one that i386 also, or only, offers through a call that takes
// the wanted call's number as its first argument and the wanted call's
// arguments behind a pointer. Sources: socketcall(2), ipc(2),
// include/uapi/linux/net.h and include/uapi/linux/ipc.h.
type muxed struct {
	through string
	// first is the first argument, in the bits of mask.
	first, mask uint32
}

var socketcalls = [...]string{
	1: "socket", 2: "bind", 3: "connect", 4: "listen", 5: "accept",
	6: "getsockname", 7: "getpeername", 8: "socketpair", 9: "send", 10: "recv",
	11: "sendto", 12: "recvfrom", 13: "shutdown", 14: "setsockopt", 15: "getsockopt",
	16: "sendmsg", 17: "recvmsg", 18: "accept4", 19: "recvmmsg", 20: "sendmmsg",
}

var ipcs = [...]string{
	1: "semop", 2: "semget", 3: "semctl", 4: "semtimedop",
	11: "msgsnd", 12: "msgrcv", 13: "msgget", 14: "msgctl",
	21: "shmat", 22: "shmdt", 23: "shmget", 24: "shmctl",
}

// mux returns how a call can be made through another one in the ABI.
func (a abi) mux(name string) (muxed, bool) {
	if a.column != column386 || name == "" {
		return muxed{}, false
	}
	if i := slices.Index(socketcalls[:], name); i > 0 {
		return muxed{"socketcall", uint32(i), noLimit}, true
	}
	// The upper half of ipc's first argument is a version.
	if i := slices.Index(ipcs[:], name); i > 0 {
		return muxed{"ipc", uint32(i), 0xffff}, true
	}
	return muxed{}, false
}
