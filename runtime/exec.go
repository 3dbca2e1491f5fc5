package runtime

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/cgroup"
	"minict/runtime/plan"
)

// CompileExec writes the plan for one more process in a running container:
// spec is the container's, with Process replaced by the one to run. The
// container's first process is handed as a pidfd, input InputTarget, and if it
// has no mount namespace of its own, its root directory as InputRoot. Errors
// wrap ErrSpec.
//
// The process enters all namespaces, gives up its rights, and only then forks
// the sibling that belongs to the PID namespace and becomes the program: as
// long as it has rights worth taking, no process of the container can see it.
func CompileExec(spec *specs.Spec, host Host, opt Options) (*plan.Plan, error) {
	c := &compiler{spec: spec, host: host, opt: opt}
	c.procfs, c.devpts, c.init = plan.NoSlot, plan.NoSlot, plan.NoSlot
	if spec.Process == nil || len(spec.Process.Args) == 0 || spec.Linux == nil {
		return nil, specError("process.args is empty")
	}
	if err := checkProcess(spec.Process); err != nil {
		return nil, err
	}
	if err := c.readNamespaces(); err != nil {
		return nil, err
	}
	if err := c.checkMapped(spec.Process.User); err != nil {
		return nil, err
	}
	c.stdio(spec.Process)
	c.target = c.b.Input(InputTarget)
	if c.sharesMounts() {
		c.root = c.b.Input(InputRoot)
	}
	joined := cgroup.Joined{Slot: plan.NoSlot}
	if p := spec.Linux.CgroupsPath; p != "" {
		var err error
		if joined, err = host.Cgroup.Enter(&c.b, p, opt.Subgroups...); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSpec, err)
		}
	}
	c.earlyOOMScore()
	c.earlyLimits()
	if a := spec.Process.ExecCPUAffinity; a != nil {
		if err := c.affinity("initial", a.Initial, "until it is in the container's cgroup"); err != nil {
			return nil, err
		}
	}
	c.guard()
	joined.Join(&c.b)
	if a := spec.Process.ExecCPUAffinity; a != nil {
		if err := c.affinity("final", a.Final, "in the container's cgroup"); err != nil {
			return nil, err
		}
	}
	if err := c.labels(); err != nil {
		return nil, err
	}
	if err := c.attributes(); err != nil {
		return nil, err
	}
	c.enter()
	if c.sharesMounts() {
		c.chroot()
	}
	if err := c.becomeRoot(); err != nil {
		return nil, err
	}
	if spec.Process.Terminal {
		c.execTerminal()
	}
	if err := c.process(); err != nil {
		return nil, err
	}
	return c.finished(0, joined)
}

// enter joins the namespaces that the container has of its own, all at once:
// with the user namespace come the rights over the others. Where some are the
// host's, or the user namespace is the caller's, those come first for which the
// caller has the rights.
func (c *compiler) enter() {
	all := c.spaces.fresh
	for flag := range c.spaces.paths {
		all |= flag
	}
	if all == 0 {
		return
	}
	c.step("join namespaces", "of the container", "", "one more process among the container's")
	at := c.b.Len()
	c.b.Call(unix.SYS_SETNS, c.target.Value(), plan.Int(all))
	if all&unix.CLONE_NEWUSER == 0 {
		return
	}
	done := c.b.Len()
	c.b.Call(plan.Jump)
	c.b.SkipFrom(at, int(unix.EPERM), int(unix.EINVAL))
	if others := all &^ unix.CLONE_NEWUSER; others != 0 {
		c.b.Call(unix.SYS_SETNS, c.target.Value(), plan.Int(others))
	}
	c.b.Call(unix.SYS_SETNS, c.target.Value(), plan.Int(unix.CLONE_NEWUSER)).Ignore(int(unix.EINVAL))
	c.b.JumpTo(done)
}

// execTerminal opens a terminal in the container's devpts, after a look that
// it is one: by now the container may have put something else there.
func (c *compiler) execTerminal() {
	c.step("open", "a terminal", "", "its own, never the caller's")
	dir := c.b.Slot()
	c.b.Call(unix.SYS_OPENAT, plan.Int(atFDCWD), c.b.Str("/dev/pts"), plan.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).Into(dir)
	c.isDevpts(dir)
	c.pty(dir, c.spec.Process)
}

// handOver lets a sibling go on that is in the PID namespace.
func (c *compiler) handOver() error {
	c.step("fork", "into the PID namespace", "", "setns moves only children there")
	c.b.Call(plan.Fork, plan.Int(0))
	// The end of a session's leader takes its terminal away, so only the
	// process that stays may lead it.
	c.b.Call(unix.SYS_SETSID)
	if c.spec.Process.Terminal {
		c.b.Call(unix.SYS_IOCTL, plan.Int(0), plan.Int(unix.TIOCSCTTY), plan.Int(0))
	}
	return c.forkedScheduler()
}
