package oci

import (
	"fmt"
	"path/filepath"
	goruntime "runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"minict/runtime"
	"minict/runtime/seccomp"
)

// filterDir is where compiled filters are kept, for all containers: no
// container has such a name.
const filterDir = ".seccomp"

// filter gives what a seccomp profile compiles to. It takes longer than all
// else that exec does, and an engine's containers have one profile; so it is
// kept. A filter that asks somebody is for package runtime to look at.
func (r *Runtime) filter(p *specs.LinuxSeccomp) (*runtime.Filter, error) {
	if p == nil || p.DefaultAction == specs.ActNotify ||
		slices.ContainsFunc(p.Syscalls, func(s specs.LinuxSyscall) bool { return s.Action == specs.ActNotify }) {
		return nil, nil
	}
	cache := seccomp.Cache{Dir: filepath.Join(r.Root, filterDir), Arch: goruntime.GOARCH}
	program, flags, err := cache.Compile(p)
	if err != nil {
		return nil, fmt.Errorf("%w: linux.seccomp: %w", ErrConfig, err)
	}
	return &runtime.Filter{Program: program, Flags: uint(flags)}, nil
}
