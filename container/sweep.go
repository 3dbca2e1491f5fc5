package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"minict/internal/flock"
)

// Sweep finishes what was killed: it kills what is left of containers whose
// monitor is gone, removes their cgroups, and the container itself if it was
// to be removed or never was complete. It looks at the run directories alone;
// once after each boot, when there are none, also at everything else.
//
// What the last container on a network has left of that goes too.
//
// Create, Start, Remove and the like sweep by themselves.
func (m *Manager) Sweep(ctx context.Context) error {
	found, err := m.sweepContainers(ctx)
	return errors.Join(err, m.sweepNetworks(ctx, found))
}

// sweepContainers is Sweep but for networks, and says whether there was anything.
func (m *Manager) sweepContainers(ctx context.Context) (found bool, err error) {
	if err := m.layOut(); err != nil {
		return false, err
	}
	errs := []error{m.sweepBoot(ctx)}
	names, err := readNames(filepath.Join(m.State, "containers"))
	if err != nil {
		return false, errors.Join(append(errs, err)...)
	}
	for _, id := range names {
		if !isID(id) || m.alive(id) {
			continue
		}
		claim, err := m.claimDead(ctx, id)
		if errors.Is(err, flock.ErrLocked) || errors.Is(err, fs.ErrNotExist) {
			continue // somebody else is at it
		}
		if err == nil {
			found = true
			err = m.finish(ctx, claim)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("sweep %s: %w", shortID(id), err))
		}
	}
	return found, errors.Join(errs...)
}

// sweepNetworks has the bridges taken down that nobody uses. That there are any
// shows by an empty directory of leases; where something was killed, there may
// be anything.
func (m *Manager) sweepNetworks(ctx context.Context, killed bool) error {
	networks := m.Networks()
	names, err := readNames(networks.State)
	if err != nil || len(names) == 0 {
		return err
	}
	if killed {
		return networks.Sweep(ctx)
	}
	for _, name := range names {
		dir := filepath.Join(networks.State, name)
		if _, err := os.Lstat(filepath.Join(dir, "up")); err != nil {
			continue
		}
		if leases, err := readNames(filepath.Join(dir, "leases")); err == nil && len(leases) == 0 {
			return networks.Sweep(ctx)
		}
	}
	return nil
}

// sweep is Sweep on the way to something else, which does not fail by it.
func (m *Manager) sweep(ctx context.Context) { m.unswept(m.Sweep(ctx)) }

func (m *Manager) unswept(err error) {
	if err != nil && m.Log != nil {
		m.Log.Warn("sweep", "error", err)
	}
}

// sweepAfter is sweep for who has just started something in a container. Bridges that nobody is
// on stay: to take one down keeps the kernel busy for as long as several
// containers, and the next one may want it.
func (m *Manager) sweepAfter(ctx context.Context) {
	found, err := m.sweepContainers(ctx)
	if found {
		err = errors.Join(err, m.sweepNetworks(ctx, true))
	}
	m.unswept(err)
}

// sweepMeanwhile is sweepAfter beside something else, for who knows that this
// container lives. Where it is the only one there is nothing to sweep, and nobody
// is woken to find that out: another thread costs more than the look. What it gives
// waits for the end.
func (m *Manager) sweepMeanwhile(ctx context.Context, id string) (wait func()) {
	names, err := readNames(filepath.Join(m.State, "containers"))
	other := func(name string) bool { return isID(name) && name != id }
	if err == nil && slices.Contains(names, sweptFile) && !slices.ContainsFunc(names, other) {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.sweepAfter(ctx)
	}()
	return func() { <-done }
}

// claimDead claims a container whose run directory is there and whose lock is
// free. The exclusive lock of the parent makes sure that a directory without
// a lock is not just being made.
func (m *Manager) claimDead(ctx context.Context, id string) (*claim, error) {
	parent, err := flock.Lock(ctx, m.parentLock(), flock.Exclusive)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	if _, err := os.Lstat(m.runDir(id)); err != nil {
		return nil, err
	}
	lock, err := makeLock(m.lockPath(id))
	if err != nil {
		return nil, err
	}
	return &claim{m, id, lock}, nil
}

// finish does for a container what its monitor, or who was making or removing
// it, could not do any more.
func (m *Manager) finish(ctx context.Context, claim *claim) error {
	if err := m.removeCgroup(ctx, claim.id); err != nil {
		claim.pass()
		return err
	}
	if _, err := os.Lstat(m.durableConfig(claim.id)); err == nil {
		return claim.release()
	}
	c, err := readConfig(m.runConfig(claim.id))
	if err != nil {
		// It was killed before it could say what it makes, or while it
		// was being removed: then only its name can be left.
		err := m.purge(claim, nil)
		return errors.Join(err, m.danglingNames(ctx))
	}
	return m.purge(claim, c)
}

// sweptFile says, in State/containers, that sweepBoot was done.
const sweptFile = ".swept"

// sweepBoot removes, once after each boot, what was half made or half removed
// when the machine went down. That nothing else is at it is what the lock is
// for; that it was done is what its file says.
func (m *Manager) sweepBoot(ctx context.Context) error {
	done := filepath.Join(m.State, "containers", sweptFile)
	if _, err := os.Lstat(done); err == nil {
		return nil
	}
	parent, err := flock.Lock(ctx, m.parentLock(), flock.Exclusive)
	if err != nil {
		return err
	}
	defer parent.Close()
	names, err := readNames(filepath.Join(m.Root, "containers"))
	if err != nil {
		return err
	}
	for _, id := range names {
		if _, err := os.Lstat(m.durableConfig(id)); err == nil || !isID(id) {
			continue
		}
		if _, err := os.Lstat(m.runDir(id)); err == nil {
			continue // of this boot
		}
		if err := removeTree(m.durableDir(id)); err != nil {
			return err
		}
	}
	if err := errors.Join(m.danglingNames(ctx), m.lostVolumes()); err != nil {
		return err
	}
	return os.WriteFile(done, nil, 0o600)
}
