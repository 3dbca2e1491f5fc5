package network

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"minict/internal/flock"
	"minict/network/release"
)

// Release undoes what the kernel did not undo when a container ended: the
// caller has its claim. The monitor does the same with package release.
func (m *Manager) Release(runDir string) error {
	err := release.Run(runDir)
	if err != nil {
		err = failf(ErrUnavailable, "release the networks of container %.12s: %w", filepath.Base(runDir), err)
	}
	return err
}

// clear releases what containers have of a network that do not live. Whoever
// starts one of them holds the shared lock while it is connected, and lives
// before.
func (m *Manager) clear(ctx context.Context, network string) error {
	lock, err := m.lock(ctx, flock.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Close()
	return m.clearLocked(network)
}

func (m *Manager) clearLocked(network string) error {
	var errs []error
	for _, id := range m.dead(network) {
		errs = append(errs, release.Locked(m.runDir(id)))
	}
	dead := func(path string) bool {
		id, err := os.Readlink(path)
		return err == nil && !m.Alive(id)
	}
	// What was taken without being written down yet, or was never released.
	errs = append(errs, sweepLinks(m.leases(network), dead))
	names, err := readNames(m.names(network))
	errs = append(errs, err)
	for _, name := range names {
		errs = append(errs, sweepLinks(m.nameDir(network, name), dead))
		os.Remove(m.nameDir(network, name)) // if it is empty now
	}
	return errors.Join(errs...)
}

func sweepLinks(dir string, dead func(path string) bool) error {
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if path := filepath.Join(dir, name); dead(path) {
			if err := removeIfThere(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// Users gives the containers that live on a network.
func (m *Manager) Users(ref string) ([]*Attached, error) {
	n, err := m.Get(ref)
	if err != nil {
		return nil, err
	}
	living, err := m.living()
	on := func(e Endpoint) bool { return e.NetworkID == n.ID }
	return slices.DeleteFunc(living, func(a *Attached) bool { return !slices.ContainsFunc(a.Endpoints, on) }), err
}

// Remove removes a network with its bridge. Errors: ErrNotFound, ErrInvalid
// for a predefined one, ErrInUse (the text says who uses it).
func (m *Manager) Remove(ctx context.Context, ref string) error {
	n, err := m.Get(ref)
	if err != nil {
		return err
	}
	if n.Predefined() {
		return invalidf("network %s is predefined: it can't be removed", n.Name)
	}
	lock, err := m.lock(ctx, flock.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Close()
	if n, err = m.read(n.Name); errors.Is(err, os.ErrNotExist) {
		return notFound(ref)
	} else if err != nil {
		return err
	}
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	return m.remove(k, n)
}

func (m *Manager) remove(k kernel, n *Network) error {
	if users := m.holders(n.Name, m.Alive); len(users) > 0 {
		var names []string
		for _, id := range users {
			names = append(names, m.nameOf(id))
		}
		slices.Sort(names)
		return failf(ErrInUse, "network %s is in use by %s: disconnect or stop first", n.Name, strings.Join(names, ", "))
	}
	if err := m.idle(k, n); err != nil {
		return err
	}
	if err := os.RemoveAll(m.stateDir(n.Name)); err != nil {
		return err
	}
	return removeIfThere(m.definition(n.Name))
}

// idle clears a network that nobody lives on, and takes its bridge down.
func (m *Manager) idle(k kernel, n *Network) error {
	if err := m.clearLocked(n.Name); err != nil {
		return err
	}
	return m.takeDown(k, n)
}

// Prune removes the networks of users that no living container is on and that
// keep says false to (nil for none), and gives their names. The bridge of any
// network that nobody uses is taken down.
func (m *Manager) Prune(ctx context.Context, keep func(*Network) bool) ([]string, error) {
	var removed []string
	err := m.each(ctx, func(k kernel, n *Network) error {
		switch {
		case len(m.holders(n.Name, m.Alive)) > 0:
			return m.clearLocked(n.Name)
		case n.Predefined() || keep != nil && keep(n):
			return m.idle(k, n)
		}
		err := m.remove(k, n)
		if err == nil {
			removed = append(removed, n.Name)
		}
		return err
	})
	return removed, err
}

// Sweep removes leases and names of containers that do not live, and takes
// down the bridges that nobody uses. It looks at everything: what one dead
// container has left is for Release.
func (m *Manager) Sweep(ctx context.Context) error {
	return m.each(ctx, func(k kernel, n *Network) error {
		if len(m.holders(n.Name, m.Alive)) > 0 {
			return m.clearLocked(n.Name)
		}
		return m.idle(k, n)
	})
}

// each does something with all networks that have a bridge, under the
// exclusive lock. It goes on after an error.
func (m *Manager) each(ctx context.Context, do func(k kernel, n *Network) error) error {
	lock, err := m.lock(ctx, flock.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := m.dropUnfinished(); err != nil {
		return err
	}
	all, err := m.definitions()
	if err != nil || len(all) == 0 {
		return err
	}
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	var errs []error
	for _, n := range all {
		errs = append(errs, do(k, n))
	}
	return errors.Join(errs...)
}

// Reload makes bridges, rules and published ports again from the files, for
// the containers that live.
func (m *Manager) Reload(ctx context.Context) error {
	lock, err := m.lock(ctx, flock.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Close()
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	all, err := m.definitions()
	if err != nil {
		return err
	}
	if err := m.makeRules(k); err != nil {
		return err
	}
	m.admit(k, true)
	var errs []error
	for _, n := range all {
		if len(m.holders(n.Name, m.Alive)) > 0 {
			errs = append(errs, m.bringUp(k, n))
		}
	}
	return errors.Join(errs...)
}
