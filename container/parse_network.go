package container

import (
	"encoding/csv"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"minict/network"
)

// NetworkWish is a network that a container is to be on.
type NetworkWish struct {
	Network string     `json:"network"` // name
	IPv4    netip.Addr `json:"ipv4,omitzero"`
	IPv6    netip.Addr `json:"ipv6,omitzero"`
	MAC     string     `json:"mac,omitempty"`     // "" for one that follows from the address
	Aliases []string   `json:"aliases,omitempty"` // names on this network, beside the container's own
}

// ParseNetwork reads the value of --network: a name, or comma separated
// name=NAME, alias=NAME (again for each), ip=, ip6=, mac-address=.
func ParseNetwork(s string) (NetworkWish, error) {
	if !strings.Contains(s, "=") {
		return NetworkWish{Network: s}, checkNetworkName(s)
	}
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return NetworkWish{}, invalidf("invalid network %q: %v", s, errors.Unwrap(err))
	}
	var w NetworkWish
	for _, field := range fields {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch strings.ToLower(key) {
		case "name":
			w.Network, err = value, checkNetworkName(value)
		case "alias":
			err = w.AddAliases(value)
		case "ip":
			err = w.SetIPv4(value)
		case "ip6":
			err = w.SetIPv6(value)
		case "mac-address":
			err = w.SetMAC(value)
		case "driver-opt", "link-local-ip", "gw-priority":
			err = invalidf("invalid network %q: %s is not there", s, key)
		default:
			err = invalidf("invalid network %q: unknown key %q", s, key)
		}
		if err != nil {
			return w, err
		}
	}
	if w.Network == "" {
		return w, invalidf("invalid network %q: name= is missing", s)
	}
	return w, nil
}

func checkNetworkName(s string) error {
	if mode, ref, ok := strings.Cut(s, ":"); ok && mode == "container" {
		if ref == "" || !only(ref, "_.-") {
			return invalidf("invalid network %q: want container:NAME", s)
		}
		return nil
	}
	if s == "" || !isAlnum(s[0]) || !only(s, "_.-") {
		return invalidf("invalid network %q: want none, host, container:NAME or the name of a network", s)
	}
	return nil
}

// SetIPv4 reads the address that is asked for.
func (w *NetworkWish) SetIPv4(s string) (err error) {
	w.IPv4, err = parseAddress(s, netip.Addr.Is4)
	if err != nil {
		return invalidf("invalid IPv4 address %q", s)
	}
	return nil
}

// SetIPv6 reads the address that is asked for.
func (w *NetworkWish) SetIPv6(s string) (err error) {
	w.IPv6, err = parseAddress(s, func(a netip.Addr) bool { return a.Is6() && !a.Is4In6() })
	if err != nil {
		return invalidf("invalid IPv6 address %q", s)
	}
	return nil
}

var errFamily = errors.New("not of that family")

// parseAddress reads an address of one family, of which one can have several.
func parseAddress(s string, family func(netip.Addr) bool) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err == nil && (!family(a) || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback()) {
		return netip.Addr{}, errFamily
	}
	return a, err
}

// SetMAC reads the hardware address that is asked for: six bytes, of one
// interface and not of a group (IEEE 802).
func (w *NetworkWish) SetMAC(s string) error {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 || [6]byte(mac) == [6]byte{} {
		return invalidf("invalid MAC address %q: want six bytes such as 02:42:ac:11:00:02", s)
	}
	w.MAC = mac.String()
	return nil
}

// AddAliases adds names on the network. Names are the same in upper and lower
// case (RFC 4343).
func (w *NetworkWish) AddAliases(names ...string) error {
	for _, name := range names {
		if !isHostname(name) {
			return invalidf("invalid network alias %q: want at most 64 letters, digits, '-', '_' and '.'", name)
		}
		w.Aliases = append(w.Aliases, name)
	}
	return nil
}

// ContainerPort is a port of a container; as text it is 80/tcp.
type ContainerPort struct {
	Number   uint16
	Protocol string // tcp or udp
}

func (p ContainerPort) String() string { return strconv.Itoa(int(p.Number)) + "/" + p.Protocol }

// MarshalText is String.
func (p ContainerPort) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText has written, and what an image says of
// its ports; without a protocol it is tcp.
func (p *ContainerPort) UnmarshalText(text []byte) error {
	ports, err := ParseExpose(string(text))
	if err != nil || len(ports) != 1 {
		return invalidf("invalid port %q", text)
	}
	*p = ports[0]
	return nil
}

// ParseExpose reads the value of --expose: PORT[-PORT][/tcp|udp].
func ParseExpose(s string) ([]ContainerPort, error) {
	numbers, protocol, err := cutProtocol(s)
	if err != nil {
		return nil, err
	}
	first, last, ok := parseRange(numbers)
	if !ok || first == 0 {
		return nil, invalidf("invalid port %q: want port[-port][/tcp|udp]", s)
	}
	ports := make([]ContainerPort, 0, int(last)-int(first)+1)
	for n := int(first); n <= int(last); n++ {
		ports = append(ports, ContainerPort{uint16(n), protocol})
	}
	return ports, nil
}

func cutProtocol(s string) (rest, protocol string, err error) {
	rest, protocol, ok := strings.Cut(s, "/")
	protocol = strings.ToLower(protocol)
	if !ok {
		protocol = "tcp"
	}
	if protocol != "tcp" && protocol != "udp" {
		return "", "", invalidf("invalid port %q: the protocol %q is neither tcp nor udp", s, protocol)
	}
	return rest, protocol, nil
}

// parseRange reads PORT or PORT-PORT.
func parseRange(s string) (first, last uint16, ok bool) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	if !isDigits(from) || !isDigits(to) {
		return 0, 0, false
	}
	a, errA := strconv.ParseUint(from, 10, 16)
	b, errB := strconv.ParseUint(to, 10, 16)
	return uint16(a), uint16(b), errA == nil && errB == nil && a <= b
}

// ParsePublish reads the value of -p: [ADDRESS:][PORT[-PORT]:]PORT[-PORT][/tcp|udp],
// or published=PORT,target=PORT[,protocol=tcp|udp]. Without a port of the
// host, or with 0, it is a free one; with a range of the host's and one of the
// container's, it is the first of the range that is free.
func ParsePublish(s string) ([]network.Port, error) {
	text := s
	if strings.Contains(s, "=") {
		var err error
		if text, err = shortPublish(s); err != nil {
			return nil, err
		}
	}
	rest, protocol, err := cutProtocol(text)
	if err != nil {
		return nil, err
	}
	host, inside, _ := cutLast(rest)
	var address netip.Addr
	if ip, port, ok := cutLast(host); ok {
		host = port
		if address, ok = hostAddress(ip); !ok {
			return nil, invalidf("invalid port %q: %q is no address of the host", s, ip)
		}
	}
	first, last, ok := parseRange(inside)
	if !ok || first == 0 {
		return nil, invalidf("invalid port %q: want [address:][port:]port[/tcp|udp], 1 to 65535", s)
	}
	var hostFirst, hostLast uint16
	if host != "" {
		if hostFirst, hostLast, ok = parseRange(host); !ok {
			return nil, invalidf("invalid port %q: want [address:][port:]port[/tcp|udp], 1 to 65535", s)
		}
		if hostFirst == 0 && hostLast != 0 {
			return nil, invalidf("invalid port %q: 0 stands for a free port, and begins no range", s)
		}
		if hostFirst != 0 && first != last && hostLast-hostFirst != last-first {
			return nil, invalidf("invalid port %q: the two ranges are not of the same length", s)
		}
	}
	if first == last && hostFirst < hostLast {
		return []network.Port{{HostIP: address, Host: hostFirst, HostLast: hostLast, Container: first, Protocol: protocol}}, nil
	}
	ports := make([]network.Port, 0, int(last)-int(first)+1)
	for i := range int(last) - int(first) + 1 {
		p := network.Port{HostIP: address, Container: first + uint16(i), Protocol: protocol}
		if hostFirst != 0 {
			p.Host = hostFirst + uint16(i)
		}
		ports = append(ports, p)
	}
	return ports, nil
}

// shortPublish makes the short form of the long one.
func shortPublish(s string) (string, error) {
	var published, target string
	protocol := "tcp"
	for field := range strings.SplitSeq(s, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch key {
		case "published":
			published = value
		case "target":
			target = value
		case "protocol":
			protocol = value
		case "mode":
			if value != "host" && value != "ingress" {
				return "", invalidf("invalid port %q: unknown mode %q", s, value)
			}
		default:
			return "", invalidf("invalid port %q: unknown key %q", s, key)
		}
	}
	if target == "" {
		return "", invalidf("invalid port %q: target= is missing", s)
	}
	return published + ":" + target + "/" + protocol, nil
}

// cutLast cuts s at its last colon. If it has none, all of it stands behind.
func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// hostAddress reads an address of the host: IPv6 in brackets, and nothing for
// all of them.
func hostAddress(s string) (netip.Addr, bool) {
	if s == "" {
		return netip.Addr{}, true
	}
	bare, bracketed := strings.CutPrefix(s, "[")
	if bracketed {
		if bare, bracketed = strings.CutSuffix(bare, "]"); !bracketed {
			return netip.Addr{}, false
		}
	}
	a, err := netip.ParseAddr(bare)
	return a, err == nil && a.Zone() == "" && !a.Is4In6() && a.Is6() == bracketed && !a.IsMulticast()
}

// ParseServer reads the address of a name server.
func ParseServer(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
		return netip.Addr{}, invalidf("invalid name server %q: want an address", s)
	}
	return a, nil
}
