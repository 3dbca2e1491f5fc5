package network

import (
	"net"
	"net/netip"
	"os"
)

// Request asks for a container to be connected.
type Request struct {
	Container string   // id, 64 hexadecimal digits
	Name      string   // the container's; a name of it on the networks of users
	Hostname  string   // another one, if it is not ""
	RunDir    string   // CONTAINERS/ID; it exists
	Namespace *os.File // its network namespace, for the time of the call
	Wishes    []Wish   // the first is eth0, and so on
	Ports     []Port   // those to publish
	// Servers are what its resolver forwards to; none for the host's. The
	// file "resolver" in RunDir has a line "server ADDRESS" for each, and
	// "forward no" when the container is on internal networks only: a
	// resolver must not be a way out (CVE-2024-29018).
	Servers []netip.Addr
}

// Wish is an endpoint asked for.
type Wish struct {
	Network string           // ref
	IPv4    netip.Addr       // invalid for any
	IPv6    netip.Addr       // invalid for any
	MAC     net.HardwareAddr // nil for one that follows from the address
	Aliases []string         // names on this network, besides the container's name and short id
}

// Endpoint is a container's part in a network.
type Endpoint struct {
	ID        string         `json:"id"` // 64 hexadecimal digits, new at each attachment
	Network   string         `json:"network"`
	NetworkID string         `json:"networkID"`
	Interface string         `json:"interface"` // in the container
	Host      string         `json:"host"`      // the other end of it, a port of the bridge
	Addresses []netip.Prefix `json:"addresses"` // IPv4 first; with the length of the subnet's prefix
	Gateways  []netip.Addr   `json:"gateways"`  // of the same families, in the same order
	MAC       string         `json:"mac"`
	Names     []string       `json:"names,omitempty"`   // on the network of a user
	Default   bool           `json:"default,omitempty"` // the container's default routes lead here
	Internal  bool           `json:"internal,omitempty"`
}

// Port is one published port: what comes to Host of the host goes to Container
// of the container.
type Port struct {
	// HostIP is the host's address. An invalid one asks for all of them:
	// 0.0.0.0, and :: too if the container has an IPv6 address.
	HostIP    netip.Addr `json:"hostIP"`
	Host      uint16     `json:"host"`               // 0 asks for a free one
	HostLast  uint16     `json:"hostLast,omitempty"` // not 0: the first free one from Host to this asked for
	Container uint16     `json:"container"`
	Protocol  string     `json:"protocol"` // tcp or udp
}

// Attached is what was made of a Request, and the content of the file
// "endpoints" in a run directory.
type Attached struct {
	Container string     `json:"container"`
	Name      string     `json:"name"`
	Endpoints []Endpoint `json:"endpoints"`
	Ports     []Port     `json:"ports,omitempty"` // with their real host addresses and ports
	// Held are sockets that keep others from taking the ports: they belong
	// to the container's monitor, and are closed with the container.
	Held []*os.File `json:"-"`
}
