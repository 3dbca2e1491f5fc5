package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime"
	"minict/runtime/cgroup"
)

// mercy is how long the kernel may take to end processes and to bury them.
const mercy = 10 * time.Second

// Delete removes a container that has stopped; with force it is killed first,
// whatever its state, and what a killed create has left of one goes too.
func (r *Runtime) Delete(id string, force bool) error {
	c, err := r.Load(id)
	if errors.Is(err, ErrNotExist) {
		return r.deleteRemains(id)
	}
	if err != nil {
		return err
	}
	_, status, release, err := c.hold()
	if err != nil {
		return err
	}
	defer release()
	if status != specs.StateStopped && c.complete && !force {
		return fmt.Errorf("cannot delete container %s that is not stopped: %s", id, status)
	}
	if err := c.destroy(); err != nil {
		return err
	}
	return r.remove(id)
}

// deleteRemains removes a directory in which a create was killed before there
// was anything of a container. There being none at all is ErrNotExist.
func (r *Runtime) deleteRemains(id string) error {
	if _, err := os.Lstat(r.dir(id)); err != nil {
		return ErrNotExist
	}
	lock, err := r.claim(id)
	if err != nil {
		return err
	}
	defer lock.Close()
	return r.remove(id)
}

// destroyRemains ends what there is of a container whose create was killed; the
// caller has its lock.
func (r *Runtime) destroyRemains(id string) error {
	c, err := r.Load(id)
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.destroy()
}

// destroy ends a container's processes and undoes what is not undone by that:
// the cgroups. Then the poststop hooks are run. The caller has the lock.
func (c *Container) destroy() error {
	if err := c.end(); err != nil {
		return err
	}
	if err := c.removeCgroup(); err != nil {
		return err
	}
	if err := runtime.LeaveResctrl(c.record.IntelRdt, c.ID); err != nil {
		return err
	}
	c.poststop()
	return nil
}

// end kills the first process and waits for its end. A PID namespace of the
// container's own ends with it; without one, or when it was being restored, the
// cgroup tells who is left.
func (c *Container) end() error {
	if boot, err := bootID(); err != nil || boot != c.record.Boot {
		return err
	}
	pidfd, err := c.first.open()
	switch {
	case errors.Is(err, ErrNotRunning):
	case err != nil:
		return err
	default:
		defer unix.Close(pidfd)
		if err := c.kill(pidfd, unix.SIGKILL); err != nil && !errors.Is(err, ErrNotRunning) {
			return err
		}
		if err := wait(pidfd, int(mercy.Milliseconds())); err != nil {
			return fmt.Errorf("wait for the end of container %s: %w", c.ID, err)
		}
	}
	if c.record.OwnPIDs && !c.restoring() {
		return nil
	}
	return c.killAll()
}

func (c *Container) killAll() error {
	return c.withCgroup(func(ctx context.Context, group *cgroup.Cgroup) error { return group.Kill(ctx) })
}

// withCgroup does something about the cgroup, if it is still there.
func (c *Container) withCgroup(do func(context.Context, *cgroup.Cgroup) error) error {
	group, err := c.cgroup()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer group.Close()
	ctx, cancel := context.WithTimeout(context.Background(), mercy)
	defer cancel()
	return do(ctx, group)
}
