package network

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"minict/internal/flock"
	"minict/internal/netlink"
	"minict/network/release"
	"minict/network/table"
)

// Disconnect takes a living container off a network. If it is not on it, the
// error is ErrNotFound.
func (m *Manager) Disconnect(ctx context.Context, runDir string, namespace *os.File, ref string) error {
	n, err := m.Get(ref)
	if err != nil {
		return err
	}
	lock, err := m.lock(ctx, flock.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Close()
	before, err := connected(runDir)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(before.Endpoints, func(e Endpoint) bool { return e.NetworkID == n.ID }) {
		return failf(ErrNotFound, "container %s is not on network %s", before.Name, n.Name)
	}
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	return m.leave(k, runDir, namespace, before, n)
}

// leave takes an endpoint away. Default routes and published ports go over to
// another network, if one goes out.
func (m *Manager) leave(k kernel, runDir string, namespace *os.File, before *Attached, n *Network) error {
	gone := &Attached{Container: before.Container}
	after := &Attached{Container: before.Container, Name: before.Name, Ports: before.Ports}
	for _, e := range before.Endpoints {
		if e.NetworkID == n.ID {
			gone.Endpoints = append(gone.Endpoints, e)
		} else {
			after.Endpoints = append(after.Endpoints, e)
		}
	}
	leading := -1
	if gone.Endpoints[0].Default {
		leading = slices.IndexFunc(after.Endpoints, func(e Endpoint) bool { return !e.Internal })
	}
	if leading >= 0 {
		after.Endpoints[leading].Default = true
	}
	for _, p := range before.rules() {
		if err := table.RemovePort(k.rules, p); err != nil {
			return unavailable(err, "take ports back")
		}
	}
	for _, e := range gone.Endpoints {
		index, err := k.route.Index(e.Host)
		if err != nil {
			continue // the container has ended
		}
		r := &netlink.Request{}
		deleteLink(r, index)
		if err := k.route.Do(r, nil); err != nil {
			return unavailable(err, "remove "+e.Interface)
		}
	}
	if err := release.Lines(m.releaseLines(gone)); err != nil {
		return err
	}
	if err := removeIfThere(filepath.Join(runDir, "net", n.Name)); err != nil {
		return err
	}
	return m.settle(k, runDir, namespace, after, leading)
}

// settle writes down what a container still has, and leads routes and ports to
// it.
func (m *Manager) settle(k kernel, runDir string, namespace *os.File, a *Attached, leading int) error {
	if err := m.writeRelease(runDir, a); err != nil {
		return err
	}
	if err := m.writeResolver(runDir, nil, a); err != nil {
		return err
	}
	if err := writeEndpoints(runDir, a); err != nil {
		return err
	}
	if leading >= 0 {
		inside, err := openInside(namespace, len(a.Endpoints[leading].Gateways) > 1, false)
		if err != nil {
			return err
		}
		defer inside.Close()
		if err := a.Endpoints[leading].lead(inside); err != nil {
			return err
		}
	}
	ports := a.rules()
	if len(ports) == 0 {
		return nil
	}
	if err := table.AddPorts(k.rules, ports); err != nil {
		return unavailable(err, "publish ports")
	}
	for _, p := range ports {
		if err := table.Forget(k.rules, p); err != nil {
			return unavailable(err, "forget earlier connections")
		}
	}
	return nil
}
