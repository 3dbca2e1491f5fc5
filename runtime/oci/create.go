package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"minict/runtime"
	"minict/runtime/launch"
	"minict/runtime/plan"
)

// CreateOptions are what the command line says beside the bundle.
type CreateOptions struct {
	*Bundle
	Streams
	// Airlock is input InputAirlock of package runtime, if the container is to
	// come to its program that way; nil if the caller's own program can't be
	// written to. It stays the caller's.
	Airlock *os.File
	// Terminal is handed the master side of the container's terminal, if
	// process.terminal asks for one.
	Terminal func(master *os.File) error
	// Created is called when the container is there and waits for start:
	// with its error the container is undone. It may keep neither argument.
	Created      func(pid, pidfd int) error
	PreserveFDs  int // descriptors from 3 on that the program gets
	NoPivot      bool
	NoNewKeyring bool

	network *runtime.Network // that is being made meanwhile; nil without
}

// Create makes a container that waits for Start: everything but execve of its
// program is done. It gives the id and a pidfd of the first process, which is
// a child of the caller. When it fails, nothing is left; when it is killed, nothing
// lives on, and the next Create of this name, or Delete, clears the rest.
//
// The caller's thread has to be locked (runtime.LockOSThread), and to live as
// long as Create takes: its end is the end of what is being created.
func (r *Runtime) Create(id string, opt CreateOptions) (c *Container, pid, pidfd int, err error) {
	if err := CheckID(id); err != nil {
		return nil, 0, -1, fmt.Errorf("%w: %q", err, id)
	}
	lock, err := r.claim(id)
	if err != nil {
		return nil, 0, -1, err
	}
	defer lock.Close()
	if runtime.MakesNetwork(opt.Spec) {
		opt.network = runtime.NewNetwork()
		defer opt.network.Close()
	}
	c = &Container{ID: id, r: r, dir: r.dir(id)}
	if pidfd, err = c.create(opt); err != nil {
		return nil, 0, -1, errors.Join(err, r.remove(id))
	}
	return c, c.first.pid, pidfd, nil
}

func (c *Container) create(opt CreateOptions) (int, error) {
	host, err := runtime.Probe()
	if err != nil {
		return -1, err
	}
	c.groups = &host.Cgroup
	if err := c.prepare(opt.Bundle, host); err != nil {
		return -1, err
	}
	if err := c.makeFifos(); err != nil {
		return -1, err
	}
	child, err := c.launch(opt, host)
	if err != nil {
		return -1, err
	}
	if opt.Created != nil {
		err = opt.Created(child.Pid, child.Pidfd)
	}
	if err == nil {
		err = finish(c.dir)
	}
	if err != nil {
		unix.Close(child.Pidfd)
		return -1, errors.Join(err, c.undo(child.Pid))
	}
	c.complete = true
	return child.Pidfd, nil
}

// undo ends what was created, as if it had been started and deleted.
func (c *Container) undo(pid int) error {
	err := c.destroy()
	_, reaped := reap(pid)
	return errors.Join(err, reaped)
}

// prepare writes what is kept of the container, before there is any of it.
func (c *Container) prepare(b *Bundle, host runtime.Host) error {
	spec := b.Spec
	if spec.Root == nil || spec.Linux == nil || spec.Process == nil {
		return fmt.Errorf("%w: root, process or linux is missing", ErrConfig)
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	path, scope, err := c.r.chooseCgroup(spec.Linux, c.ID, host)
	if err != nil {
		return err
	}
	spec.Linux.CgroupsPath = path
	c.record = newRecord(c.ID, b.Dir, boot, spec)
	c.record.Scope = scope
	if err := os.WriteFile(filepath.Join(c.dir, configFile), b.raw, 0o600); err != nil {
		return err
	}
	return c.record.write(c.dir)
}

// makeFifos makes those by which the first process waits for start.
func (c *Container) makeFifos() error {
	for _, fifo := range []string{gateFile, startedFile} {
		if err := unix.Mkfifo(filepath.Join(c.dir, fifo), 0o600); err != nil {
			return &os.PathError{Op: "make fifo", Path: fifo, Err: err}
		}
	}
	return nil
}

// launch carries the plan out, up to the gate.
func (c *Container) launch(opt CreateOptions, host runtime.Host) (*launch.Child, error) {
	spec := opt.Spec
	p, err := c.compile(opt, host)
	if err != nil {
		return nil, err
	}
	in, terminal, err := opt.Streams.inputs(spec.Process)
	if err != nil {
		return nil, err
	}
	defer in.close()
	if err := c.openFifos(in); err != nil {
		return nil, err
	}
	if opt.Airlock != nil {
		in.fds[runtime.InputAirlock] = int(opt.Airlock.Fd())
	}
	if opt.network != nil {
		network, err := opt.network.File()
		if err != nil {
			return nil, err
		}
		in.fds[runtime.InputNetwork] = int(network.Fd())
	}
	maps, err := runtime.OpenIDMaps(spec)
	if err != nil {
		return nil, err
	}
	for name, fd := range maps {
		in.keep(name, fd)
	}
	child, err := carryOut(p, in, func(pause uint32, child *launch.Child) error {
		return c.atPause(pause, child, spec, host)
	})
	if err != nil {
		return nil, c.abandon(err)
	}
	if err := terminal.pass(opt.Terminal); err != nil {
		unix.Close(child.Pidfd)
		return nil, errors.Join(err, c.undo(child.Pid))
	}
	return child, nil
}

func (c *Container) compile(opt CreateOptions, host runtime.Host) (*plan.Plan, error) {
	spec := opt.Spec
	for _, w := range runtime.Warnings(spec, host) {
		c.r.note(w)
	}
	withHome(spec.Process, func() ([]byte, error) { return c.passwd(spec) })
	filter, err := c.r.filter(spec.Linux.Seccomp)
	if err != nil {
		return nil, err
	}
	return runtime.Compile(spec, host, runtime.Options{
		Bundle: opt.Dir, Filter: filter, Engine: true, Scope: c.record.Scope != nil, Gate: true, Airlock: opt.Airlock != nil,
		Network: opt.network != nil,
		NoPivot: opt.NoPivot, NoNewKeyring: opt.NoNewKeyring, PreserveFDs: opt.PreserveFDs,
	})
}

// abandon runs the hooks that tell of the container's end, if others may have
// told of its begin.
func (c *Container) abandon(err error) error {
	if c.first.pid != 0 {
		c.poststop()
		err = errors.Join(err, runtime.LeaveResctrl(c.record.IntelRdt, c.ID))
	}
	return err
}

// openFifos opens the gate for the child: to read and to write, so that it
// never finds the gate's end.
func (c *Container) openFifos(in *inputs) error {
	for input, name := range map[string]string{runtime.InputGate: gateFile, runtime.InputStarted: startedFile} {
		fd, err := unix.Open(filepath.Join(c.dir, name), unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: name, Err: err}
		}
		in.keep(input, fd)
	}
	return nil
}
