package seccomp

import (
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The words of a profile that Compile knows, for those who ask what it can.
var (
	Actions = []specs.LinuxSeccompAction{
		specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActKillThread,
		specs.ActLog, specs.ActNotify, specs.ActTrace, specs.ActTrap,
	}
	Operators = []specs.LinuxSeccompOperator{
		specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpLessEqual,
		specs.OpLessThan, specs.OpMaskedEqual, specs.OpNotEqual,
	}
	Flags = []specs.LinuxSeccompFlag{
		specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, "SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagWaitKillableRecv,
	}
)

// Archs gives the architectures that filters can be about on a kernel of the
// architecture with Go's name.
func Archs(arch string) (list []specs.Arch) {
	all, _ := family(arch)
	for _, a := range all {
		list = append(list, a.arch)
	}
	return list
}

// Supported gives those of Flags that this kernel takes: with one that it
// doesn't know it refuses a filter before it looks where that is (seccomp(2)).
func Supported() (list []specs.LinuxSeccompFlag) {
	for _, flag := range Flags {
		bits, err := parseFlags(&specs.LinuxSeccomp{Flags: []specs.LinuxSeccompFlag{flag}}, true)
		if err != nil {
			continue
		}
		var nothing unsafe.Pointer
		_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(bits), uintptr(nothing))
		if errno == unix.EFAULT {
			list = append(list, flag)
		}
	}
	return list
}
