package runtime

import (
	"fmt"
	"slices"

	goruntime "runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
	"minict/runtime/seccomp"
)

// filterProgram is the container's seccomp filter, or nil for none.
func (c *compiler) filterProgram() (*Filter, error) {
	profile, f := c.spec.Linux.Seccomp, c.opt.Filter
	if f == nil && profile != nil {
		program, flags, err := seccomp.Compile(profile, goruntime.GOARCH)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSpec, err)
		}
		f = &Filter{Program: seccomp.Bytes(program), Flags: uint(flags)}
	}
	if f.notifies() && profile != nil && slices.ContainsFunc(profile.Syscalls, notifiesSendmsg) {
		return nil, specError("linux.seccomp: no notification of sendmsg: that is how the listener is handed over")
	}
	return f, nil
}

func notifiesSendmsg(s specs.LinuxSyscall) bool {
	return s.Action == specs.ActNotify && slices.Contains(s.Names, "sendmsg")
}

// notifies says whether there is somebody to be asked about system calls.
func (f *Filter) notifies() bool {
	return f != nil && f.Flags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0
}

// filter installs the seccomp filter. The listener of one that notifies is
// handed to the launcher, which passes it on: from here on the process may
// wait for somebody to answer. Here the descriptor closes by execve.
func (c *compiler) filter(f *Filter) {
	if f == nil {
		return
	}
	const size = 8 // struct sock_filter
	c.step("filter", "system calls", fmt.Sprintf("seccomp, %d instructions", len(f.Program)/size), "the kernel refuses what the program has no need of")
	prog := c.b.Words(plan.Int(len(f.Program)/size), c.b.Data(f.Program)) // struct sock_fprog
	install := c.b.Call(unix.SYS_SECCOMP, plan.Int(unix.SECCOMP_SET_MODE_FILTER), plan.Int(f.Flags), prog)
	if !f.notifies() {
		return
	}
	message, fdAt := c.rights(PauseSeccomp)
	install.StoreAt(fdAt)
	c.step("hand over", "the filter's listener", "", "somebody outside decides about some system calls")
	c.b.Call(plan.Pause, plan.Int(PauseSeccomp), message)
}
