package network

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"minict/network/table"
)

// protocols that have ports, by name.
var protocols = map[string]struct{ number, socket int }{
	"tcp": {unix.IPPROTO_TCP, unix.SOCK_STREAM},
	"udp": {unix.IPPROTO_UDP, unix.SOCK_DGRAM},
}

// String is how docker writes a port: 0.0.0.0:8080->80/tcp.
func (p Port) String() string {
	return netip.AddrPortFrom(p.HostIP, p.Host).String() + "->" + strconv.Itoa(int(p.Container)) + "/" + p.Protocol
}

func (p Port) check() error {
	if _, known := protocols[p.Protocol]; !known {
		return invalidf("port %d/%s: the protocol has to be tcp or udp", p.Container, p.Protocol)
	}
	if p.Container == 0 {
		return invalidf("port 0/%s: a container's port is a number from 1 to 65535", p.Protocol)
	}
	if p.HostLast != 0 && (p.Host == 0 || p.HostLast < p.Host) {
		return invalidf("ports %d-%d/%s of the host are no range", p.Host, p.HostLast, p.Protocol)
	}
	if p.HostIP.Zone() != "" || p.HostIP.Is4In6() || p.HostIP.IsMulticast() {
		return invalidf("publish on %s: it is no address of this host", p.HostIP)
	}
	if p.HostIP == netip.IPv6Loopback() {
		return invalidf("publish on [::1]: Linux can't translate to and from it; publish on 127.0.0.1")
	}
	return nil
}

// reservation is the ports that are kept for a container.
type reservation struct {
	ports []Port
	held  []*os.File
}

func (r *reservation) close() {
	for _, f := range r.held {
		f.Close()
	}
}

// reserve keeps ports from everybody else, or none of them. Those of which there
// is less to choose from come first, so that no choice takes what another port
// needs.
func (m *Manager) reserve(asked []Port, v4, v6 bool) (r *reservation, err error) {
	r = &reservation{}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	for _, p := range slices.SortedStableFunc(slices.Values(asked), func(p, q Port) int { return p.choice() - q.choice() }) {
		addresses, err := p.addresses(v4, v6)
		if err != nil {
			return r, err
		}
		if err := m.reserveOne(r, p, addresses); err != nil {
			return r, err
		}
	}
	return r, nil
}

// choice says how many ports of the host will do.
func (p Port) choice() int {
	switch {
	case p.Host == 0:
		return 1 << 16
	case p.HostLast == 0:
		return 1
	}
	return int(p.HostLast) - int(p.Host) + 1
}

// addresses are those of which a port is asked for. Each has to be of a family
// in which the container is reached.
func (p Port) addresses(v4, v6 bool) (list []netip.Addr, err error) {
	if p.HostIP.IsValid() {
		if p.HostIP.Is6() && !v6 || p.HostIP.Is4() && !v4 {
			return nil, invalidf("publish on %s: the container has no address of that family on a network that goes out", p.HostIP)
		}
		return []netip.Addr{p.HostIP}, nil
	}
	if v4 {
		list = append(list, netip.IPv4Unspecified())
	}
	if v6 {
		list = append(list, netip.IPv6Unspecified())
	}
	if list == nil {
		return nil, invalidf("publish port %d/%s: the container is on no network that goes out", p.Container, p.Protocol)
	}
	return list, nil
}

// reserveOne reserves a port that will do. It is to be the same of all addresses,
// so if it is taken of one of them, the next of the range, or another free one,
// is tried.
func (m *Manager) reserveOne(r *reservation, asked Port, addresses []netip.Addr) error {
	const tries = 16
	p := asked
	p.HostLast = 0
	for try := 1; ; try++ {
		failed, err := r.take(p, addresses)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EADDRINUSE):
			return m.notReserved(failed, err)
		case asked.Host == 0 && try < tries:
		case p.Host < asked.HostLast:
			p.Host++
		case asked.HostLast != 0:
			asked.HostIP = addresses[0]
			return failf(ErrTaken, "ports %s are all in use on the host", asked.where())
		default:
			return m.notReserved(failed, err)
		}
	}
}

// take reserves a port of all addresses, by sockets that are bound to it, as
// nobody else can be then. Nothing listens: what the rules don't catch is
// refused, and does not wait for an answer that never comes. With an error it
// gives the port that it is about, and takes none.
func (r *reservation) take(p Port, addresses []netip.Addr) (Port, error) {
	before := len(r.ports)
	for _, p.HostIP = range addresses {
		fd, err := hold(p)
		if err == nil {
			r.held = append(r.held, os.NewFile(uintptr(fd), "published port"))
			p.Host, err = boundPort(fd)
		}
		if err != nil {
			for _, f := range r.held[before:] {
				f.Close()
			}
			r.ports, r.held = r.ports[:before], r.held[:before]
			return p, err
		}
		r.ports = append(r.ports, p)
	}
	return p, nil
}

// hold gives a socket that keeps a port, or any one that is free.
func hold(p Port) (int, error) {
	if p.Protocol == "udp" {
		return bind(p)
	}
	// A port that the kernel has chosen it takes back when the socket does not
	// listen any more. What was asked for by its number it leaves: so another
	// socket only finds one that is free, and lets go of it later.
	if p.Host == 0 {
		chosen, err := bind(p)
		if err != nil {
			return -1, err
		}
		defer unix.Close(chosen)
		if p.Host, err = boundPort(chosen); err != nil {
			return -1, err
		}
	}
	fd, err := bind(p)
	if err != nil {
		return -1, err
	}
	if err := listenOnce(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// listenOnce has a socket listen for a moment, which finds out whether anybody
// else has the port. To take the permission for others to share it back meanwhile
// keeps them away afterwards.
func listenOnce(fd int) error {
	if err := unix.Listen(fd, 1); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0); err != nil {
		return err
	}
	return unix.Shutdown(fd, unix.SHUT_RD)
}

// boundPort is the port that a socket is bound to.
func boundPort(fd int) (uint16, error) {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return uint16(a.Port), nil
	case *unix.SockaddrInet6:
		return uint16(a.Port), nil
	}
	return 0, unix.EAFNOSUPPORT
}

// bind gives a socket that is bound to a port.
func bind(p Port) (int, error) {
	protocol := protocols[p.Protocol]
	family := unix.AF_INET6
	var at unix.Sockaddr = &unix.SockaddrInet6{Port: int(p.Host), Addr: p.HostIP.As16()}
	if p.HostIP.Is4() {
		family = unix.AF_INET
		at = &unix.SockaddrInet4{Port: int(p.Host), Addr: p.HostIP.As4()}
	}
	fd, err := unix.Socket(family, protocol.socket|unix.SOCK_CLOEXEC, protocol.number)
	if err != nil {
		return -1, err
	}
	if err = setUpSocket(fd, family, protocol.socket); err == nil {
		err = unix.Bind(fd, at)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func setUpSocket(fd, family, kind int) error {
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
	}
	if kind == unix.SOCK_DGRAM {
		return swallow(fd)
	}
	// Connections that have just ended still have the port, and need not
	// keep it.
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
}

// swallow has a socket take nothing: the filter, classic BPF, keeps no byte of
// any datagram.
func swallow(fd int) error {
	keep := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &keep[0]})
}

// notReserved says why a port can't be had.
func (m *Manager) notReserved(p Port, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		if owner := m.publisher(p); owner != "" {
			return failf(ErrTaken, "port %s is published by container %s already", p.where(), owner)
		}
		return failf(ErrTaken, "port %s is in use on the host", p.where())
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return invalidf("publish on %s: the host has no such address", p.HostIP)
	}
	return failf(ErrUnavailable, "reserve port %s: %w", p.where(), err)
}

// where is where a port is published: 0.0.0.0:8000-8010/tcp.
func (p Port) where() string {
	text := netip.AddrPortFrom(p.HostIP, p.Host).String()
	if p.HostLast != 0 {
		text += "-" + strconv.Itoa(int(p.HostLast))
	}
	return text + "/" + p.Protocol
}

// publisher names the container that has published a port, if one has.
func (m *Manager) publisher(p Port) string {
	living, err := m.living()
	if err != nil {
		return ""
	}
	for _, a := range living {
		if slices.ContainsFunc(a.Ports, p.collides) {
			return a.Name
		}
	}
	return ""
}

func (p Port) collides(o Port) bool {
	return p.Host == o.Host && p.Protocol == o.Protocol && p.HostIP.Is4() == o.HostIP.Is4() &&
		(p.HostIP == o.HostIP || p.HostIP.IsUnspecified() || o.HostIP.IsUnspecified())
}

// rules gives what the rules have to know of the published ports: they lead to
// the first network that goes out and has an address of the family.
func (a *Attached) rules() []table.Port {
	var list []table.Port
	for _, p := range a.Ports {
		to := a.reached(p.HostIP.Is6())
		if !to.IsValid() {
			continue // it was disconnected from the last one
		}
		list = append(list, table.Port{
			Protocol: byte(protocols[p.Protocol].number),
			Host:     p.HostIP.AsSlice(), HostPort: p.Host,
			To: to.AsSlice(), ToPort: p.Container,
		})
	}
	return list
}

// reached is the address that is reached by published ports.
func (a *Attached) reached(v6 bool) netip.Addr {
	for i := range a.Endpoints {
		if e := &a.Endpoints[i]; !e.Internal && e.address(v6).IsValid() {
			return e.address(v6)
		}
	}
	return netip.Addr{}
}
