package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"minict/internal/flock"
	"minict/runtime/cgroup"
)

// Remove removes a container: ErrRunning if it runs and force does not say
// that it may be killed. Its anonymous volumes go if volumes is true. It needs
// no free space on the disk.
func (m *Manager) Remove(ctx context.Context, ref string, force, volumes bool) error {
	m.sweep(ctx)
	id, err := m.Lookup(ref)
	if err != nil {
		return err
	}
	c, err := m.config(id)
	if err != nil {
		return err
	}
	for {
		claim, err := m.claim(ctx, id)
		if errors.Is(err, flock.ErrLocked) {
			if !force {
				return failf(ErrRunning, "container %s is running: stop it first, or use force", ref)
			}
			if err := m.kill(ctx, c); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("remove %s: %w", ref, err)
		}
		if err := m.remove(ctx, claim, c, volumes || c.AutoRemove); err != nil {
			return fmt.Errorf("remove %s: %w", ref, err)
		}
		return nil
	}
}

// remove removes a container that does not live. The file that says that it
// exists goes before everything that it needs, so that what a crash leaves is
// known to be garbage; its volumes go before, since that file names them.
func (m *Manager) remove(ctx context.Context, claim *claim, c *Config, volumes bool) error {
	if err := m.removeCgroup(ctx, c.ID); err != nil {
		claim.release()
		return err
	}
	if !volumes {
		if err := m.keepVolumes(c); err != nil {
			claim.release()
			return err
		}
		kept := *c
		kept.Mounts = nil
		c = &kept
	}
	return m.purge(claim, c)
}

// purge removes a container that is to be no more, or never was complete, and
// gives up the claim. Without a Config, what it says is found by looking.
func (m *Manager) purge(claim *claim, c *Config) error {
	var errs []error
	if c != nil {
		errs = append(errs, m.removeVolumes(c))
	}
	if err := os.Remove(m.durableConfig(claim.id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	if c != nil {
		errs = append(errs, m.dropName(c.Name, c.ID))
	}
	errs = append(errs, removeTree(m.durableDir(claim.id)))
	if err := errors.Join(errs...); err != nil {
		// What is left is found by the next sweep.
		claim.pass()
		return err
	}
	return claim.release()
}

// removeCgroup kills what is left in a container's cgroup, and removes it.
func (m *Manager) removeCgroup(ctx context.Context, id string) error {
	layout, err := cgroup.Probe()
	if err != nil {
		return err
	}
	group, err := cgroup.Open(layout, cgroupPath(id))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	defer group.Close()
	if err := group.Kill(ctx); err != nil {
		return err
	}
	return group.Remove(ctx)
}
