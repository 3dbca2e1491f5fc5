package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/cgroup"
)

// Pause freezes all processes of a container that runs.
func (c *Container) Pause() error {
	if err := c.must("pause", specs.StateRunning, specs.StateCreated); err != nil {
		return err
	}
	return c.inCgroup(func(ctx context.Context, g *cgroup.Cgroup) error { return g.Freeze(ctx) })
}

// Resume lets them go on.
func (c *Container) Resume() error {
	return c.inCgroup(func(ctx context.Context, g *cgroup.Cgroup) error { return g.Thaw(ctx) })
}

// Unpause is Resume for the user: of a container that is paused.
func (c *Container) Unpause() error {
	if err := c.must("resume", statusPaused); err != nil {
		return err
	}
	return c.Resume()
}

// Metrics measures what the container uses, and counts how often the kernel
// killed for want of memory in it.
func (c *Container) Metrics() (m *cgroup.Metrics, oomKills uint64, err error) {
	if err := c.must("measure", specs.StateRunning, specs.StateCreated, statusPaused); err != nil {
		return nil, 0, err
	}
	err = c.inCgroup(func(_ context.Context, g *cgroup.Cgroup) (err error) {
		if m, err = g.Metrics(); err == nil {
			oomKills, err = g.OOMKills()
		}
		return err
	})
	return m, oomKills, err
}

// must fails if the container's status is none of these.
func (c *Container) must(verb string, ok ...Status) error {
	pidfd, status, err := c.open()
	if err != nil {
		return err
	}
	if pidfd >= 0 {
		unix.Close(pidfd)
	}
	for _, s := range ok {
		if status == s {
			return nil
		}
	}
	if status == specs.StateStopped {
		return ErrNotRunning
	}
	return fmt.Errorf("cannot %s container %s: it is %s", verb, c.ID, status)
}

func (c *Container) inCgroup(do func(context.Context, *cgroup.Cgroup) error) error {
	group, err := c.cgroup()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("container %s has no cgroup", c.ID)
	}
	if err != nil {
		return err
	}
	defer group.Close()
	ctx, cancel := context.WithTimeout(context.Background(), mercy)
	defer cancel()
	return do(ctx, group)
}
