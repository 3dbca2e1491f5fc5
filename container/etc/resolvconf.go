// Package etc has the files in a container's /etc that its image can't know:
// resolv.conf, hosts and hostname, with what Docker writes into them. It says what
// is in them when a container starts, and changes them when its networks change.
package etc

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"minict/network/resolver"
)

// Asked says whom a container asks for names.
type Asked int

const (
	Nobody   Asked = iota // it has no network
	HostToo               // whom the host asks: it is in the host's network
	Servers               // the host's name servers, as far as it can reach them: on the default network
	Resolver              // its own name server, package resolver: on the networks of users
)

// DNS is what the user wants, in place of what the host has.
type DNS struct {
	Servers []netip.Addr
	Search  []string // "." alone for none
	Options []string
}

// Files of the host. The second one is where systemd-resolved keeps whom it asks
// itself, if the first one names nobody but it.
const (
	hostFile    = "/etc/resolv.conf"
	systemdFile = "/run/systemd/resolve/resolv.conf"
)

// ReadHost reads the host's resolv.conf, for who asks so. If there is none, it is
// empty.
func ReadHost(asked Asked) (string, error) {
	if asked == Nobody {
		return "", nil
	}
	text, err := readIfThere(hostFile)
	if err != nil || asked != Servers || !onlyStub(text) {
		return text, err
	}
	direct, err := readIfThere(systemdFile)
	if direct == "" {
		direct = text
	}
	return direct, err
}

func readIfThere(name string) (string, error) {
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return string(raw), err
}

// onlyStub says whether a resolv.conf names nobody but systemd-resolved.
func onlyStub(text string) bool {
	c := parse(text)
	return len(c.servers) == 1 && c.servers[0] == netip.AddrFrom4([4]byte{127, 0, 0, 53})
}

// The servers of who has none that a container could reach, as with Docker:
// Google's.
var (
	public4 = []netip.Addr{netip.AddrFrom4([4]byte{8, 8, 8, 8}), netip.AddrFrom4([4]byte{8, 8, 4, 4})}
	public6 = []netip.Addr{
		netip.AddrFrom16([16]byte{0x20, 0x01, 0x48, 0x60, 0x48, 0x60, 14: 0x88, 15: 0x88}),
		netip.AddrFrom16([16]byte{0x20, 0x01, 0x48, 0x60, 0x48, 0x60, 14: 0x88, 15: 0x44}),
	}
)

// config is a resolv.conf, resolv.conf(5).
type config struct {
	servers []netip.Addr
	search  []string // of the last line of that kind
	options []string // of all lines
	other   []string // lines that mean something else
}

func parse(text string) (c config) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.ContainsAny(fields[0][:1], "#;") {
			continue
		}
		switch keyword, values := fields[0], fields[1:]; keyword {
		case "nameserver":
			if len(values) > 0 {
				if addr, err := netip.ParseAddr(values[0]); err == nil {
					c.servers = append(c.servers, addr)
				}
			}
		case "domain", "search":
			if len(values) > 0 {
				c.search = values
			}
		case "options":
			c.options = append(c.options, values...)
		default:
			c.other = append(c.other, strings.Join(fields, " "))
		}
	}
	return c
}

// ResolvConf gives the content of a container's resolv.conf, from the host's
// (ReadHost). Ipv6 says whether the container has a way to servers by IPv6.
func ResolvConf(host string, want DNS, asked Asked, ipv6 bool) string {
	if asked == HostToo && want.empty() {
		return host
	}
	c := parse(host)
	want.replace(&c)
	switch {
	case asked == Nobody && len(want.Servers) == 0:
		return "# This container has no network: there is no name server to ask.\n"
	case asked == Servers && len(want.Servers) == 0:
		c.reachable(ipv6)
	case asked == Resolver:
		c.servers = []netip.Addr{netip.MustParseAddr(resolver.Address)}
		c.ownOptions()
	}
	return seal(c.String())
}

func (d DNS) empty() bool { return len(d.Servers) == 0 && len(d.Search) == 0 && len(d.Options) == 0 }

// replace puts what the user wants in the place of what the host has.
func (d DNS) replace(c *config) {
	if len(d.Servers) > 0 {
		c.servers = d.Servers
	}
	if len(d.Search) > 0 {
		c.search = slices.DeleteFunc(slices.Clone(d.Search), func(s string) bool { return s == "." })
	}
	if len(d.Options) > 0 {
		c.options = d.Options
	}
}

// reachable leaves the servers that a container can reach. A loopback address
// would be the container's own, an interface of the host's is none of it.
func (c *config) reachable(ipv6 bool) {
	c.servers = slices.DeleteFunc(c.servers, func(a netip.Addr) bool {
		return a.IsLoopback() || a.Zone() != "" || a.Is6() && !ipv6
	})
	if len(c.servers) > 0 {
		return
	}
	c.servers = slices.Clone(public4)
	if ipv6 {
		c.servers = append(c.servers, public6...)
	}
}

// ownOptions sets the options for the container's own name server. With ndots:0
// even a name without a dot is asked for as it is first: it is a container's.
func (c *config) ownOptions() {
	has := false
	c.options = slices.DeleteFunc(slices.Clone(c.options), func(option string) bool {
		value, is := strings.CutPrefix(option, "ndots:")
		if !is {
			return false
		}
		n, err := strconv.Atoi(value)
		valid := err == nil && n >= 0
		has = has || valid
		return !valid
	})
	if !has {
		c.options = append(c.options, "ndots:0")
	}
}

func (c *config) String() string {
	var b strings.Builder
	for _, server := range c.servers {
		b.WriteString("nameserver " + server.String() + "\n")
	}
	for _, line := range []struct {
		keyword string
		values  []string
	}{{"search", c.search}, {"options", c.options}} {
		if len(line.values) > 0 {
			b.WriteString(line.keyword + " " + strings.Join(line.values, " ") + "\n")
		}
	}
	for _, line := range c.other {
		b.WriteString(line + "\n")
	}
	return b.String()
}

// seal puts a line at the beginning by which Untouched knows whether somebody
// has changed the rest.
func seal(content string) string { return header(content) + content }

func header(content string) string {
	sum := fnv.New32a()
	sum.Write([]byte(content))
	return fmt.Sprintf("# Written by minict, which writes it anew as long as nobody else has changed it (%08x).\n", sum.Sum32())
}

// Untouched says whether a resolv.conf is as ResolvConf has made it: one that
// somebody has changed in the container is theirs.
func Untouched(content string) bool {
	_, rest, _ := strings.Cut(content, "\n")
	return content == seal(rest)
}
