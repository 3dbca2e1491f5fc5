package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime"
	"minict/runtime/launch"
	"minict/runtime/plan"
)

// createContainerHook runs a hook of the host's in the container's namespaces.
func (c *Container) createContainerHook(spec *specs.Spec, host runtime.Host, target int, h specs.Hook) error {
	p, err := runtime.CompileHook(spec, host, h)
	if err != nil {
		return err
	}
	return c.runInside(p, target, h, specs.StateCreated)
}

// startContainerHook runs a hook of the container's in the container, with no
// other rights than its program has: whoever made its root filesystem made the
// hook's program too.
func (c *Container) startContainerHook(spec *specs.Spec, host runtime.Host, target int, h specs.Hook) error {
	inside, process := *spec, *spec.Process
	process.Args = []string{h.Path}
	if len(h.Args) > 1 {
		process.Args = append(process.Args, h.Args[1:]...)
	}
	process.Env, process.Cwd, process.Terminal = h.Env, "/", false
	inside.Process = &process
	p, err := runtime.CompileExec(&inside, host, runtime.Options{})
	if err != nil {
		return err
	}
	return c.runInside(p, target, h, specs.StateCreated)
}

// runInside carries out the plan of a hook and waits for the hook's end.
func (c *Container) runInside(p *plan.Plan, target int, h specs.Hook, status Status) error {
	limit, err := hookLimit(h)
	if err != nil {
		return err
	}
	state, err := json.Marshal(c.specState(status))
	if err != nil {
		return err
	}
	file, err := inMemory(state)
	if err != nil {
		return err
	}
	defer file.Close()
	in, err := Streams{file, os.Stderr, os.Stderr}.copies()
	if err != nil {
		return err
	}
	defer in.close()
	if err := c.enter(in, p, target); err != nil {
		return err
	}
	child, err := carryOut(p, in, nil)
	if err != nil {
		return err
	}
	return awaitHook(child, limit)
}

// forever is a limit that is none.
const forever = -time.Second

// hookLimit is how long a hook may run.
func hookLimit(h specs.Hook) (time.Duration, error) {
	if h.Timeout == nil {
		return forever, nil
	}
	if *h.Timeout <= 0 {
		return 0, errors.New("the timeout is not positive")
	}
	return time.Duration(*h.Timeout) * time.Second, nil
}

func awaitHook(child *launch.Child, limit time.Duration) error {
	defer unix.Close(child.Pidfd)
	late := wait(child.Pidfd, int(limit.Milliseconds()))
	if late != nil {
		unix.PidfdSendSignal(child.Pidfd, unix.SIGKILL, nil, 0)
	}
	status, err := reap(child.Pid)
	switch {
	case late == unix.ETIMEDOUT:
		return errTimeout
	case late != nil:
		return late
	case err != nil:
		return err
	case status.Signaled():
		return fmt.Errorf("ended by signal %d", status.Signal())
	case status.ExitStatus() != 0:
		return fmt.Errorf("exit status %d", status.ExitStatus())
	}
	return nil
}
