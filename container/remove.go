package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"minict/internal/flock"
)

// Remove removes a container: ErrRunning if it runs and force does not say
// that it may be killed. Its anonymous volumes go if volumes is true. It needs
// no free space on the disk, and no readable Config.
func (m *Manager) Remove(ctx context.Context, ref string, force, volumes bool) error {
	m.sweep(ctx)
	id, err := m.Lookup(ref)
	if err != nil {
		return err
	}
	c, err := m.config(id)
	if errors.Is(err, ErrNotFound) {
		return err
	}
	for {
		claim, err := m.claimFull(ctx, id)
		if errors.Is(err, flock.ErrLocked) {
			if !force {
				return failf(ErrRunning, "container %s is running: stop it first, or use force", ref)
			}
			if err := m.kill(ctx, id); err != nil {
				return fmt.Errorf("remove %s: %w", ref, err)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("remove %s: %w", ref, err)
		}
		err = m.remove(ctx, claim, c, volumes)
		if err == nil {
			err = m.sweepNetworks(ctx, false)
		}
		if err != nil {
			return fmt.Errorf("remove %s: %w", ref, err)
		}
		return nil
	}
}

// claimFull is claim that does without the lock when there is no space left
// to make it: nobody can start the container then, and to remove it twice at
// once does no harm.
func (m *Manager) claimFull(ctx context.Context, id string) (*claim, error) {
	c, err := m.claim(ctx, id)
	if (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)) && !m.alive(id) {
		return &claim{m: m, id: id}, nil
	}
	return c, err
}

// remove removes a container that does not live. The file that says that it
// exists goes before everything that it needs, so that what a crash leaves is
// known to be garbage; its volumes go before, since that file names them. If
// that file can't be read, c is nil.
func (m *Manager) remove(ctx context.Context, claim *claim, c *Config, volumes bool) error {
	if err := m.removeCgroup(ctx, claim.id); err != nil {
		claim.release()
		return err
	}
	if c == nil {
		return errors.Join(m.purge(claim, nil), m.danglingNames(ctx))
	}
	if !volumes && !c.AutoRemove {
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
	if c != nil {
		if err := m.removeVolumes(c); err != nil {
			claim.pass() // still whole, or to be swept
			return err
		}
	}
	var errs []error
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
	group, err := openCgroup(id)
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
