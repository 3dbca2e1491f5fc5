package network

import (
	"log/slog"
	"net/netip"
	"time"
)

// Manager keeps the networks of one pair of directories. All of its methods
// may be called by any number of processes at once: what they share are files
// and locks. A ref is a name, an id, or the unique beginning of an id.
type Manager struct {
	Root       string // absolute; durable: /var/lib/minict/networks
	State      string // absolute; forgotten by a reboot: /run/minict/networks
	Containers string // absolute; the run directories of containers: /run/minict/containers
	// Alive says whether a container is being started or lives, or somebody
	// is clearing up after it. What belongs to any other is anybody's.
	Alive func(containerID string) bool
	Log   *slog.Logger // nil for none
}

// Drivers of a network.
const (
	DriverBridge = "bridge"
	DriverHost   = "host" // of the network "host": the host's own namespace
	DriverNull   = "null" // of the network "none": nothing but a loopback
)

// Names that are there always. Default is the network of who asks for none;
// its containers have no names (as those of Docker's default bridge).
const (
	Default = "bridge"
	Host    = "host"
	None    = "none"
)

// Network is a definition. Of the default network, the subnets are chosen when
// it is first used.
type Network struct {
	ID       string            `json:"id"` // 64 hexadecimal digits
	Name     string            `json:"name"`
	Created  time.Time         `json:"created"`
	Driver   string            `json:"driver"`
	Subnets  []Subnet          `json:"subnets,omitempty"` // IPv4 first; at most one of each family
	Internal bool              `json:"internal,omitempty"`
	IPv6     bool              `json:"ipv6,omitempty"`
	MTU      int               `json:"mtu,omitempty"`    // bytes; 0 is the kernel's, 1500
	Bridge   string            `json:"bridge,omitempty"` // name of the interface
	Labels   map[string]string `json:"labels,omitempty"`
	Options  map[string]string `json:"options,omitempty"` // as they were asked for
}

// Subnet is one of a network.
type Subnet struct {
	Prefix  netip.Prefix `json:"prefix"`
	Gateway netip.Addr   `json:"gateway"`        // the bridge's address
	Range   netip.Prefix `json:"range,omitzero"` // where addresses come from; invalid for all of Prefix
}

// Options are what a user asks of a new network.
type Options struct {
	Name     string
	Driver   string   // "" or DriverBridge
	Subnets  []Subnet // gateway and range may be invalid; none of a family for one that is free
	Internal bool
	IPv6     bool
	Labels   map[string]string
	// Options are driver options: com.docker.network.driver.mtu (or mtu) and
	// com.docker.network.bridge.name. Others are kept, and mean nothing.
	Options map[string]string
}
