package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime"
	"minict/runtime/launch"
)

// atPause does what is to be done while the child waits in the middle of its
// set-up.
func (c *Container) atPause(pause uint32, child *launch.Child, spec *specs.Spec, host runtime.Host) error {
	switch pause {
	case runtime.PauseCgroup:
		return c.enterScope(child.Pid, spec.Linux.Resources)
	case runtime.PauseMappings:
		return runtime.Prepare(spec, child.Pid)
	case runtime.PauseCreateRuntime:
		return c.createRuntime(child, spec, host)
	case launch.PauseAtGate:
		return c.writeFirst(child)
	case runtime.PauseCreateContainer:
		return each("createContainer", spec.Hooks.CreateContainer, func(h specs.Hook) error {
			return c.createContainerHook(spec, host, child.Pidfd, h)
		})
	case runtime.PauseSeccomp:
		return c.sendListener(spec.Linux.Seccomp, child.Pid, child.Sent, specs.StateCreating)
	}
	return fmt.Errorf("the plan pauses for what nobody does: %d", pause)
}

// writeFirst writes down which process the first one is: until then it dies
// with this process, and from here on it can be found whoever is killed.
func (c *Container) writeFirst(child *launch.Child) (err error) {
	if c.first.pid == child.Pid {
		return nil
	}
	if c.first, err = identify(child.Pid); err != nil {
		return err
	}
	return writePid(c.dir, c.first)
}

// createRuntime writes down which process the first one is. Then
// it gives it its cgroup, if it may manage that, its share of caches and its network devices, and runs the first hooks.
func (c *Container) createRuntime(child *launch.Child, spec *specs.Spec, host runtime.Host) error {
	if err := c.writeFirst(child); err != nil {
		return err
	}
	if uid, ok := runtime.CgroupOwner(spec); ok && c.record.Cgroup != "" && !host.Rootless {
		if err := host.Cgroup.Delegate(c.record.Cgroup, uid); err != nil {
			return err
		}
	}
	if err := runtime.JoinResctrl(spec.Linux.IntelRdt, c.ID, child.Pid); err != nil {
		return err
	}
	if err := runtime.MoveNetDevices(spec.Linux.NetDevices, child.Pid, child.Pidfd); err != nil {
		return err
	}
	hooks := spec.Hooks
	if hooks == nil {
		return nil
	}
	// They see the container created: its environment is there (runtime.md,
	// "Lifecycle", step 2).
	if err := each("prestart", hooks.Prestart, c.onHost(specs.StateCreated)); err != nil {
		return err
	}
	return each("createRuntime", hooks.CreateRuntime, c.onHost(specs.StateCreated))
}

// each runs hooks, one after the other, until one fails.
func each(kind string, hooks []specs.Hook, run func(specs.Hook) error) error {
	for i, h := range hooks {
		if err := run(h); err != nil {
			return fmt.Errorf("%s hook %d, %s: %w", kind, i, h.Path, err)
		}
	}
	return nil
}

// onHost runs a hook on the host.
func (c *Container) onHost(status Status) func(specs.Hook) error {
	return func(h specs.Hook) error {
		state, err := json.Marshal(c.specState(status))
		if err != nil {
			return err
		}
		return runHook(h, state)
	}
}

// poststop runs the last hooks. They can't stop anything any more: what fails
// is told, and no more.
func (c *Container) poststop() {
	if c.record.Hooks == nil {
		return
	}
	for _, h := range c.record.Hooks.Poststop {
		c.r.warn(each("poststop", []specs.Hook{h}, c.onHost(specs.StateStopped)))
	}
}

func (c *Container) poststart() {
	if c.record.Hooks == nil {
		return
	}
	for _, h := range c.record.Hooks.Poststart {
		c.r.warn(each("poststart", []specs.Hook{h}, c.onHost(specs.StateRunning)))
	}
}

// errTimeout says that a hook did not end in time.
var errTimeout = errors.New("timed out")

// runHook runs a hook on the host: with nothing but the environment that it is
// given, and what it says goes to where the command's errors go.
func runHook(h specs.Hook, state []byte) error {
	if !filepath.IsAbs(h.Path) {
		return errors.New("the path is not absolute")
	}
	in, err := inMemory(state)
	if err != nil {
		return err
	}
	defer in.Close()
	limit, err := hookLimit(h)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if limit != forever {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, h.Path)
	if len(h.Args) > 0 {
		cmd.Args = h.Args
	}
	cmd.Env = append([]string{}, h.Env...) // not nil: that would be the caller's
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, os.Stderr, os.Stderr
	err = cmd.Run()
	if ctx.Err() != nil {
		return errTimeout
	}
	return err
}

// inMemory gives a file to read these bytes from.
func inMemory(data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "state")
	if _, err := f.Write(data); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
