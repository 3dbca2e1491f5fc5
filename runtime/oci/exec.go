package oci

import (
	"errors"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime"
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

// Exec starts one more process in a container that runs. It is a child of the
// caller.
func (c *Container) Exec(p *specs.Process, opt ExecOptions) (pid, pidfd int, err error) {
	target, err := c.target(opt.IgnorePaused)
	if err != nil {
		return 0, -1, err
	}
	defer unix.Close(target)
	spec, err := c.Config()
	if err != nil {
		return 0, -1, err
	}
	spec.Process = p
	host, err := runtime.Probe()
	if err != nil {
		return 0, -1, err
	}
	plan, err := runtime.CompileExec(spec, host, runtime.Options{PreserveFDs: opt.PreserveFDs, Outlive: true, Subgroups: opt.Subgroups})
	if err != nil {
		return 0, -1, err
	}
	in, err := opt.Streams.inputs()
	if err != nil {
		return 0, -1, err
	}
	defer in.close()
	in.fds[runtime.InputTarget] = target
	var terminal func() (*os.File, error)
	if p.Terminal {
		if terminal, err = in.addTerminal(); err != nil {
			return 0, -1, err
		}
	}
	child, err := carryOut(plan, in, nil)
	if err != nil {
		return 0, -1, err
	}
	if err := passTerminal(terminal, opt.Terminal); err != nil {
		unix.PidfdSendSignal(child.Pidfd, unix.SIGKILL, nil, 0)
		unix.Close(child.Pidfd)
		_, reaped := reap(child.Pid)
		return 0, -1, errors.Join(err, reaped)
	}
	return child.Pid, child.Pidfd, nil
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
