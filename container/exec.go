package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/container/attach"
	"minict/runtime"
)

// ExecOptions describe a further command in a running container.
type ExecOptions struct {
	Args       []string
	Env        []string // as in Options
	WorkDir    string   // "" is the container's
	User       string   // "" is the container's
	TTY        bool
	OpenStdin  bool
	Privileged bool
	Streams    *Streams // nil in the background
	Getenv     func(name string) (value string, ok bool)
}

// Exec runs a command in a running container and returns when it has ended,
// or, without streams, when it runs. Once it runs, what others left to be swept is
// swept.
func (m *Manager) Exec(ctx context.Context, ref string, o *ExecOptions) (Ended, error) {
	c, now, err := m.running(ref)
	if err != nil {
		return Ended{}, err
	}
	if now.state == Paused {
		return Ended{}, failf(ErrNotRunning, "container %s is paused: unpause it first", ref)
	}
	gone := failf(ErrNotRunning, "container %s is not running", ref)
	target, err := openProcess(now.living.Pid, now.living.StartTime)
	if errors.Is(err, unix.ESRCH) {
		return Ended{}, gone
	}
	if err != nil {
		return Ended{}, err
	}
	defer target.Close()
	p, err := m.compileExec(c, target, o)
	if err != nil {
		return Ended{}, err
	}
	signals, err := o.Streams.signals(o.TTY)
	if err != nil {
		return Ended{}, err
	}
	session, err := attach.Exec(m.runDir(c.ID), *p)
	if err != nil {
		if isGone(err) {
			return Ended{}, gone
		}
		return Ended{}, startError(p.Plan, err)
	}
	ended := Ended{ID: c.ID}
	if o.Streams == nil {
		m.sweepAfter(ctx)
		return ended, session.Close()
	}
	defer m.sweepMeanwhile(context.WithoutCancel(ctx), c.ID)()
	exit, err := relay(ctx, session, *o.Streams, signals)
	ended.Exit, ended.Detached = exit.Code, exit.Detached
	if err != nil {
		err = fmt.Errorf("container %s: %w", ref, err)
	}
	return ended, err
}

// compileExec makes the plan of a further process in a container.
func (m *Manager) compileExec(c *Config, target *process, o *ExecOptions) (*attach.Process, error) {
	host, err := runtime.Probe()
	if err != nil {
		return nil, failf(ErrSetup, "%w", err)
	}
	f := facts{}
	if err := f.rights(c); err != nil {
		return nil, err
	}
	filter, err := m.filter(c)
	if err != nil {
		return nil, err
	}
	process, err := execProcess(c, target, o, f)
	if err != nil {
		return nil, err
	}
	spec := specification(c, f)
	spec.Process = process
	p, err := runtime.CompileExec(spec, host, runtime.Options{Filter: filter})
	if err != nil {
		return nil, failf(ErrSetup, "%w", err)
	}
	return &attach.Process{
		Plan:     p,
		Inputs:   map[string]*os.File{runtime.InputTarget: target.File},
		Terminal: o.TTY, Stdin: o.OpenStdin, StdinOnce: o.OpenStdin && !o.TTY,
		Output: o.Streams != nil,
	}, nil
}

// execProcess says what the further process is. Its user is looked up in the
// container as it is now, which may be anything by now.
func execProcess(c *Config, target *process, o *ExecOptions, f facts) (*specs.Process, error) {
	if len(o.Args) == 0 || o.Args[0] == "" {
		return nil, invalidf("no command given")
	}
	root, err := target.root()
	if err != nil {
		return nil, fmt.Errorf("open root directory of the container: %w", err)
	}
	defer root.Close()
	user, err := findIdentity(root, cmp.Or(o.User, c.User))
	if err != nil {
		return nil, err
	}
	env, err := mergeEnv(c.Env, o.Env, o.Getenv)
	if err != nil {
		return nil, err
	}
	dir := cmp.Or(c.WorkDir, "/")
	if o.WorkDir != "" {
		if dir, err = cleanWorkDir(o.WorkDir); err != nil {
			return nil, err
		}
	}
	rights := c
	if o.Privileged {
		all := *c
		all.Privileged = true
		rights = &all
	}
	return &specs.Process{
		Terminal:        o.TTY,
		ConsoleSize:     RunOptions{Streams: o.Streams}.console(o.TTY).box(),
		User:            user.spec(),
		Args:            o.Args,
		Env:             environment(c, env, user.home, o.TTY),
		Cwd:             dir,
		Capabilities:    rights.capabilities(f, user.uid),
		Rlimits:         c.rlimits(f),
		NoNewPrivileges: c.NoNewPrivileges,
	}, nil
}
