package container

import (
	"net/netip"
	"slices"
	"strconv"

	"minict/network"
)

// NetworkSettings are Docker's. What is not below Networks is of the endpoint
// that the default route leads to.
type NetworkSettings struct {
	SandboxKey          string                     `json:"SandboxKey"`
	Ports               map[string][]PortBinding   `json:"Ports"` // 80/tcp; null if it is exposed and not published
	EndpointID          string                     `json:"EndpointID"`
	Gateway             string                     `json:"Gateway"`
	IPAddress           string                     `json:"IPAddress"`
	IPPrefixLen         int                        `json:"IPPrefixLen"`
	IPv6Gateway         string                     `json:"IPv6Gateway"`
	GlobalIPv6Address   string                     `json:"GlobalIPv6Address"`
	GlobalIPv6PrefixLen int                        `json:"GlobalIPv6PrefixLen"`
	MacAddress          string                     `json:"MacAddress"`
	Networks            map[string]NetworkEndpoint `json:"Networks"`
}

// PortBinding is a port of the host.
type PortBinding struct {
	HostIP   string `json:"HostIp"`
	HostPort string `json:"HostPort"`
}

// NetworkEndpoint is where a container is in a network; the addresses are
// there while it runs.
type NetworkEndpoint struct {
	IPAMConfig          *IPAMConfig `json:"IPAMConfig"` // what was asked for
	Aliases             []string    `json:"Aliases"`
	MacAddress          string      `json:"MacAddress"`
	NetworkID           string      `json:"NetworkID"`
	EndpointID          string      `json:"EndpointID"`
	Gateway             string      `json:"Gateway"`
	IPAddress           string      `json:"IPAddress"`
	IPPrefixLen         int         `json:"IPPrefixLen"`
	IPv6Gateway         string      `json:"IPv6Gateway"`
	GlobalIPv6Address   string      `json:"GlobalIPv6Address"`
	GlobalIPv6PrefixLen int         `json:"GlobalIPv6PrefixLen"`
	DNSNames            []string    `json:"DNSNames"`
	Interface           string      `json:"Interface,omitempty"` // minict's own: in the container
	Host                string      `json:"Host,omitempty"`      // minict's own: the other end of it
}

// IPAMConfig are addresses that were asked for.
type IPAMConfig struct {
	IPv4Address string `json:",omitempty"`
	IPv6Address string `json:",omitempty"`
}

// networkSettings tells of the networks of a container: where it is if it
// runs, else what it will be on.
func (m *Manager) networkSettings(c *Config, now condition) (NetworkSettings, error) {
	s := NetworkSettings{Ports: map[string][]PortBinding{}, Networks: map[string]NetworkEndpoint{}}
	for _, p := range c.Exposed {
		s.Ports[p.String()] = nil
	}
	if isSpecial(c.Network) {
		if c.Network == NetworkNone || c.Network == NetworkHost {
			s.Networks[c.Network] = NetworkEndpoint{}
		}
		return s, nil
	}
	for _, w := range c.Networks {
		s.Networks[w.Network] = w.endpoint()
	}
	if now.state != Running && now.state != Paused {
		return s, nil
	}
	s.SandboxKey = now.path("")
	attached, err := m.endpoints(c.ID)
	if err != nil {
		return s, err
	}
	for _, e := range attached.Endpoints {
		is := s.Networks[e.Network].at(e)
		s.Networks[e.Network] = is
		if e.Default || s.EndpointID == "" {
			s.EndpointID, s.MacAddress = is.EndpointID, is.MacAddress
			s.Gateway, s.IPAddress, s.IPPrefixLen = is.Gateway, is.IPAddress, is.IPPrefixLen
			s.IPv6Gateway, s.GlobalIPv6Address, s.GlobalIPv6PrefixLen = is.IPv6Gateway, is.GlobalIPv6Address, is.GlobalIPv6PrefixLen
		}
	}
	for key, list := range bindings(attached.Ports) {
		s.Ports[key] = list
	}
	return s, nil
}

func (w NetworkWish) endpoint() NetworkEndpoint {
	e := NetworkEndpoint{Aliases: w.Aliases, MacAddress: w.MAC}
	if w.IPv4.IsValid() || w.IPv6.IsValid() {
		e.IPAMConfig = &IPAMConfig{IPv4Address: addressText(w.IPv4), IPv6Address: addressText(w.IPv6)}
	}
	return e
}

// at adds where it is.
func (e NetworkEndpoint) at(is network.Endpoint) NetworkEndpoint {
	e.MacAddress, e.NetworkID, e.EndpointID, e.DNSNames = is.MAC, is.NetworkID, is.ID, is.Names
	e.Interface, e.Host = is.Interface, is.Host
	for i, a := range is.Addresses {
		gateway := ""
		if i < len(is.Gateways) {
			gateway = addressText(is.Gateways[i])
		}
		if a.Addr().Is4() {
			e.IPAddress, e.IPPrefixLen, e.Gateway = a.Addr().String(), a.Bits(), gateway
		} else {
			e.GlobalIPv6Address, e.GlobalIPv6PrefixLen, e.IPv6Gateway = a.Addr().String(), a.Bits(), gateway
		}
	}
	return e
}

// addressText is "" for no address.
func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// bindings are the ports of the host by those of the container that they lead
// to.
func bindings(ports []network.Port) map[string][]PortBinding {
	list := map[string][]PortBinding{}
	for _, p := range ports {
		key := ContainerPort{p.Container, p.Protocol}.String()
		b := PortBinding{HostIP: addressText(p.HostIP)}
		if p.Host != 0 {
			b.HostPort = strconv.Itoa(int(p.Host))
		}
		if p.HostLast != 0 {
			b.HostPort += "-" + strconv.Itoa(int(p.HostLast))
		}
		list[key] = append(list[key], b)
	}
	return list
}

// Ports gives the published ports of a container, by the container's number;
// none if it does not run.
func (m *Manager) Ports(ref string) ([]network.Port, error) {
	id, err := m.Lookup(ref)
	if err != nil {
		return nil, err
	}
	c, err := m.config(id)
	if err != nil || len(c.Ports) == 0 {
		return nil, err
	}
	now, err := m.condition(id)
	if err != nil || now.state != Running && now.state != Paused {
		return nil, err
	}
	attached, err := m.endpoints(id)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(attached.Ports, func(p, q network.Port) int {
		return ContainerPort{p.Container, p.Protocol}.compare(ContainerPort{q.Container, q.Protocol})
	})
	return attached.Ports, nil
}
