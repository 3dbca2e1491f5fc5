package runtime

import (
	"fmt"
	goruntime "runtime"

	"golang.org/x/sys/unix"

	"minict/runtime/seccomp"
)

// filterProgram is the container's seccomp filter, or nil for none.
func (c *compiler) filterProgram() (*Filter, error) {
	if c.opt.Filter != nil {
		return c.opt.Filter, nil
	}
	profile := c.spec.Linux.Seccomp
	if profile == nil {
		return nil, nil
	}
	if profile.ListenerPath != "" {
		return nil, specError("linux.seccomp.listenerPath is not supported yet")
	}
	program, flags, err := seccomp.Compile(profile, goruntime.GOARCH)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpec, err)
	}
	if flags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
		return nil, specError("linux.seccomp: notifications are not supported yet")
	}
	return &Filter{Program: seccomp.Bytes(program), Flags: uint(flags)}, nil
}
