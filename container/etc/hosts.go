package etc

import (
	"net/netip"
	"strings"
)

const localHosts = "127.0.0.1\tlocalhost\n" +
	"::1\tlocalhost ip6-localhost ip6-loopback\n" +
	"fe00::\tip6-localnet\n" +
	"ff00::\tip6-mcastprefix\n" +
	"ff02::1\tip6-allnodes\n" +
	"ff02::2\tip6-allrouters\n"

// HostGateway stands for the host's address in an entry of the user's.
const HostGateway = "host-gateway"

// Hosts is what is in a container's hosts file.
type Hosts struct {
	Base      string       // the host's file, for a container in the host's network; else ""
	Extra     []string     // "name:address" of the user's
	Gateway   netip.Addr   // what HostGateway stands for; if it is invalid, such entries are left out
	Addresses []netip.Addr // the container's own
	Name      string       // of the container, HostName
}

// HostName gives the names under which a container knows itself: with its
// domain first, if it has one.
func HostName(host, domain string) string {
	if domain == "" {
		return host
	}
	return host + "." + domain + " " + host
}

// String gives the content of the file.
func (h Hosts) String() string {
	var b strings.Builder
	if h.Base == "" {
		b.WriteString(localHosts)
	}
	b.WriteString(h.Base)
	if h.Base != "" && !strings.HasSuffix(h.Base, "\n") {
		b.WriteByte('\n')
	}
	for _, entry := range h.Extra {
		name, addr, _ := strings.Cut(entry, ":")
		if addr == HostGateway {
			if !h.Gateway.IsValid() {
				continue
			}
			addr = h.Gateway.String()
		}
		b.WriteString(addr + "\t" + name + "\n")
	}
	for _, addr := range h.Addresses {
		b.WriteString(h.line(addr))
	}
	return b.String()
}

func (h Hosts) line(addr netip.Addr) string { return addr.String() + "\t" + h.Name + "\n" }

// Renew gives a hosts file as it was, but with the container's addresses changed
// from the old ones to those of h. What else is in it stays, whoever has written
// it.
func (h Hosts) Renew(content string, old []netip.Addr) string {
	if content != "" && !strings.HasSuffix(content, "\n") {
		content += "\n"
	}
	gone := map[string]bool{}
	for _, addr := range append(old, h.Addresses...) {
		gone[h.line(addr)] = true
	}
	var b strings.Builder
	for line := range strings.Lines(content) {
		if !gone[line] {
			b.WriteString(line)
		}
	}
	for _, addr := range h.Addresses {
		b.WriteString(h.line(addr))
	}
	return b.String()
}
