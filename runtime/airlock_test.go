package runtime

import (
	"errors"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Nobody can write to the program.
func TestAirlockIsSealed(t *testing.T) {
	program, err := NewAirlock()
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if _, err := program.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("write: %v", err)
	}
	if err := program.Truncate(0); !errors.Is(err, unix.EPERM) {
		t.Errorf("truncate: %v", err)
	}
}

// Who could be reached while it sets a container up, or who must not be stopped by
// the container's own rules, does not rely on an airlock.
func TestFitsAirlock(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*specs.Spec)
		fits   bool
	}{
		"ordinary":             {func(*specs.Spec) {}, true},
		"the host's processes": {func(s *specs.Spec) { s.Linux.Namespaces = nil }, false},
		"another's processes": {func(s *specs.Spec) {
			s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.PIDNamespace, Path: "/proc/1/ns/pid"}}
		}, false},
		"AppArmor": {func(s *specs.Spec) { s.Process.ApparmorProfile = "x" }, false},
		"SELinux":  {func(s *specs.Spec) { s.Process.SelinuxLabel = "x" }, false},
		"a filter that allows all": {func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
		}, true},
		"a filter that allows enough": {func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: airlockCalls, Action: specs.ActAllow}}}
		}, true},
		"a filter that allows too little": {func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: airlockCalls[1:], Action: specs.ActAllow}}}
		}, false},
		"a filter that forbids one": {func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"write"}, Action: specs.ActKill}}}
		}, false},
		"a filter that looks at arguments": {func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
				{Names: airlockCalls, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 1, Op: specs.OpEqualTo}}},
			}}
		}, false},
		"no process": {func(s *specs.Spec) { s.Process = nil }, false},
	} {
		s := ordinary("/bundle", "true")
		tt.change(s)
		if FitsAirlock(s) != tt.fits {
			t.Errorf("%s: %v", name, !tt.fits)
		}
	}
}
