package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime"
	"minict/runtime/criu"
)

// RestoreOptions are what the command line says of a restore.
type RestoreOptions struct {
	CRIUOptions
	*Bundle
	Streams
	// Terminal is handed the master side of the container's terminal, if it
	// has one.
	Terminal func(master *os.File) error
	// Created is called when the container is there, and does not run yet:
	// with its error it is undone. It may keep neither argument.
	Created func(pid, pidfd int) error

	TCPClose             bool
	LSMProfile, LSMMount string
}

// Restore makes a container of a bundle and of what Checkpoint wrote, and lets
// it run. It gives the id and a pidfd of the first process, which is a child of
// the caller. When it fails, nothing is left; when it is killed, CRIU undoes
// what it has begun or Delete does.
func (r *Runtime) Restore(id string, opt RestoreOptions) (c *Container, pid, pidfd int, err error) {
	if err := CheckID(id); err != nil {
		return nil, 0, -1, fmt.Errorf("%w: %q", err, id)
	}
	if err := isDirectory(opt.Images); err != nil {
		return nil, 0, -1, fmt.Errorf("images: %w", err)
	}
	lock, err := r.claim(id)
	if err != nil {
		return nil, 0, -1, err
	}
	defer lock.Close()
	c = &Container{ID: id, r: r, dir: r.dir(id)}
	if pidfd, err = c.restore(&opt); err != nil {
		return nil, 0, -1, errors.Join(err, r.remove(id))
	}
	return c, c.first.pid, pidfd, nil
}

func (c *Container) restore(opt *RestoreOptions) (int, error) {
	host, err := runtime.Probe()
	if err != nil {
		return -1, err
	}
	c.groups = &host.Cgroup
	if err := c.prepare(opt.Bundle, host); err != nil {
		return -1, err
	}
	b := restoration{c: c, spec: opt.Spec, host: host, opt: opt, pidfd: -1}
	cmd, err := b.command()
	defer b.close()
	if err != nil {
		return -1, err
	}
	_, err = cmd.Do(criu.Restore)
	if err == nil && b.pidfd < 0 {
		err = errors.New("CRIU did not tell which process it restored")
	}
	if err == nil {
		err = c.restored()
	}
	if err != nil {
		return -1, b.abandon(err)
	}
	return b.pidfd, nil
}

// restored makes a container of what was being restored.
func (c *Container) restored() error {
	if err := os.Remove(filepath.Join(c.dir, restoringFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	c.complete = true
	return finish(c.dir)
}

// restoring says whether CRIU may have left somebody in the cgroup.
func (c *Container) restoring() bool {
	_, err := os.Lstat(filepath.Join(c.dir, restoringFile))
	return err == nil
}

// restoration is a restore on its way.
type restoration struct {
	c     *Container
	spec  *specs.Spec
	host  runtime.Host
	opt   *RestoreOptions
	pid   int // the first process, as soon as there is one
	pidfd int
	// entered says that the cgroup is this container's: who is in it belongs
	// to it.
	entered bool
	files   []*os.File // of namespaces, for CRIU
	shown   []runtime.Shown
}

func (b *restoration) close() {
	for _, f := range b.files {
		f.Close()
	}
}

// abandon ends what was restored so far. The hooks that tell of its end are run
// if others may have told of its begin.
func (b *restoration) abandon(err error) error {
	if b.pidfd >= 0 {
		unix.PidfdSendSignal(b.pidfd, unix.SIGKILL, nil, 0)
		unix.Close(b.pidfd)
		return errors.Join(err, b.c.undo(b.pid))
	}
	if !b.entered {
		return err
	}
	if end := b.c.end(); end != nil {
		return errors.Join(err, end)
	}
	return errors.Join(err, b.c.removeCgroup())
}

// command is CRIU as it restores this container.
func (b *restoration) command() (*criu.Command, error) {
	opt, spec := b.opt, b.spec
	if err := checkMounts(spec); err != nil {
		return nil, err
	}
	cmd, err := opt.command(spec.Annotations, restoreLog, opt.In)
	if err != nil {
		return nil, err
	}
	cmd.Root, cmd.RestoreSibling, cmd.EvasiveDevices = b.c.record.Rootfs, true, true
	cmd.TCPClose, cmd.LSMProfile, cmd.LSMContext = opt.TCPClose, opt.LSMProfile, opt.LSMMount
	cmd.CgroupRoots, cmd.CgroupYard = b.cgroupRoots(), b.yard()
	if b.shown, err = runtime.ShownMounts(spec, opt.Dir); err != nil {
		return nil, err
	}
	if cmd.Mounts, err = toRestore(b.shown, b.place); err != nil {
		return nil, err
	}
	if err := b.inherit(cmd); err != nil {
		return nil, err
	}
	cmd.Furnish, cmd.Started, cmd.Notified = b.furnish, b.enterCgroup, b.notified
	return cmd, nil
}
