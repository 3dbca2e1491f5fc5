package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"minict/container/etc"
	"minict/internal/inroot"
	"minict/network"
	"minict/runtime"
)

// Networks are the networks that the containers of this manager can be on.
func (m *Manager) Networks() *network.Manager {
	return &network.Manager{
		Root: filepath.Join(m.Root, "networks"), State: filepath.Join(m.State, "networks"),
		Containers: filepath.Join(m.State, "containers"), Alive: m.alive, Log: m.Log,
	}
}

// attachment is a container that is being connected to its networks, beside
// whoever looks for its image and stacks its layers: both take as long.
type attachment struct {
	cancel   context.CancelFunc
	done     chan struct{}
	attached *network.Attached
	took     time.Duration
	err      error
}

// attach begins to connect a container that is about to start, by its network
// namespace. End it, whatever becomes of it.
func (m *Manager) attach(ctx context.Context, c *Config, namespace *runtime.Network) *attachment {
	ctx, cancel := context.WithCancel(ctx)
	a := &attachment{cancel: cancel, done: make(chan struct{})}
	r := m.request(c)
	go func() {
		defer close(a.done)
		if r.Namespace, a.err = namespace.File(); a.err != nil {
			return
		}
		begin := time.Now()
		a.attached, a.err = m.Networks().Attach(ctx, r)
		a.took = time.Since(begin)
	}()
	return a
}

// wait gives what was made; nothing for a container without networks.
func (a *attachment) wait() (*network.Attached, error) {
	if a == nil {
		return nil, nil
	}
	<-a.done
	return a.attached, networkError(a.err)
}

// time is how long it took, when it is over.
func (a *attachment) time() time.Duration {
	if a == nil {
		return 0
	}
	return a.took
}

// end gives up what this process has of it: the container's monitor has its
// own, or there is none and the claim on the container releases it.
func (a *attachment) end() {
	if a == nil {
		return
	}
	a.cancel()
	if <-a.done; a.attached != nil {
		for _, f := range a.attached.Held {
			f.Close()
		}
		a.attached.Held = nil
	}
}

// resolveNetworks puts what does not change in the place of what was said: the
// id of the container that is shared with, the names of networks that are given
// by their id, or, if all are to be checked, of all networks.
func (m *Manager) resolveNetworks(c *Config, all bool) error {
	if ref, ok := c.sharesNetwork(); ok {
		id, err := m.Lookup(ref)
		if err != nil {
			return fmt.Errorf("network %s: %w", c.Network, err)
		}
		other, err := m.config(id)
		if err != nil {
			return fmt.Errorf("network %s: %w", c.Network, err)
		}
		c.Network, c.Hostname, c.Domainname = NetworkContainer+id, other.Hostname, other.Domainname
	}
	for i := range c.Networks {
		w := &c.Networks[i]
		if !all && (len(w.Network) < 4 || !isHex(w.Network)) {
			continue
		}
		n, err := m.Networks().Get(w.Network)
		if err != nil {
			return networkError(err)
		}
		w.Network = n.Name
	}
	if c.bridged() {
		c.Network = c.Networks[0].Network
	}
	return nil
}

// request is what a container asks of its networks.
func (m *Manager) request(c *Config) network.Request {
	r := network.Request{Container: c.ID, Name: c.Name, RunDir: m.runDir(c.ID), Ports: c.Ports, Servers: c.DNS}
	if c.Hostname != shortID(c.ID) {
		r.Hostname = c.Hostname
	}
	for _, w := range c.Networks {
		r.Wishes = append(r.Wishes, w.wish())
	}
	return r
}

func (w NetworkWish) wish() network.Wish {
	mac, _ := net.ParseMAC(w.MAC) // it was checked when it was asked for
	return network.Wish{Network: w.Network, IPv4: w.IPv4, IPv6: w.IPv6, MAC: mac, Aliases: w.Aliases}
}

// networkError gives an error about networks its kind: what was asked wrongly,
// or what could not be set up.
func networkError(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, network.ErrInvalid), errors.Is(err, network.ErrNotFound), errors.Is(err, network.ErrTaken),
		errors.Is(err, network.ErrExists), errors.Is(err, network.ErrInUse):
		return failf(ErrInvalid, "%w", err)
	case errors.Is(err, network.ErrUnavailable) && errors.Is(err, unix.EPERM):
		return failf(ErrSetup, "%w (--network none and host need no such right)", err)
	case errors.Is(err, network.ErrUnavailable):
		return failf(ErrSetup, "%w (--network none does without)", err)
	}
	return failf(ErrSetup, "%w", err)
}

// release gives back what a container that does not live had of networks. Its
// claim is held.
func (m *Manager) release(id string) error {
	dir := m.runDir(id)
	if _, err := os.Lstat(filepath.Join(dir, "release")); err != nil {
		return nil // most have nothing
	}
	return m.Networks().Release(dir)
}

// endpoints gives what a living container is connected to, nothing if it has
// no networks.
func (m *Manager) endpoints(id string) (*network.Attached, error) {
	a, err := network.Endpoints(m.runDir(id))
	if errors.Is(err, fs.ErrNotExist) {
		return &network.Attached{}, nil
	}
	return a, err
}

// connection is how a container that is started is connected.
type connection struct {
	namespace *os.File          // nil for the host's
	attached  *network.Attached // nil without networks
	// Of the container whose namespace it is: mounts of those of its files that
	// are as they were made for it, and what all of them contain.
	files    map[string]*os.File
	contents map[string]string
}

// openNetwork gives the container its network namespace, when that is whole.
func (d *draft) openNetwork() (k connection, err error) {
	if _, ok := d.config.sharesNetwork(); ok {
		return d.openShared()
	}
	if d.namespace == nil {
		return k, nil
	}
	if k.namespace, err = d.namespace.File(); err != nil {
		return k, failf(ErrSetup, "%w", err)
	}
	k.attached, err = d.net.wait()
	return k, err
}

// openShared opens what a container shares with another, which has to run. It
// lives by its lock, and is addressed by a pidfd: what is opened is its own.
func (d *draft) openShared() (k connection, err error) {
	id, _ := d.config.sharesNetwork()
	other, now, err := d.m.running(id)
	if errors.Is(err, ErrNotRunning) {
		err = failf(ErrNotRunning, "it is not running")
	}
	if err != nil {
		return k, fmt.Errorf("network container:%s: %w", nameOr(other, id), err)
	}
	if err := now.withProcess(func(p *process) error { return d.openNetworkOf(p, &k) }); err != nil {
		return k, failf(ErrSetup, "network container:%s: %w", other.Name, err)
	}
	return k, nil
}

// openNetworkOf opens what belongs to the network of a process: its namespace,
// and the files about it.
func (d *draft) openNetworkOf(p *process, k *connection) (err error) {
	if k.namespace, err = p.network(); err != nil {
		return err
	}
	d.shared = append(d.shared, k.namespace)
	proc, err := p.dir()
	if err != nil {
		return err
	}
	defer proc.Close()
	if k.files, err = etc.Share(proc, etcFiles); err != nil {
		return err
	}
	d.shared = slices.AppendSeq(d.shared, maps.Values(k.files))
	k.contents, err = p.readFiles(etcFiles)
	return err
}

// nameOr is what people call a container, if that is known.
func nameOr(c *Config, id string) string {
	if c == nil {
		return shortID(id)
	}
	return c.Name
}

// withProcess does something with the first process of a container.
func (now condition) withProcess(do func(*process) error) error {
	p, err := openProcess(now.living.Pid, now.living.StartTime)
	if err != nil {
		return err
	}
	defer p.Close()
	return do(p)
}

// network opens the process's network namespace.
func (p *process) network() (*os.File, error) { return p.open("ns/net", unix.O_RDONLY) }

// dir opens the process's directory in /proc.
func (p *process) dir() (*os.File, error) { return p.open("", unix.O_PATH|unix.O_DIRECTORY) }

// maxEtc bounds a file that one container takes over from another, in bytes.
const maxEtc = 64 << 10

// readFiles reads files as the process sees them. Those that are not there
// are left out.
func (p *process) readFiles(names []string) (map[string]string, error) {
	root, err := p.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	files := map[string]string{}
	for _, name := range names {
		raw, err := inroot.ReadFile(root, name, maxEtc)
		if err == nil {
			files[name] = string(raw)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return files, nil
}
