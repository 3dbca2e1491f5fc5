package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"minict/internal/flock"
	"minict/internal/netlink"
	"minict/internal/randomid"
	"minict/network/release"
	"minict/network/table"
)

// Attach connects a container that is about to start, as all or nothing. It
// looks at the ports first, so that a taken one costs little. Errors:
// ErrInvalid, ErrNotFound, ErrTaken, ErrExhausted, ErrUnavailable.
func (m *Manager) Attach(ctx context.Context, r Request) (*Attached, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	// A monitor that was killed has left what its container had.
	if err := m.Release(r.RunDir); err != nil {
		return nil, err
	}
	return m.join(ctx, &joining{m: m, request: &r}, flock.Shared)
}

// Connect adds the networks of r.Wishes to a living container; r.Ports means
// nothing, those it has stay. If it does not live, the error is ErrNotFound.
//
// With the exclusive lock it is the only one that changes the container, and
// the monitor does not release meanwhile what is there.
func (m *Manager) Connect(ctx context.Context, r Request) (*Attached, error) {
	r.Ports = nil
	if err := r.check(); err != nil {
		return nil, err
	}
	return m.join(ctx, &joining{m: m, request: &r, connects: true}, flock.Exclusive)
}

// join makes endpoints. If what they need is taken by the dead alone, that is
// cleared, and then it is tried again.
func (m *Manager) join(ctx context.Context, j *joining, mode flock.Mode) (*Attached, error) {
	for try := 1; ; try++ {
		var err error
		if j.entered, err = m.enter(ctx, j.request.Wishes, mode); err != nil {
			return nil, err
		}
		err = j.run()
		j.close()
		if !errors.Is(err, errDead) || try == 2 {
			return j.after, err
		}
		for _, n := range j.networks {
			if err := m.clear(ctx, n.Name); err != nil {
				return nil, err
			}
		}
	}
}

// check looks at a request without looking at anything else.
func (r *Request) check() error {
	if len(r.Container) != 64 || !isHex(r.Container) {
		return invalidf("container %q: it has no id", r.Container)
	}
	if len(r.Wishes) == 0 {
		return invalidf("no network is asked for")
	}
	for _, w := range r.Wishes {
		if w.MAC != nil && (len(w.MAC) != 6 || w.MAC[0]&1 != 0 || string(w.MAC) == "\x00\x00\x00\x00\x00\x00") {
			return invalidf("MAC address %s: no interface can have it", w.MAC)
		}
		if w.IPv4.IsValid() && !w.IPv4.Is4() || w.IPv6.IsValid() && (!w.IPv6.Is6() || w.IPv6.Is4In6() || w.IPv6.Zone() != "") {
			return invalidf("address %s or %s is of the wrong family", w.IPv4, w.IPv6)
		}
	}
	for i, p := range r.Ports {
		if err := p.check(); err != nil {
			return err
		}
		if p.choice() == 1 && slices.ContainsFunc(r.Ports[:i], func(o Port) bool {
			return o.HostIP == p.HostIP && o.Host == p.Host && o.choice() == 1 && o.Protocol == p.Protocol
		}) {
			return invalidf("port %d/%s of the host is asked for twice", p.Host, p.Protocol)
		}
	}
	return nil
}

// joining is the making of endpoints.
type joining struct {
	*entered
	m        *Manager
	request  *Request
	connects bool      // a container that lives
	before   *Attached // what the container had
	after    *Attached // what it will have
	fresh    []Endpoint
	macs     []net.HardwareAddr
	reserved *reservation
	inside   *netlink.Socket
	// announced: others may know another MAC for the address.
	announced bool
}

// run makes the endpoints, or undoes what it did.
func (j *joining) run() (err error) {
	if err := j.plan(); err != nil {
		return err
	}
	defer func() {
		if j.inside != nil {
			j.inside.Close()
		}
		if err != nil {
			err = errors.Join(err, j.undo())
			j.after = nil
		}
	}()
	for _, step := range j.steps() {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// steps are what is done, in this order. Killed between any two, or in any, it
// leaves what a sweep finds.
func (j *joining) steps() []func() error {
	return []func() error{j.reserve, j.enterNamespace, j.lease, j.promise, j.link, j.connect, j.publish, j.tell}
}

// plan names the endpoints.
func (j *joining) plan() error {
	j.fresh, j.macs, j.reserved = nil, nil, &reservation{}
	j.before = &Attached{Container: j.request.Container, Name: j.request.Name}
	if j.connects {
		var err error
		if j.before, err = connected(j.request.RunDir); err != nil {
			return err
		}
	}
	j.after = &Attached{Container: j.before.Container, Name: j.before.Name, Ports: j.before.Ports}
	leading := slices.ContainsFunc(j.before.Endpoints, func(e Endpoint) bool { return e.Default })
	for i, n := range j.networks {
		same := func(e Endpoint) bool { return e.NetworkID == n.ID }
		if slices.ContainsFunc(j.before.Endpoints, same) || slices.ContainsFunc(j.fresh, same) {
			return failf(ErrExists, "container %s is on network %s already", j.before.Name, n.Name)
		}
		names, err := j.request.labels(n, j.request.Wishes[i])
		if err != nil {
			return err
		}
		e := Endpoint{
			ID: randomid.New(), Network: n.Name, NetworkID: n.ID, Internal: n.Internal, Names: names,
			Interface: freeInterface(j.before.Endpoints, j.fresh),
			Default:   !leading && !n.Internal,
		}
		leading = leading || e.Default
		e.Host = "mi" + e.ID[:12] // 14 bytes of 15
		j.fresh = append(j.fresh, e)
	}
	return nil
}

// freeInterface is the first of eth0, eth1 … that no endpoint has.
func freeInterface(lists ...[]Endpoint) string {
	for i := 0; ; i++ {
		name := "eth" + strconv.Itoa(i)
		if !slices.ContainsFunc(slices.Concat(lists...), func(e Endpoint) bool { return e.Interface == name }) {
			return name
		}
	}
}

// reserve takes the ports of the host.
func (j *joining) reserve() (err error) {
	if len(j.request.Ports) == 0 {
		return nil
	}
	var v4, v6 bool
	for _, n := range j.networks {
		v4 = v4 || !n.Internal
		v6 = v6 || !n.Internal && n.IPv6
	}
	j.reserved, err = j.m.reserve(j.request.Ports, v4, v6)
	j.after.Ports = j.reserved.ports
	return err
}

// enterNamespace opens the container's namespace. An address has always the
// same MAC, so nobody has to be told whose it is; but where one was chosen,
// once, it is said from then on.
func (j *joining) enterNamespace() (err error) {
	v6 := slices.ContainsFunc(j.networks, func(n *Network) bool { return n.IPv6 })
	for i, n := range j.networks {
		note := filepath.Join(j.m.stateDir(n.Name), "announced")
		if j.request.Wishes[i].MAC != nil {
			if err := writeNote(note, "yes"); err != nil {
				return err
			}
		}
		j.announced = j.announced || readNote(note) != ""
	}
	j.inside, err = openInside(j.request.Namespace, v6, j.announced)
	return err
}

// lease takes the addresses.
func (j *joining) lease() error {
	for i, n := range j.networks {
		w, e := j.request.Wishes[i], &j.fresh[i]
		if w.IPv6.IsValid() && !n.IPv6 {
			return invalidf("address %s: network %s has no IPv6", w.IPv6, n.Name)
		}
		for _, s := range n.Subnets {
			asked := w.IPv4
			if s.v6() {
				asked = w.IPv6
			}
			a, err := j.m.takeAddress(n, s, asked, j.request.Container)
			if err != nil {
				return err
			}
			e.Addresses = append(e.Addresses, netip.PrefixFrom(a, s.Prefix.Bits()))
			e.Gateways = append(e.Gateways, s.Gateway)
		}
		mac := w.MAC
		if mac == nil {
			mac = deriveMAC(e.Addresses[0].Addr())
		}
		e.MAC = mac.String()
		j.macs = append(j.macs, mac)
	}
	j.after.Endpoints = slices.Concat(j.before.Endpoints, j.fresh)
	return nil
}

// promise says what has to be undone, before it is done. A lease alone needs no
// promise: that its holder is dead can be seen.
func (j *joining) promise() error {
	return j.m.writeRelease(j.request.RunDir, j.after)
}

// link makes the files by which the container is found by its names, and by
// which its resolver finds others. The default network needs neither.
func (j *joining) link() error {
	for i := range j.fresh {
		e := &j.fresh[i]
		if e.Network == Default {
			continue
		}
		for _, name := range e.Names {
			for _, a := range e.Addresses {
				if err := j.m.addName(e.Network, name, a.Addr(), j.request.Container); err != nil {
					return err
				}
			}
		}
		dir := filepath.Join(j.request.RunDir, "net")
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		if err := symlink(j.m.stateDir(e.Network), filepath.Join(dir, e.Network)); err != nil {
			return err
		}
		if j.before.Name != "" {
			if err := symlink(j.before.Name, filepath.Join(j.request.RunDir, "name")); err != nil {
				return err
			}
		}
	}
	return nil
}

// symlink makes a link that may be there already, as it has to be.
func symlink(text, path string) error {
	if err := os.Symlink(text, path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// connect makes the pairs, and sets up their ends.
func (j *joining) connect() error {
	hairpin := len(j.request.Ports) > 0 && bridged()
	for i := range j.fresh {
		n, e := j.networks[i], &j.fresh[i]
		r := &netlink.Request{}
		addVeth(r, n, j.bridges[i], e, j.macs[i], j.request.Namespace)
		if err := j.route.Do(r, nil); err != nil {
			return notLinked(n, err)
		}
		if hairpin {
			if err := turnBack(j.route, e.Host); err != nil {
				return err
			}
		}
		if err := configure(j.inside, e); err != nil {
			return err
		}
		if j.announced {
			if err := e.announce(j.route, j.inside, j.macs[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// turnBack lets a container reach itself by a port that it has published, where
// the rules for IP packets decide inside a bridge: its frames have to go out by
// the port that they came in by.
func turnBack(s *netlink.Socket, name string) error {
	index, err := s.Index(name)
	if err == nil {
		r := &netlink.Request{}
		setHairpin(r, index)
		err = s.Do(r, nil)
	}
	return unavailable(err, "set the port "+name+" to hairpin")
}

// notLinked says why a pair could not be made.
func notLinked(n *Network, err error) error {
	const most = 1023 // BR_MAX_PORTS - 1
	if errors.Is(err, unix.EXFULL) {
		return failf(ErrExhausted, "network %s has %d containers, which is the most that a bridge takes: create another network", n.Name, most)
	}
	return unavailable(err, "make the interface for network "+n.Name)
}

// publish has the rules lead the ports to the container. Those of a container
// that has just got an address of another family, or its first, are added.
func (j *joining) publish() error {
	ports := j.after.rules()
	for _, p := range j.before.rules() {
		ports = slices.DeleteFunc(ports, func(o table.Port) bool { return release.FormatPort(o) == release.FormatPort(p) })
	}
	if len(ports) == 0 {
		return nil
	}
	if err := table.AddPorts(j.rules, ports); err != nil {
		return unavailable(err, "publish ports")
	}
	for _, p := range ports {
		if err := table.Forget(j.rules, p); err != nil {
			return unavailable(err, fmt.Sprintf("forget earlier connections to port %d", p.HostPort))
		}
	}
	return nil
}

// tell writes down what there is now.
func (j *joining) tell() error {
	j.after.Held = j.reserved.held
	if err := j.m.writeResolver(j.request.RunDir, j.request.Servers, j.after); err != nil {
		return err
	}
	return writeEndpoints(j.request.RunDir, j.after)
}

// undo takes back what was made. What the container had before stays.
func (j *joining) undo() error {
	r := &netlink.Request{}
	for i := range j.fresh {
		if index, err := j.route.Index(j.fresh[i].Host); err == nil {
			deleteLink(r, index)
		}
	}
	errs := []error{unavailable(j.route.Do(r, nil), "remove the interfaces")}
	made := &Attached{Container: j.request.Container, Endpoints: j.fresh}
	if !j.connects {
		made.Ports = j.reserved.ports
	}
	errs = append(errs, release.Lines(j.m.releaseLines(made)))
	for i := range j.fresh {
		errs = append(errs, removeIfThere(filepath.Join(j.request.RunDir, "net", j.fresh[i].Network)))
	}
	if j.connects {
		errs = append(errs, j.m.writeRelease(j.request.RunDir, j.before))
	} else {
		for _, name := range []string{release.Name, "net", "name", "resolver", "endpoints"} {
			errs = append(errs, removeIfThere(filepath.Join(j.request.RunDir, name)))
		}
	}
	j.reserved.close()
	return errors.Join(errs...)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
