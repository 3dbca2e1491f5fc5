package network

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A lease is a symbolic link, whose name is the address and whose text is the
// id of the container that has it: the kernel makes it whole for exactly one of
// all who want it.

func (m *Manager) leases(network string) string { return filepath.Join(m.stateDir(network), "leases") }

func (m *Manager) lease(network string, a netip.Addr) string {
	return filepath.Join(m.leases(network), a.String())
}

// errDead says that nothing is free but what dead containers have.
var errDead = errors.New("a dead container has it")

// takeAddress gives a container an address: the one that is asked for, or the
// next after the one that was given last, so that an address has a rest before
// somebody else gets it.
func (m *Manager) takeAddress(n *Network, s Subnet, asked netip.Addr, id string) (netip.Addr, error) {
	if asked.IsValid() {
		return asked, m.takeAsked(n, s, asked, id)
	}
	within := s.Range
	if !within.IsValid() {
		within = s.Prefix
	}
	cursor := m.cursor(n.Name, s)
	a, err := netip.ParseAddr(readNote(cursor))
	if err != nil || !within.Contains(a) {
		a = within.Addr()
	}
	a, err = m.search(n, s, within, a, id)
	if err != nil {
		return a, err
	}
	return a, writeNote(cursor, a.String())
}

func (m *Manager) cursor(network string, s Subnet) string {
	if s.v6() {
		return filepath.Join(m.stateDir(network), "cursor6")
	}
	return filepath.Join(m.stateDir(network), "cursor4")
}

func (m *Manager) takeAsked(n *Network, s Subnet, a netip.Addr, id string) error {
	switch {
	case !s.usable(a):
		return invalidf("address %s is no address of a host in %s, the subnet of network %s", a, s.Prefix, n.Name)
	case a == s.Gateway:
		return failf(ErrTaken, "address %s is the gateway of network %s", a, n.Name)
	}
	took, err := m.take(n.Name, a, id)
	if err != nil || took {
		return err
	}
	holder, err := os.Readlink(m.lease(n.Name, a))
	if err == nil && m.Alive(holder) {
		return failf(ErrTaken, "address %s of network %s is taken by container %s", a, n.Name, m.nameOf(holder))
	}
	return errDead
}

// take tries to get one address.
func (m *Manager) take(network string, a netip.Addr, id string) (bool, error) {
	err := unix.Symlink(id, m.lease(network, a))
	switch err {
	case nil:
		return true, nil
	case unix.EEXIST:
		return false, nil
	}
	return false, &fs.PathError{Op: "take", Path: m.lease(network, a), Err: err}
}

// tries is how many addresses are tried one by one before all leases are read.
const tries = 32

// search goes round once.
func (m *Manager) search(n *Network, s Subnet, within netip.Prefix, after netip.Addr, id string) (netip.Addr, error) {
	var known map[string]bool
	a := after
	for tried := 0; ; tried++ {
		if a = a.Next(); !within.Contains(a) { // an invalid one is in nothing
			a = within.Addr()
		}
		if s.usable(a) && a != s.Gateway && !known[a.String()] {
			if took, err := m.take(n.Name, a, id); err != nil || took {
				return a, err
			}
		}
		if a == after {
			return a, m.exhausted(n, within)
		}
		if tried == tries {
			names, err := readNames(m.leases(n.Name))
			if err != nil {
				return a, err
			}
			known = make(map[string]bool, len(names))
			for _, name := range names {
				known[name] = true
			}
		}
	}
}

// exhausted says why there is no address.
func (m *Manager) exhausted(n *Network, within netip.Prefix) error {
	if m.dead(n.Name) != nil {
		return errDead
	}
	return failf(ErrExhausted, "network %s has no free address in %s", n.Name, within)
}

// dead lists the containers that do not live and still have leases of a
// network.
func (m *Manager) dead(network string) []string {
	return m.holders(network, func(id string) bool { return !m.Alive(id) })
}

// holders lists the containers that have leases of a network, and fit.
func (m *Manager) holders(network string, fits func(id string) bool) []string {
	names, err := readNames(m.leases(network))
	if err != nil {
		return nil
	}
	var ids []string
	seen := map[string]bool{}
	for _, name := range names {
		id, err := os.Readlink(filepath.Join(m.leases(network), name))
		if err == nil && !seen[id] && fits(id) {
			ids = append(ids, id)
		}
		seen[id] = true
	}
	return ids
}
