package container

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"minict/container/etc"
	"minict/network"
	"minict/store"
)

// bridged says whether a container has networks, and not only a namespace.
func (c *Config) bridged() bool { return len(c.Networks) > 0 }

// sharesNetwork gives the id of the container whose network namespace this one
// has.
func (c *Config) sharesNetwork() (id string, ok bool) {
	return strings.CutPrefix(c.Network, NetworkContainer)
}

// networkKind is what has to be known early of the network of a container.
type networkKind struct {
	own   bool // a namespace of its own
	named bool // it is on a network on which containers have names
}

func kindOf(name string, wishes []NetworkWish) networkKind {
	k := networkKind{own: name != NetworkHost && !strings.HasPrefix(name, NetworkContainer)}
	for _, w := range wishes {
		k.named = k.named || isNamed(w.Network)
	}
	return k
}

// isNamed says whether containers find each other by name on a network. One
// that is called by the beginning of its id is taken for such a network: it has
// a name server too much then, at worst.
func isNamed(name string) bool {
	return !isSpecial(name) && name != network.Default && name != "default"
}

func (c *Config) kind() networkKind { return kindOf(c.Network, c.Networks) }

func (o *Options) kind() networkKind {
	if len(o.Networks) == 0 {
		return kindOf(network.Default, nil)
	}
	return kindOf(o.Networks[0].Network, o.Networks)
}

// setNetworks finds out what kind of network is meant, and refuses what does
// not go with it, as Docker does.
func (c *Config) setNetworks(o *Options) error {
	wishes := slices.Clone(o.Networks)
	if len(wishes) == 0 {
		wishes = []NetworkWish{{Network: network.Default}}
	}
	seen := map[string]bool{}
	for i := range wishes {
		w := &wishes[i]
		if w.Network == "default" {
			w.Network = network.Default
		}
		if seen[w.Network] {
			return invalidf("network %s is given twice", w.Network)
		}
		seen[w.Network] = true
		if !isSpecial(w.Network) {
			if w.Network == network.Default && len(w.Aliases) > 0 {
				return invalidf("network alias %s: only networks that were created have names, %s has none", w.Aliases[0], w.Network)
			}
			continue
		}
		if len(wishes) > 1 {
			return invalidf("network %s can't be combined with another network", w.Network)
		}
		if w.IPv4.IsValid() || w.IPv6.IsValid() || w.MAC != "" || len(w.Aliases) > 0 {
			return invalidf("network %s has no addresses and names to choose", w.Network)
		}
	}
	c.Network = wishes[0].Network
	if !isSpecial(c.Network) {
		c.Networks = wishes
	}
	return c.checkShared(o)
}

// isSpecial says whether a name does not mean a network with addresses.
func isSpecial(name string) bool {
	return name == NetworkNone || name == NetworkHost || strings.HasPrefix(name, NetworkContainer)
}

// checkShared refuses what belongs to the other container, or to nobody.
func (c *Config) checkShared(o *Options) error {
	if (len(o.Publish) > 0 || o.PublishAll) && !c.bridged() {
		return invalidf("no port can be published with network %s", c.Network)
	}
	toHost := func(entry string) bool { return strings.HasSuffix(entry, ":"+etc.HostGateway) }
	if c.Network == NetworkNone && slices.ContainsFunc(c.ExtraHosts, toHost) {
		return invalidf("%s: with network %s there is no way to the host", etc.HostGateway, c.Network)
	}
	if _, ok := c.sharesNetwork(); !ok {
		return nil
	}
	for _, conflict := range []struct {
		set  bool
		what string
	}{
		{o.Hostname != "", "a host name"}, {len(o.AddHosts) > 0, "more hosts"}, {len(o.Expose) > 0, "exposed ports"},
		{len(o.DNS)+len(o.DNSSearch)+len(o.DNSOptions) > 0, "name servers of its own"},
	} {
		if conflict.set {
			return invalidf("with network %s a container can't have %s: it shares the other's", c.Network, conflict.what)
		}
	}
	return nil
}

func (c *Config) setDNS(o *Options) error {
	for _, server := range o.DNS {
		if !server.IsValid() || server.IsUnspecified() || server.IsMulticast() {
			return invalidf("invalid name server %s", server)
		}
	}
	for _, domain := range o.DNSSearch {
		if domain != "." && (len(domain) > 253 || !only(domain, "_.-")) || domain == "" {
			return invalidf("invalid search domain %q", domain)
		}
	}
	for _, option := range o.DNSOptions {
		if option == "" || !only(option, "_.:-") {
			return invalidf("invalid option of the resolver %q: want one of resolv.conf(5)", option)
		}
	}
	c.DNS, c.DNSSearch, c.DNSOptions = o.DNS, o.DNSSearch, o.DNSOptions
	return nil
}

// setPublished takes the ports that are to be published.
func (c *Config) setPublished(o *Options) error {
	asked := map[network.Port]bool{}
	for _, p := range o.Publish {
		p.Container = 0
		if p.Host != 0 && p.HostLast == 0 && asked[p] {
			return invalidf("port %d/%s of the host is to be published twice", p.Host, p.Protocol)
		}
		asked[p] = true
	}
	c.Ports, c.PublishAll = slices.Clone(o.Publish), o.PublishAll
	return nil
}

// setExposed gathers what is exposed, and with PublishAll publishes it.
func (c *Config) setExposed(o *Options, img *store.Execution) error {
	exposed := map[ContainerPort]bool{}
	for text := range img.ExposedPorts {
		ports, err := ParseExpose(text)
		if err != nil {
			return err
		}
		for _, p := range ports {
			exposed[p] = true
		}
	}
	for _, p := range o.Expose {
		exposed[p] = true
	}
	published := map[ContainerPort]bool{}
	for _, p := range o.Publish {
		inside := ContainerPort{p.Container, p.Protocol}
		exposed[inside], published[inside] = true, true
	}
	c.Exposed = slices.SortedFunc(maps.Keys(exposed), ContainerPort.compare)
	if !o.PublishAll {
		return nil
	}
	for _, p := range c.Exposed {
		if !published[p] {
			c.Ports = append(c.Ports, network.Port{Container: p.Number, Protocol: p.Protocol})
		}
	}
	return nil
}

func (p ContainerPort) compare(q ContainerPort) int {
	return cmp.Or(cmp.Compare(p.Number, q.Number), strings.Compare(p.Protocol, q.Protocol))
}
