package network

import (
	"crypto/sha256"
	"net/netip"
	"slices"
)

// ParseSubnets makes subnets of what the flags --subnet, --gateway and
// --ip-range say, each of which can be there several times. A gateway and a
// range belong to the subnet that they are in. Errors are ErrInvalid.
func ParseSubnets(subnets, gateways, ranges []string) ([]Subnet, error) {
	var list []Subnet
	for _, text := range subnets {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, invalidf("subnet %q: it has to be an address and the length of a prefix, such as 10.1.0.0/24", text)
		}
		list = append(list, Subnet{Prefix: prefix})
	}
	in := func(a netip.Addr) *Subnet {
		for i := range list {
			if list[i].Prefix.Masked().Contains(a) {
				return &list[i]
			}
		}
		return nil
	}
	for _, text := range gateways {
		gateway, err := netip.ParseAddr(text)
		if err != nil {
			return nil, invalidf("gateway %q is no address", text)
		}
		s := in(gateway)
		if s == nil {
			return nil, invalidf("gateway %s is in none of the subnets: a subnet has to be given with it", text)
		}
		if s.Gateway.IsValid() {
			return nil, invalidf("gateways %s and %s are both in %s: there can be one", s.Gateway, text, s.Prefix)
		}
		s.Gateway = gateway
	}
	for _, text := range ranges {
		within, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, invalidf("range %q: it has to be an address and the length of a prefix, such as 10.1.0.128/25", text)
		}
		s := in(within.Addr())
		if s == nil {
			return nil, invalidf("range %s is in none of the subnets: a subnet has to be given with it", text)
		}
		if s.Range.IsValid() {
			return nil, invalidf("ranges %s and %s are both in %s: there can be one", s.Range, text, s.Prefix)
		}
		s.Range = within
	}
	return checkSubnets(list)
}

// v6 says which family it is of.
func (s Subnet) v6() bool { return s.Prefix.Addr().Is6() }

// The longest prefixes that leave an address for the bridge and one for a
// container.
const (
	longest4 = 30
	longest6 = 126
)

// checkSubnets completes subnets that somebody has chosen, IPv4 first.
func checkSubnets(asked []Subnet) ([]Subnet, error) {
	list := slices.Clone(asked)
	for i := range list {
		if err := list[i].complete(); err != nil {
			return nil, err
		}
		for _, other := range list[:i] {
			if other.v6() == list[i].v6() {
				return nil, invalidf("subnets %s and %s: there can be one of each family", other.Prefix, list[i].Prefix)
			}
		}
	}
	slices.SortFunc(list, func(a, b Subnet) int { return a.Prefix.Addr().BitLen() - b.Prefix.Addr().BitLen() })
	return list, nil
}

func (s *Subnet) complete() error {
	a := s.Prefix.Addr()
	switch {
	case !s.Prefix.IsValid() || a.Is4In6() || a.Zone() != "":
		return invalidf("subnet %s is none", s.Prefix)
	case s.Prefix.Masked().Addr() != a:
		return invalidf("subnet %s: bits beyond the prefix are set; %s is meant?", s.Prefix, s.Prefix.Masked())
	case a.IsMulticast() || a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast():
		return invalidf("subnet %s can't have containers", s.Prefix)
	case a.Is4() && s.Prefix.Bits() > longest4 || a.Is6() && s.Prefix.Bits() > longest6:
		return invalidf("subnet %s is too small for a container", s.Prefix)
	}
	if !s.Gateway.IsValid() {
		s.Gateway = a.Next()
	}
	if !s.usable(s.Gateway) {
		return invalidf("gateway %s is no address of a host in %s", s.Gateway, s.Prefix)
	}
	if !s.Range.IsValid() {
		return nil
	}
	s.Range = s.Range.Masked()
	if !s.Prefix.Contains(s.Range.Addr()) || s.Range.Bits() < s.Prefix.Bits() {
		return invalidf("range %s is not in %s", s.Range, s.Prefix)
	}
	return nil
}

// usable says whether a host can have an address: the first of a subnet means
// the subnet (RFC 4291: any router of it), the last of IPv4 all hosts.
func (s Subnet) usable(a netip.Addr) bool {
	return s.Prefix.Contains(a) && a != s.Prefix.Addr() && (a.Is6() || a != last(s.Prefix))
}

// last is the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	raw := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}

// pools are where subnets come from that nobody has chosen, in this order:
// private addresses (RFC 1918), at first where few others take theirs from.
var pools = [...]struct {
	from string // parsed when it is needed: no start pays for it
	bits int    // length of the prefixes that it is cut into
}{
	{"10.63.0.0/16", 16},
	{"10.64.0.0/12", 20},
	{"172.16.0.0/12", 20},
	{"192.168.0.0/16", 24},
}

// choose gives a network the subnets that were not asked for, and looks at
// those that were. None overlaps another network's, nor what the host has
// routes to; one that was asked for may be a part of what lies behind a
// router: that is the user's decision.
func (m *Manager) choose(n *Network, others []*Network) error {
	routes, err := m.routes(n.Bridge)
	if err != nil {
		return err
	}
	var far, near []netip.Prefix
	for _, r := range routes {
		far = append(far, r.prefix)
		if !r.gateway {
			near = append(near, r.prefix)
		}
	}
	for _, s := range n.Subnets {
		for _, other := range others {
			for _, theirs := range other.Subnets {
				if other.Name != n.Name && theirs.Prefix.Overlaps(s.Prefix) {
					return failf(ErrExists, "subnet %s overlaps %s of network %s", s.Prefix, theirs.Prefix, other.Name)
				}
			}
		}
		if i := slices.IndexFunc(near, s.Prefix.Overlaps); i >= 0 {
			return failf(ErrExists, "subnet %s overlaps %s, which the host is connected to", s.Prefix, near[i])
		}
	}
	for _, other := range others {
		for _, theirs := range other.Subnets {
			far = append(far, theirs.Prefix)
		}
	}
	return n.fill(far)
}

// fill adds the subnets that a network needs and has not.
func (n *Network) fill(taken []netip.Prefix) error {
	if !slices.ContainsFunc(n.Subnets, func(s Subnet) bool { return !s.v6() }) {
		prefix, found := free(taken, n.Name == Default)
		if !found {
			return failf(ErrExhausted, "no private subnet is free for network %s: choose one with --subnet", n.Name)
		}
		n.Subnets = append([]Subnet{{Prefix: prefix, Gateway: prefix.Addr().Next()}}, n.Subnets...)
	}
	if n.IPv6 && !slices.ContainsFunc(n.Subnets, Subnet.v6) {
		prefix := uniqueLocal(n.ID)
		n.Subnets = append(n.Subnets, Subnet{Prefix: prefix, Gateway: prefix.Addr().Next()})
	}
	return nil
}

// free gives the first subnet of the pools that overlaps nothing. The first
// pool is the default network's.
func free(taken []netip.Prefix, first bool) (netip.Prefix, bool) {
	from := pools[1:]
	if first {
		from = pools[:]
	}
	for _, pool := range from {
		whole := netip.MustParsePrefix(pool.from)
		for a := whole.Addr(); whole.Contains(a); {
			p := netip.PrefixFrom(a, pool.bits)
			if !slices.ContainsFunc(taken, p.Overlaps) {
				return p, true
			}
			a = last(p).Next()
		}
	}
	return netip.Prefix{}, false
}

// uniqueLocal gives the prefix of an id (RFC 4193: fd, 40 random bits, and 16
// for a subnet).
func uniqueLocal(id string) netip.Prefix {
	hash := sha256.Sum256([]byte(id))
	raw := [16]byte{0: 0xfd}
	copy(raw[1:6], hash[:])
	return netip.PrefixFrom(netip.AddrFrom16(raw), 64)
}
