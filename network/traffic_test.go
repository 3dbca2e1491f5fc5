package network

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func tcp(host, container uint16) Port { return Port{Host: host, Container: container, Protocol: "tcp"} }
func udp(host, container uint16) Port { return Port{Host: host, Container: container, Protocol: "udp"} }

func at(address string, host, container uint16, protocol string) Port {
	return Port{HostIP: netip.MustParseAddr(address), Host: host, Container: container, Protocol: protocol}
}

// Containers of the default network reach each other, the host and the world,
// and are seen by the world as the host.
func TestDefaultNetwork(t *testing.T) {
	w := newWorld(t)
	a, b := w.attach("a", nil, Default), w.attach("b", nil, Default)
	for _, protocol := range []string{"tcp", "udp"} {
		b.serve(protocol, 80, "b")
		w.outside.serve(protocol, 80, "outside")
		w.home.serve(protocol, 90, "home")
		gateway := a.Endpoints[0].Gateways[0].String()
		a.reaches(protocol, net.JoinHostPort(b.ip(), "80"), "b "+a.ip())
		a.reaches(protocol, net.JoinHostPort(outside4, "80"), "outside "+home4)
		a.reaches(protocol, net.JoinHostPort(gateway, "90"), "home "+a.ip())
		w.home.reaches(protocol, net.JoinHostPort(b.ip(), "80"), "b "+gateway)
	}
	a.reaches("tcp", net.JoinHostPort(home4, "90"), "home "+a.ip())
	a.ping(b.ip())
	a.ping(outside4)
	a.ping(home4)
	w.home.ping(a.ip())
}

// Published ports are reached from outside with the client's address kept, from
// the host by all of its addresses, from containers of the same network, of
// another one and of the publisher itself, but by nothing else.
//
// Both where the rules for IP packets decide about frames inside a bridge, as
// with br_netfilter, and where they don't.
func TestPublishedPorts(t *testing.T) {
	for _, bridged := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+bridged, func(t *testing.T) {
			w := newWorld(t)
			w.must(errors.Join(setting("bridge/bridge-nf-call-iptables", bridged), setting("bridge/bridge-nf-call-ip6tables", bridged)))
			w.publishedPorts()
		})
	}
}

func (w *world) publishedPorts() {
	w.create(Options{Name: "other"})
	web := w.attach("web", []Port{tcp(8080, 80), udp(8080, 80), at(home4, 8081, 80, "tcp"), at("127.0.0.1", 8082, 80, "tcp")}, Default)
	same, other := w.attach("same", nil, Default), w.attach("other", nil, "other")
	gateway := web.Endpoints[0].Gateways[0].String()
	for _, protocol := range []string{"tcp", "udp"} {
		web.serve(protocol, 80, "web")
		w.outside.reaches(protocol, home4+":8080", "web "+outside4)
		w.home.reaches(protocol, home4+":8080", "web "+home4)
		w.home.reaches(protocol, "127.0.0.1:8080", "web "+gateway)
		w.home.reaches(protocol, gateway+":8080", "web "+gateway)
		other.reaches(protocol, home4+":8080", "web "+other.ip())
		same.reaches(protocol, home4+":8080", "web "+gateway)
		web.reaches(protocol, home4+":8080", "web "+gateway) // itself
		other.misses(protocol, web.ip()+":80")
	}
	w.outside.reaches("tcp", home4+":8081", "web "+outside4)
	other.reaches("tcp", home4+":8081", "web "+other.ip())
	w.home.misses("tcp", "127.0.0.1:8081")
	w.home.reaches("tcp", "127.0.0.1:8082", "web "+gateway)
	w.home.misses("tcp", home4+":8082")
	w.outside.misses("tcp", home4+":8082")
	same.misses("tcp", gateway+":8082")
}

// One port of the host can lead to several containers, by the address.
func TestSamePortOfSeveralAddresses(t *testing.T) {
	w := newWorld(t)
	a := w.attach("a", []Port{at(home4, 8080, 80, "tcp"), at(home4, 8080, 80, "udp")}, Default)
	b := w.attach("b", []Port{at("127.0.0.1", 8080, 80, "tcp"), at("127.0.0.1", 8080, 80, "udp")}, Default)
	for _, protocol := range []string{"tcp", "udp"} {
		a.serve(protocol, 80, "a")
		b.serve(protocol, 80, "b")
		w.outside.reaches(protocol, home4+":8080", "a "+outside4)
		w.home.reaches(protocol, home4+":8080", "a "+home4)
		w.home.reaches(protocol, "127.0.0.1:8080", "b "+b.Endpoints[0].Gateways[0].String())
	}
	r, g := w.container("c")
	r.Wishes, r.Ports = []Wish{{Network: Default}}, []Port{tcp(8080, 80)}
	_, err := w.Attach(t.Context(), r)
	wantError(t, err, ErrTaken, "port 0.0.0.0:8080/tcp is published by container")
	g.leftNothing()
}

// What is published on the host's loopback, or is not published at all, is not
// reached by who sends to these addresses directly (CVE-2020-8558, and moby's
// of 2025 for neighbors of the host).
func TestNeighborsReachNothingElse(t *testing.T) {
	w := newWorld(t)
	n := w.create(Options{Name: "v6", IPv6: true})
	web := w.attach("web", []Port{at("127.0.0.1", 8080, 80, "tcp")}, Default)
	six := w.attach("six", nil, "v6")
	web.serve("tcp", 80, "web")
	six.serve("tcp", 80, "six")
	w.home.serve("tcp", 90, "home")
	w.outside.route("127.0.0.0/8", home4)
	w.outside.route(web.Endpoints[0].Addresses[0].Masked().String(), home4)
	w.outside.route(n.Subnets[1].Prefix.String(), home6)
	w.outside.within(func() error {
		return errors.Join(
			setting("ipv4/conf/all/route_localnet", "1"),
			netlink.LinkSetDown(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}}))
	})
	w.outside.misses("tcp", "127.0.0.1:8080")
	w.outside.misses("tcp", "127.0.0.1:90")
	w.outside.misses("tcp", web.ip()+":80")
	w.outside.misses("tcp", "["+six.ip6()+"]:80")
	if err := w.outside.echo(netip.MustParseAddr(web.ip()), refusal); err == nil {
		t.Error("an unpublished container answers a neighbor of the host")
	}

	// A container can try the same, if it has the privilege.
	web.within(func() error {
		return errors.Join(
			setting("ipv4/conf/all/route_localnet", "1"),
			netlink.LinkSetDown(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}}))
	})
	web.route("127.0.0.0/8", web.Endpoints[0].Gateways[0].String())
	web.misses("tcp", "127.0.0.1:90")
	// An answer may get lost where a question has come through.
	if got := w.hears(web, "127.0.0.1:91"); got {
		t.Error("a service on the host's loopback hears what a container sends")
	}
	if gateway := web.Endpoints[0].Gateways[0].String() + ":91"; !w.hears(web, gateway) {
		t.Errorf("a service at %s does not", gateway)
	}
}

// hears says whether a service of the host at an address gets a datagram that a
// container sends there. One that is sent to the network's gateway afterwards
// tells that it would have come by now.
func (w *world) hears(from *guest, at string) bool {
	w.t.Helper()
	service, err := net.ListenPacket("udp", at)
	w.must(err)
	defer service.Close()
	control, err := net.ListenPacket("udp", from.Endpoints[0].Gateways[0].String()+":0")
	w.must(err)
	defer control.Close()
	from.within(func() error {
		c, err := net.ListenPacket("udp4", ":0")
		if err != nil {
			return err
		}
		defer c.Close()
		raw, err := c.(*net.UDPConn).SyscallConn()
		if err != nil {
			return err
		}
		// Else what is for a loopback address would not leave the container.
		var bound error
		if err := raw.Control(func(fd uintptr) {
			bound = unix.BindToDevice(int(fd), from.Endpoints[0].Interface)
		}); err != nil || bound != nil {
			return errors.Join(err, bound)
		}
		for _, to := range []net.Addr{service.LocalAddr(), control.LocalAddr()} {
			if _, err := c.WriteTo([]byte("heard"), to); err != nil {
				return err
			}
		}
		return nil
	})
	buf := make([]byte, 16)
	w.must(control.SetReadDeadline(deadline()))
	_, _, err = control.ReadFrom(buf)
	w.must(err)
	w.must(service.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, _, err = service.ReadFrom(buf)
	return err == nil
}

// Networks don't reach each other, an internal one reaches nothing but itself
// and the host's end of it.
func TestIsolation(t *testing.T) {
	w := newWorld(t)
	w.create(Options{Name: "one", IPv6: true})
	w.create(Options{Name: "two", IPv6: true})
	w.create(Options{Name: "in", IPv6: true, Internal: true})
	one, two := w.attach("one", []Port{tcp(8080, 80)}, "one"), w.attach("two", nil, "two")
	in, in2 := w.attach("in", nil, "in"), w.attach("in2", nil, "in")
	both := w.attach("both", nil, "one", "two")
	for _, g := range []*guest{one, two, in, in2, both} {
		g.serve("tcp", 80, g.Name)
		g.serve("udp", 80, g.Name)
	}
	w.outside.serve("tcp", 80, "outside")
	w.outside.serve("udp", 80, "outside")
	for _, protocol := range []string{"tcp", "udp"} {
		one.misses(protocol, two.ip()+":80")
		two.misses(protocol, "["+one.ip6()+"]:80")
		in.misses(protocol, one.ip()+":80")
		one.misses(protocol, in.ip()+":80")
		in.misses(protocol, outside4+":80")
		in.reaches(protocol, in2.ip()+":80", "in2 "+in.ip())
		in.reaches(protocol, "["+in2.ip6()+"]:80", "in2 "+in.ip6())
		both.reaches(protocol, one.ip()+":80", "one "+both.ip())
		both.reaches(protocol, two.ip()+":80", "two "+both.Endpoints[1].address(false).String())
		both.reaches(protocol, outside4+":80", "outside "+home4)
	}

	// Even with a route, there is no way out of an internal network.
	w.home.serve("tcp", 90, "home")
	in.reaches("tcp", in.Endpoints[0].Gateways[0].String()+":90", "home "+in.ip())
	in.route("0.0.0.0/0", in.Endpoints[0].Gateways[0].String())
	in.misses("tcp", outside4+":80")
	in.misses("tcp", home4+":8080")
	in.misses("tcp", one.ip()+":80")
	w.outside.route(in.Endpoints[0].Addresses[0].Masked().String(), home4)
	w.outside.misses("tcp", in.ip()+":80")
}

func TestIPv6(t *testing.T) {
	w := newWorld(t)
	w.create(Options{Name: "six", IPv6: true})
	w.create(Options{Name: "other", IPv6: true})
	web := w.attach("web", []Port{tcp(8080, 80), udp(8080, 80), at(home6, 8081, 80, "tcp"), at("::", 8082, 80, "tcp")}, "six")
	a, other, old := w.attach("a", nil, "six"), w.attach("other", nil, "other"), w.attach("old", nil, Default)
	gateway := web.Endpoints[0].Gateways[1].String()
	host := "[" + home6 + "]"
	for _, protocol := range []string{"tcp", "udp"} {
		web.serve(protocol, 80, "web")
		w.outside.serve(protocol, 80, "outside")
		a.reaches(protocol, "["+web.ip6()+"]:80", "web "+a.ip6())
		a.reaches(protocol, "["+outside6+"]:80", "outside "+home6)
		w.outside.reaches(protocol, host+":8080", "web "+outside6)
		w.outside.reaches(protocol, home4+":8080", "web "+outside4)
		w.home.reaches(protocol, host+":8080", "web "+home6)
		a.reaches(protocol, host+":8080", "web "+gateway)
		web.reaches(protocol, host+":8080", "web "+gateway)
		other.reaches(protocol, host+":8080", "web "+other.ip6())
		other.misses(protocol, "["+web.ip6()+"]:80")
	}
	if _, err := w.home.ask("tcp", "[::1]:8080", patience); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("[::1]:8080: %v, want it refused", err)
	}
	w.outside.reaches("tcp", host+":8081", "web "+outside6)
	w.outside.reaches("tcp", host+":8082", "web "+outside6)
	w.outside.misses("tcp", home4+":8082")
	a.ping(web.ip6())
	a.ping(outside6)
	w.home.ping(web.ip6())

	// A container without IPv6 has none, but for its loopback (CVE-2024-32473).
	old.within(func() error {
		all, err := netlink.AddrList(nil, netlink.FAMILY_V6)
		for _, a := range all {
			if !a.IP.IsLoopback() {
				t.Errorf("a container without IPv6 has %s", a.IP)
			}
		}
		return err
	})
	bridge, err := netlink.LinkByName(defaultBridge)
	w.must(err)
	addresses, err := netlink.AddrList(bridge, netlink.FAMILY_V6)
	w.must(err)
	if len(addresses) > 0 {
		t.Errorf("the bridge of a network without IPv6 has %s", addresses)
	}
}

// What a router inside a container says is not believed (CVE-2020-13401).
func TestHostBelievesNoContainer(t *testing.T) {
	w := newWorld(t)
	n := w.create(Options{Name: "six", IPv6: true})
	w.attach("a", nil, "six")
	if !settingIs("ipv6/conf/"+n.Bridge+"/accept_ra", "0") {
		t.Error("the host takes router advertisements from the network")
	}
}
