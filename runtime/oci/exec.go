package oci

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime"
	"minict/runtime/launch"
	"minict/runtime/plan"
)

// ExecOptions are what the command line says beside the process.
type ExecOptions struct {
	Streams
	// Terminal is handed the master side of the process's terminal, if it
	// asks for one.
	Terminal     func(master *os.File) error
	PreserveFDs  int  // descriptors from 3 on that the program gets
	IgnorePaused bool // wait until somebody resumes the container
	// Subgroups are cgroups below the container's in which the process is
	// started; they have to be there: see runtime.Options.
	Subgroups []string
}

// confined gives a process what holds for the container's first one, if it says
// nothing about it: a label that is left out must not be a way out.
func confined(p, first *specs.Process) *specs.Process {
	q := *p
	if q.ApparmorProfile == "" {
		q.ApparmorProfile = first.ApparmorProfile
	}
	if q.SelinuxLabel == "" {
		q.SelinuxLabel = first.SelinuxLabel
	}
	if q.Scheduler == nil {
		q.Scheduler = first.Scheduler
	}
	if q.IOPriority == nil {
		q.IOPriority = first.IOPriority
	}
	if q.ExecCPUAffinity == nil {
		q.ExecCPUAffinity = first.ExecCPUAffinity
	}
	return &q
}

// Exec starts one more process in a container that runs. It is a child of the
// caller.
func (c *Container) Exec(p *specs.Process, opt ExecOptions) (pid, pidfd int, err error) {
	pid, pidfd, err = c.exec(p, opt)
	if noRoom(err) && len(opt.Subgroups) == 0 {
		if below := c.firstGroup(); below != "" {
			opt.Subgroups = []string{":" + below}
			return c.exec(p, opt)
		}
	}
	return pid, pidfd, err
}

// noRoom says whether no process could be made in the container's group: with
// cgroup v2 none may be in a group that hands controllers down, which a
// container does that has an init such as systemd (cgroups(7), "no internal
// processes").
func noRoom(err error) bool {
	var step *runtime.StepError
	return errors.As(err, &step) && step.Step == (plan.Step{}) && step.Errno == unix.EBUSY
}

// firstGroup is where below the container's cgroup of version 2 its first
// process is, or "".
func (c *Container) firstGroup() string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.first.pid))
	if err != nil {
		return "" // it has ended, and so has what was to be executed
	}
	for line := range strings.Lines(string(raw)) {
		if group, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"+c.record.Cgroup); ok {
			return group
		}
	}
	return ""
}

func (c *Container) exec(p *specs.Process, opt ExecOptions) (pid, pidfd int, err error) {
	host, err := runtime.Probe()
	if err != nil {
		return 0, -1, err
	}
	c.groups = &host.Cgroup
	target, err := c.target(opt.IgnorePaused)
	if err != nil {
		return 0, -1, err
	}
	defer unix.Close(target)
	spec, err := c.Config()
	if err != nil {
		return 0, -1, err
	}
	spec.Process = confined(p, spec.Process)
	withHome(spec.Process, func() ([]byte, error) { return c.passwdInside(target) })
	own := &specs.Spec{Process: spec.Process, Linux: &specs.Linux{Namespaces: spec.Linux.Namespaces}}
	for _, w := range runtime.Warnings(own, host) { // of the container it was warned when it was created
		c.r.note(w)
	}
	child, err := c.launchExec(spec, opt, host, target)
	if err != nil {
		return 0, -1, err
	}
	return child.Pid, child.Pidfd, nil
}

// launchExec carries out the plan of the process that spec has now.
func (c *Container) launchExec(spec *specs.Spec, opt ExecOptions, host runtime.Host, target int) (*launch.Child, error) {
	filter, err := c.r.filter(spec.Linux.Seccomp)
	if err != nil {
		return nil, err
	}
	p, err := runtime.CompileExec(spec, host, runtime.Options{
		Filter: filter, PreserveFDs: opt.PreserveFDs, Outlive: true, Subgroups: opt.Subgroups,
	})
	if err != nil {
		return nil, err
	}
	in, terminal, err := opt.Streams.inputs(spec.Process)
	if err != nil {
		return nil, err
	}
	defer in.close()
	if err := c.enter(in, p, target); err != nil {
		return nil, err
	}
	child, err := carryOut(p, in, func(pause uint32, child *launch.Child) error {
		if pause != runtime.PauseSeccomp {
			return launch.ErrPause
		}
		return c.sendListener(spec.Linux.Seccomp, child.Pid, child.Sent, specs.StateRunning)
	})
	if err != nil {
		return nil, err
	}
	if err := terminal.pass(opt.Terminal); err != nil {
		unix.PidfdSendSignal(child.Pidfd, unix.SIGKILL, nil, 0)
		unix.Close(child.Pidfd)
		_, reaped := reap(child.Pid)
		return nil, errors.Join(err, reaped)
	}
	return child, nil
}

// enter adds what a plan wants of the container that it enters: the pidfd of its
// first process, and where mounts are shared its root directory.
func (c *Container) enter(in *inputs, p *plan.Plan, target int) error {
	in.fds[runtime.InputTarget] = target
	if !slices.Contains(p.Inputs, runtime.InputRoot) {
		return nil
	}
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", c.first.pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the root directory of container %s: %w", c.ID, err)
	}
	in.keep(runtime.InputRoot, root)
	// As long as it is not buried nobody else has its number.
	if err := unix.PidfdSendSignal(target, 0, nil, 0); err != nil {
		return fmt.Errorf("open the root directory of container %s: %w", c.ID, err)
	}
	return nil
}

// target gives the pidfd of the first process of a container that can be
// entered.
func (c *Container) target(ignorePaused bool) (int, error) {
	pidfd, status, err := c.open()
	if err != nil {
		return -1, err
	}
	switch {
	case status == specs.StateStopped || pidfd < 0:
		err = errors.New("cannot exec in a stopped container")
	case status == specs.StateCreating:
		err = errors.New("cannot exec in a container that is being created")
	case status == statusPaused && !ignorePaused:
		err = errors.New("cannot exec in a paused container (use --ignore-paused to override)")
	default:
		return pidfd, nil
	}
	if pidfd >= 0 {
		unix.Close(pidfd)
	}
	return -1, err
}
