package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"minict/internal/netlink"
)

// within does something on a thread that is in another network namespace for
// the time.
func within(namespace *os.File, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open the thread's network namespace: %w", err)
			return
		}
		defer unix.Close(own)
		err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET)
		if err != nil {
			err = unavailable(err, "enter the container's network namespace")
		} else {
			err = do()
		}
		// A thread that can't go back ends with its goroutine.
		if unix.Setns(own, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// openInside opens a socket to a namespace's links, and says whether those that
// come into being there from now on speak IPv6: a network that has none should
// not get it by a neighbor's doing (CVE-2024-32473). Those that do, believe no
// router's advertisements. If they are announced, they tell all others when
// their MAC changes.
func openInside(namespace *os.File, ipv6, announced bool) (s *netlink.Socket, err error) {
	err = within(namespace, func() error {
		if s, err = openRoute(); err != nil {
			return err
		}
		if announced {
			err := errors.Join(setting("ipv4/conf/default/arp_notify", "1"), without(setting("ipv6/conf/default/ndisc_notify", "1")))
			if err != nil {
				return err
			}
		}
		if !ipv6 {
			return without(setting("ipv6/conf/default/disable_ipv6", "1"))
		}
		return errors.Join(setting("ipv6/conf/default/disable_ipv6", "0"), setting("ipv6/conf/default/accept_ra", "0"))
	})
	if err != nil && s != nil {
		s.Close()
		s = nil
	}
	return s, err
}

// configure gives a container's end of a pair its addresses, and sets it up.
func configure(s *netlink.Socket, e *Endpoint) error {
	index, err := s.Index(e.Interface)
	if err != nil {
		return unavailable(err, "look for "+e.Interface)
	}
	r := &netlink.Request{}
	setUp(r, index)
	for _, a := range e.Addresses {
		addAddress(r, index, a)
	}
	if e.Default {
		for _, gateway := range e.Gateways {
			addDefault(r, index, gateway)
		}
	}
	return unavailable(s.Do(r, nil), "set up "+e.Interface)
}

// announce has an endpoint tell who has learned another MAC for its address
// (gratuitous ARP, RFC 5227; unsolicited advertisement, RFC 4861). The kernel
// does so when the MAC is set, which it is to what it was. Before that it is
// asked for the link's state, by which it finishes what it has put off: the
// port of the bridge passes nothing on until then.
func (e *Endpoint) announce(host, inside *netlink.Socket, mac net.HardwareAddr) error {
	port, err := host.Index(e.Host)
	if err != nil {
		return unavailable(err, "look for "+e.Host)
	}
	if _, _, err := linkKind(host, port); err != nil {
		return unavailable(err, "look at "+e.Host)
	}
	index, err := inside.Index(e.Interface)
	if err != nil {
		return unavailable(err, "look for "+e.Interface)
	}
	r := &netlink.Request{}
	r.Begin(unix.RTM_SETLINK, 0, netlink.Link(index, 0, 0))
	r.Attr(unix.IFLA_ADDRESS, mac)
	return unavailable(inside.Do(r, nil), "announce the MAC of "+e.Interface)
}

// lead has the container's default routes lead to an endpoint.
func (e *Endpoint) lead(s *netlink.Socket) error {
	index, err := s.Index(e.Interface)
	if err != nil {
		return unavailable(err, "look for "+e.Interface)
	}
	r := &netlink.Request{}
	for _, gateway := range e.Gateways {
		addDefault(r, index, gateway)
	}
	return unavailable(s.Do(r, nil), "set the default routes")
}

// address gives an endpoint's address of a family, invalid if it has none.
func (e *Endpoint) address(v6 bool) netip.Addr {
	for _, p := range e.Addresses {
		if p.Addr().Is6() == v6 {
			return p.Addr()
		}
	}
	return netip.Addr{}
}
