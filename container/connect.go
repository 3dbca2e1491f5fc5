package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"minict/container/attach"
	"minict/internal/atomicfile"
	"minict/internal/flock"
	"minict/network"
	"minict/network/resolver"
)

// What Connect and Disconnect change is not in the Config, which never
// changes, but beside it: the file "networks" has the wishes that count since.

func (m *Manager) wishesPath(id string) string { return filepath.Join(m.durableDir(id), "networks") }

// readWishes puts the networks that a container was connected to meanwhile in
// the place of those that it was created with.
func (m *Manager) readWishes(c *Config) error {
	var wishes []NetworkWish
	err := readJSON(m.wishesPath(c.ID), &wishes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		c.Networks = wishes
	}
	return err
}

func (m *Manager) writeWishes(c *Config) error {
	raw, err := json.Marshal(c.Networks)
	if err != nil {
		return err
	}
	return atomicfile.Write(m.wishesPath(c.ID), raw)
}

// Connect puts a container on one more network: at once if it runs, and from
// its next start on.
func (m *Manager) Connect(ctx context.Context, ref string, w NetworkWish) error {
	return m.reconnect(ctx, ref, w.Network, func(c *Config, n *network.Network, now condition) error {
		if i := indexOf(c.Networks, n.Name); i >= 0 {
			return invalidf("container %s is on network %s already", ref, n.Name)
		}
		w.Network = n.Name
		if n.Name == network.Default && len(w.Aliases) > 0 {
			return invalidf("network alias %s: only networks that were created have names, %s has none", w.Aliases[0], n.Name)
		}
		c.Networks = append(c.Networks, w)
		return m.change(c, now, func(namespace *os.File) error {
			if err := m.nameServer(c, namespace); err != nil {
				return err
			}
			r := m.request(c)
			r.Namespace, r.Wishes = namespace, []network.Wish{w.wish()}
			_, err := m.Networks().Connect(ctx, r)
			return networkError(err)
		})
	})
}

// Disconnect takes a container off a network, at once if it runs.
func (m *Manager) Disconnect(ctx context.Context, ref, net string) error {
	return m.reconnect(ctx, ref, net, func(c *Config, n *network.Network, now condition) error {
		i := indexOf(c.Networks, n.Name)
		if i < 0 {
			return invalidf("container %s is not on network %s", ref, n.Name)
		}
		c.Networks = slices.Delete(c.Networks, i, i+1)
		return m.change(c, now, func(namespace *os.File) error {
			return networkError(m.Networks().Disconnect(ctx, m.runDir(c.ID), namespace, n.Name))
		})
	})
}

// change changes the networks of a container, in its network namespace, if it
// runs: if not, there is nothing to do. What is in its files follows.
func (m *Manager) change(c *Config, now condition, do func(namespace *os.File) error) error {
	if now.state != Running && now.state != Paused {
		return nil
	}
	before, err := m.endpoints(c.ID)
	if err != nil {
		return err
	}
	return now.withProcess(func(p *process) error {
		namespace, err := p.network()
		if err != nil {
			return err
		}
		defer namespace.Close()
		if err := do(namespace); err != nil {
			return err
		}
		after, err := m.endpoints(c.ID)
		if err != nil {
			return err
		}
		return c.renewEtc(p, before, after)
	})
}

// nameServer gives a container that runs a name server, if it is on a network
// on which there are names, and has none.
func (m *Manager) nameServer(c *Config, namespace *os.File) error {
	if !c.kind().named {
		return nil
	}
	sockets, err := resolver.OpenIn(int(namespace.Fd()))
	if errors.Is(err, resolver.ErrThere) {
		return nil
	}
	if err != nil {
		return failf(ErrSetup, "%w", err)
	}
	defer sockets.Close()
	if err := attach.Keep(m.runDir(c.ID), nil, &sockets); err != nil && !errors.Is(err, unix.EEXIST) {
		return failf(ErrSetup, "%w", err)
	}
	return nil
}

func indexOf(wishes []NetworkWish, name string) int {
	return slices.IndexFunc(wishes, func(w NetworkWish) bool { return w.Network == name })
}

// reconnect lets change alter the networks of a container, and keeps what came
// of it. Nobody else does so meanwhile, nor starts or removes it.
func (m *Manager) reconnect(ctx context.Context, ref, net string, change func(*Config, *network.Network, condition) error) error {
	m.sweep(ctx)
	id, err := m.Lookup(ref)
	if err != nil {
		return err
	}
	lock, err := flock.Lock(ctx, m.wishesPath(id)+".lock", flock.Exclusive)
	if errors.Is(err, fs.ErrNotExist) {
		return notFound(ref)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	claim, err := m.claim(ctx, id)
	switch {
	case err == nil:
		defer claim.release()
	case !errors.Is(err, flock.ErrLocked):
		return err
	}
	c, err := m.config(id)
	if err != nil {
		return err
	}
	now, err := m.condition(id)
	if err != nil {
		return err
	}
	if claim == nil && now.state != Running && now.state != Paused {
		return failf(ErrNotRunning, "container %s is being started, stopped or removed: try again", ref)
	}
	n, err := m.Networks().Get(net)
	if err != nil {
		return networkError(err)
	}
	if err := checkReconnect(c, n, ref); err != nil {
		return err
	}
	err = change(c, n, now)
	if errors.Is(err, unix.ESRCH) {
		return failf(ErrNotRunning, "container %s has just ended: try again", ref)
	}
	if err != nil {
		return errors.Join(err, m.sweepNetworks(context.WithoutCancel(ctx), true))
	}
	return m.writeWishes(c)
}

// checkReconnect refuses what has no networks that could be changed.
func checkReconnect(c *Config, n *network.Network, ref string) error {
	if isSpecial(n.Name) {
		return invalidf("network %s is chosen when a container is created: no other can be added or taken away", n.Name)
	}
	if isSpecial(c.Network) {
		return fmt.Errorf("container %s: %w", ref, invalidf("it was created with network %s, and can have no other", c.Network))
	}
	return nil
}
