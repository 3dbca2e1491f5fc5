package network

import (
	"errors"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"minict/internal/netlink"
)

// Attributes that x/sys/unix has not, linux/veth.h and linux/if_link.h.
const (
	vethInfoPeer    = 1
	noAddressOfSelf = 1 // IN6_ADDR_GEN_MODE_NONE
)

// addBridge asks for a bridge. With an address of its own it keeps it whoever
// comes and goes: else it would be the least of its ports'.
func addBridge(r *netlink.Request, n *Network) {
	r.Begin(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, netlink.Link(0, 0, 0))
	r.Text(unix.IFLA_IFNAME, n.Bridge)
	r.Attr(unix.IFLA_ADDRESS, deriveMAC(n.Subnets[0].Gateway))
	if n.MTU != 0 {
		r.Word(unix.IFLA_MTU, uint32(n.MTU))
	}
	r.Nest(unix.IFLA_LINKINFO, func() { r.Attr(unix.IFLA_INFO_KIND, []byte("bridge")) })
	// The alias says whose it is, which for a name of the user's only that does.
	r.Begin(unix.RTM_SETLINK, 0, netlink.Link(0, 0, 0))
	r.Text(unix.IFLA_IFNAME, n.Bridge)
	r.Text(unix.IFLA_IFALIAS, n.alias())
}

func (n *Network) alias() string { return "minict network " + n.Name }

// addVeth asks for a pair: one end is a port of the bridge and up, the other
// comes into being in the namespace. To move it there would have the kernel
// wait until nobody could be using it any more.
func addVeth(r *netlink.Request, n *Network, bridge int, e *Endpoint, mac net.HardwareAddr, namespace *os.File) {
	r.Begin(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, netlink.Link(0, unix.IFF_UP, unix.IFF_UP))
	r.Text(unix.IFLA_IFNAME, e.Host)
	r.Word(unix.IFLA_MASTER, uint32(bridge))
	n.ends(r)
	r.Nest(unix.IFLA_LINKINFO, func() {
		r.Attr(unix.IFLA_INFO_KIND, []byte("veth"))
		r.Nest(unix.IFLA_INFO_DATA, func() {
			r.Nest(vethInfoPeer, func() {
				r.Raw(netlink.Link(0, 0, 0))
				r.Text(unix.IFLA_IFNAME, e.Interface)
				r.Attr(unix.IFLA_ADDRESS, mac)
				n.ends(r)
				r.Word(unix.IFLA_NET_NS_FD, uint32(namespace.Fd()))
			})
		})
	})
	// A port needs no address of its own, and should not speak IPv6 with the
	// container. It would begin with that when its other end is up.
	r.Begin(unix.RTM_SETLINK, 0, netlink.Link(0, 0, 0))
	r.Text(unix.IFLA_IFNAME, e.Host)
	r.Nest(unix.IFLA_AF_SPEC, func() {
		r.Nest(unix.AF_INET6, func() { r.Byte(unix.IFLA_INET6_ADDR_GEN_MODE, noAddressOfSelf) })
	})
}

// ends says what both ends of a pair have. Without these numbers they have a
// queue for each processor, and each queue a directory in /sys: on a large
// machine that takes longer than all the rest. Nothing that is sent has to
// wait in one.
func (n *Network) ends(r *netlink.Request) {
	r.Word(unix.IFLA_NUM_TX_QUEUES, 1)
	r.Word(unix.IFLA_NUM_RX_QUEUES, 1)
	if n.MTU != 0 {
		r.Word(unix.IFLA_MTU, uint32(n.MTU))
	}
}

// setHairpin asks for a port that sends frames back to where they come from.
func setHairpin(r *netlink.Request, index int) {
	header := netlink.Link(index, 0, 0)
	header[0] = unix.AF_BRIDGE
	r.Begin(unix.RTM_SETLINK, 0, header)
	r.Nest(unix.IFLA_PROTINFO, func() { r.Byte(unix.IFLA_BRPORT_MODE, 1) })
}

func setUp(r *netlink.Request, index int) {
	r.Begin(unix.RTM_NEWLINK, 0, netlink.Link(index, unix.IFF_UP, unix.IFF_UP))
}

func deleteLink(r *netlink.Request, index int) {
	r.Begin(unix.RTM_DELLINK, 0, netlink.Link(index, 0, 0))
}

// addAddress asks for an address. That nobody else has an IPv6 address is
// known, so nothing waits for finding out.
func addAddress(r *netlink.Request, index int, a netip.Prefix) {
	header := []byte{family(a.Addr()), byte(a.Bits()), 0, unix.RT_SCOPE_UNIVERSE}
	r.Begin(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, append(header, netlink.Word(uint32(index))...))
	r.Attr(unix.IFA_LOCAL, a.Addr().AsSlice())
	r.Attr(unix.IFA_ADDRESS, a.Addr().AsSlice())
	if a.Addr().Is4() {
		r.Attr(unix.IFA_BROADCAST, last(a).AsSlice())
		return
	}
	r.Word(unix.IFA_FLAGS, unix.IFA_F_NODAD)
}

// addDefault asks for a default route.
func addDefault(r *netlink.Request, index int, gateway netip.Addr) {
	header := []byte{family(gateway), 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
	r.Begin(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, header)
	r.Attr(unix.RTA_GATEWAY, gateway.AsSlice())
	r.Word(unix.RTA_OIF, uint32(index))
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// deriveMAC makes a locally administered MAC of an address, so that who has
// learned it for the address need not learn it again when another container
// has got that.
func deriveMAC(a netip.Addr) net.HardwareAddr {
	raw := a.AsSlice()
	return append(net.HardwareAddr{0x02, 0x42}, raw[len(raw)-4:]...)
}

// route is one of the host's, to what is not everything.
type route struct {
	prefix  netip.Prefix
	index   int  // of the interface
	gateway bool // it leads to a router
}

// routes lists where the host can send to, but not by one interface.
func (m *Manager) routes(but string) ([]route, error) {
	s, err := openRoute()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	ours, err := s.Index(but)
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return nil, unavailable(err, "look for "+but)
	}
	var list []route
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		r := &netlink.Request{}
		r.Begin(unix.RTM_GETROUTE, unix.NLM_F_DUMP, append([]byte{family}, make([]byte, unix.SizeofRtMsg-1)...))
		if err := s.Do(r, func(kind uint16, body []byte) {
			if found, ok := parseRoute(kind, body); ok && (ours == 0 || found.index != ours) {
				list = append(list, found)
			}
		}); err != nil && !errors.Is(err, unix.EOPNOTSUPP) { // a kernel without IPv6
			return nil, unavailable(err, "list the host's routes")
		}
	}
	return list, nil
}

// parseRoute reads a message about a route.
func parseRoute(kind uint16, body []byte) (r route, ok bool) {
	const bitsAt, typeAt = 1, 7 // struct rtmsg
	if kind != unix.RTM_NEWROUTE || len(body) < unix.SizeofRtMsg || body[bitsAt] == 0 || body[typeAt] != unix.RTN_UNICAST {
		return r, false
	}
	for kind, data := range netlink.Attributes(body[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_DST:
			if a, valid := netip.AddrFromSlice(data); valid {
				r.prefix = netip.PrefixFrom(a, int(body[bitsAt]))
			}
		case unix.RTA_OIF:
			r.index = int(netlink.GetWord(data))
		case unix.RTA_GATEWAY, unix.RTA_VIA, unix.RTA_MULTIPATH:
			r.gateway = true
		}
	}
	a := r.prefix.Addr()
	return r, r.prefix.IsValid() && !a.IsLinkLocalUnicast() && !a.IsMulticast()
}

// openRoute opens a socket to the host's links, addresses and routes.
func openRoute() (*netlink.Socket, error) { return open(unix.NETLINK_ROUTE) }

// openRules opens a socket to the host's nftables.
func openRules() (*netlink.Socket, error) { return open(unix.NETLINK_NETFILTER) }

func open(protocol int) (*netlink.Socket, error) {
	s, err := netlink.Open(protocol)
	if err != nil {
		return nil, unavailable(err, "open a netlink socket")
	}
	return s, nil
}

// unavailable says of an error of the kernel's what it means for who runs
// minict.
func unavailable(err error, doing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return failf(ErrUnavailable, "%s: %w: networks need the capability CAP_NET_ADMIN", doing, err)
	case errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT):
		return failf(ErrUnavailable, "%s: the kernel lacks what it needs for that (%w)", doing, err)
	}
	return failf(ErrUnavailable, "%s: %w", doing, err)
}
