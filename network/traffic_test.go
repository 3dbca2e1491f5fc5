package network

import (
	"net"
	"net/netip"
	"testing"
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
