package runtime

import (
	"path"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// CompileHook writes the plan for a createContainer hook: a program of the
// host's that runs in the namespaces of a container whose root filesystem is
// not its root directory yet (config.md, "POSIX-platform Hooks"). It keeps the
// rights of the runtime. The container's first process is handed as a pidfd,
// input InputTarget. Errors wrap ErrSpec.
func CompileHook(spec *specs.Spec, host Host, hook specs.Hook) (*plan.Plan, error) {
	if !path.IsAbs(hook.Path) {
		return nil, specError("hook %q: the path is not absolute", hook.Path)
	}
	args := hook.Args
	if len(args) == 0 {
		args = []string{hook.Path}
	}
	c := &compiler{spec: spec, host: host}
	if err := c.readNamespaces(); err != nil {
		return nil, err
	}
	c.procfs, c.devpts, c.init = plan.NoSlot, plan.NoSlot, plan.NoSlot
	c.stdio(&specs.Process{})
	c.target = c.b.Input(InputTarget)
	c.guard()
	c.enter()
	c.step("fork", "into the PID namespace", "", "setns moves only children there")
	c.b.Call(plan.Fork, plan.Int(0))
	c.step("connect", "stdin, stdout, stderr", "", "the only descriptors that it gets")
	for i, s := range c.std {
		c.place(s, i)
	}
	c.b.Call(unix.SYS_CHDIR, c.b.Str("/"))
	c.b.Call(unix.SYS_UMASK, plan.Int(0o022))
	c.b.Call(plan.CloseFrom, plan.Int(3))
	c.b.Call(unix.SYS_RT_SIGPROCMASK, plan.Int(unix.SIG_SETMASK), c.b.Data(make([]byte, 8)), plan.Int(0), plan.Int(8))
	c.step("exec", hook.Path, "", "")
	c.b.Call(unix.SYS_EXECVE, c.b.Str(hook.Path), c.b.Strs(args), c.b.Strs(hook.Env))
	return c.b.Plan(0, plan.NoSlot), nil
}
