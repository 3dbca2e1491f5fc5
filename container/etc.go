package container

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"

	"minict/container/etc"
	"minict/network"
	"minict/runtime"
)

// The files that every container needs and that its image can't know. Every
// start makes them anew.
const (
	hostsFile    = "/etc/hosts"
	hostnameFile = "/etc/hostname"
	resolvFile   = "/etc/resolv.conf"
)

var etcFiles = []string{resolvFile, hostnameFile, hostsFile}

// etcContents are what is in them.
func etcContents(c *Config, net connection) (map[string]string, error) {
	if _, shares := c.sharesNetwork(); shares {
		return net.contents, nil
	}
	hosts, err := c.hosts(net.attached)
	if err != nil {
		return nil, err
	}
	resolvConf, err := c.resolvConf(net.attached)
	if err != nil {
		return nil, err
	}
	return map[string]string{hostnameFile: c.Hostname + "\n", hostsFile: hosts.String(), resolvFile: resolvConf}, nil
}

// hosts says what is in the hosts file of a container that is connected so.
func (c *Config) hosts(attached *network.Attached) (etc.Hosts, error) {
	h := etc.Hosts{Extra: c.ExtraHosts, Name: etc.HostName(c.Hostname, c.Domainname)}
	local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	switch {
	case attached != nil:
		h.Addresses, h.Gateway = addressesOf(attached), gatewayOf(attached)
	case c.Network != NetworkHost:
		h.Addresses = []netip.Addr{local}
	default:
		raw, err := os.ReadFile(hostsFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return h, err
		}
		h.Base, h.Gateway = string(raw), local
	}
	return h, nil
}

func addressesOf(attached *network.Attached) (list []netip.Addr) {
	for _, e := range attached.Endpoints {
		for _, a := range e.Addresses {
			list = append(list, a.Addr())
		}
	}
	return list
}

// gatewayOf is the host's address as a container sees it: that on the network
// that leads out, or on the first one.
func gatewayOf(attached *network.Attached) (g netip.Addr) {
	for _, e := range attached.Endpoints {
		if len(e.Gateways) > 0 && (e.Default || !g.IsValid()) {
			g = e.Gateways[0]
		}
	}
	return g
}

// resolvConf is the resolv.conf of a container that is connected so.
func (c *Config) resolvConf(attached *network.Attached) (string, error) {
	asked := etc.Servers
	switch {
	case c.Network == NetworkHost:
		asked = etc.HostToo
	case !c.bridged():
		asked = etc.Nobody
	case c.kind().named:
		asked = etc.Resolver
	}
	host, err := etc.ReadHost(asked)
	if err != nil {
		return "", err
	}
	want := etc.DNS{Servers: c.DNS, Search: c.DNSSearch, Options: c.DNSOptions}
	return etc.ResolvConf(host, want, asked, reachesIPv6(attached)), nil
}

func reachesIPv6(attached *network.Attached) bool {
	if attached == nil {
		return false
	}
	for _, e := range attached.Endpoints {
		for _, g := range e.Gateways {
			if e.Default && g.Is6() {
				return true
			}
		}
	}
	return false
}

// etc gives those files that are shown to a container. The very files of another
// one are shared with it, so that both see what becomes of them.
func (c *Config) etc(net connection) ([]runtime.File, error) {
	contents, err := etcContents(c, net)
	if err != nil {
		return nil, err
	}
	var files []runtime.File
	for _, name := range etcFiles {
		if content, ok := contents[name]; ok && !c.mountsOver(name) {
			files = append(files, runtime.File{Target: name, Content: content, Shared: net.files[name] != nil})
		}
	}
	return files, nil
}

// renewEtc changes the files of a container that runs when its networks have
// changed. Those that somebody has put another file in the place of, or, with
// resolv.conf, another content, are left alone.
func (c *Config) renewEtc(p *process, before, now *network.Attached) error {
	proc, err := p.dir()
	if err != nil {
		return err
	}
	defer proc.Close()
	hosts, err := c.hosts(now)
	if err != nil {
		return err
	}
	resolvConf, err := c.resolvConf(now)
	if err != nil {
		return err
	}
	err = etc.Change(proc, hostsFile, func(content string) string { return hosts.Renew(content, addressesOf(before)) })
	if err == nil || errors.Is(err, etc.ErrForeign) || errors.Is(err, fs.ErrNotExist) {
		err = etc.Change(proc, resolvFile, func(content string) string {
			if !etc.Untouched(content) {
				return content
			}
			return resolvConf
		})
	}
	if errors.Is(err, etc.ErrForeign) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
