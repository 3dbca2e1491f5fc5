package runtime

import (
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/launch"
)

// NewAirlock gives input InputAirlock: the program of an airlock
// (launch.AirlockProgram) in a memory file that is sealed, so that nobody can
// write to it, memfd_create(2).
func NewAirlock() (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("airlock", flags|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3 each could be executed
		fd, err = unix.MemfdCreate("airlock", flags)
	}
	if err != nil {
		return nil, fmt.Errorf("make airlock: %w", err)
	}
	f := os.NewFile(uintptr(fd), "airlock")
	if _, err = unix.Write(fd, launch.AirlockProgram()); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make airlock: %w", err)
	}
	return f, nil
}

// airlockCalls are the system calls from the installation of a filter to the
// execution of the program, of the child and of an airlock.
var airlockCalls = []string{"fcntl", "execveat", "read", "prctl", "close", "execve", "write", "exit_group"}

// FitsAirlock says whether a container can come to its program by way of an
// airlock (Options.Airlock), and so be launched by a program that could be written
// to (CVE-2019-5736). While it is set up, nobody may be near who could reach the launcher by
// /proc/PID/exe: it has a PID namespace of its own. The filter has to let the
// airlock do its work. And a label that the kernel gives to the next program must
// not go to the airlock.
func FitsAirlock(s *specs.Spec) bool {
	if s.Process == nil || s.Linux == nil || s.Process.ApparmorProfile+s.Process.SelinuxLabel != "" {
		return false
	}
	alone := slices.ContainsFunc(s.Linux.Namespaces, func(ns specs.LinuxNamespace) bool {
		return ns.Type == specs.PIDNamespace && ns.Path == ""
	})
	return alone && !slices.ContainsFunc(airlockCalls, func(call string) bool { return !permits(s.Linux.Seccomp, call) })
}

// permits says whether a profile lets a system call through, whatever its
// arguments: no rule says anything else about it.
func permits(p *specs.LinuxSeccomp, call string) bool {
	if p == nil {
		return true
	}
	allowed := lets(p.DefaultAction)
	for _, rule := range p.Syscalls {
		if !slices.Contains(rule.Names, call) {
			continue
		}
		if !lets(rule.Action) || len(rule.Args) > 0 {
			return false
		}
		allowed = true
	}
	return allowed
}

func lets(a specs.LinuxSeccompAction) bool { return a == specs.ActAllow || a == specs.ActLog }
