package container

import (
	"net/netip"
	"time"

	"minict/network"
	"minict/store"
)

// Config is what is kept of a container: the user's wishes, completed by what
// its image says. It never changes after the container was created. Nothing
// of the machine is in it: a start asks the machine anew.
//
// The fields that List needs come first, so that it can leave the rest alone.
type Config struct {
	ID         string       `json:"id"`   // 64 hexadecimal digits
	Name       string       `json:"name"` // without slash
	Created    time.Time    `json:"created"`
	Image      string       `json:"image"`             // as asked for; "" with Rootfs
	ImageID    store.Digest `json:"imageID,omitempty"` // "" with Rootfs
	Args       []string     `json:"args"`              // entrypoint and command
	Entrypoint int          `json:"entrypoint"`        // how many of Args are the entrypoint
	AutoRemove bool         `json:"autoRemove,omitempty"`
	Init       bool         `json:"init,omitempty"`
	Detach     bool         `json:"detach,omitempty"` // started with -d

	Labels map[string]string `json:"labels,omitempty"`

	// Rootfs is the absolute path of a directory on the host that serves as
	// root file system instead of an image. What the container changes in
	// it stays.
	Rootfs string `json:"rootfs,omitempty"`
	// Layers are the keys of the image's layer directories, lowest first.
	Layers []store.Digest `json:"layers,omitempty"`

	Env        []string `json:"env,omitempty"`     // NAME=value, without what every container gets
	WorkDir    string   `json:"workDir,omitempty"` // "" is /
	User       string   `json:"user,omitempty"`    // user[:group], names or numbers; "" is 0:0
	Hostname   string   `json:"hostname"`          // never ""
	Domainname string   `json:"domainname,omitempty"`
	TTY        bool     `json:"tty,omitempty"`
	OpenStdin  bool     `json:"openStdin,omitempty"`

	Mounts         []Mount `json:"mounts,omitempty"` // a target below another stands after it
	ReadOnlyRootfs bool    `json:"readOnlyRootfs,omitempty"`

	// Network is NetworkNone, NetworkHost, container:ID, or the name of the
	// first of Networks, which are what it is on otherwise.
	Network    string          `json:"network"`
	Networks   []NetworkWish   `json:"networks,omitempty"`
	Ports      []network.Port  `json:"ports,omitempty"` // those to publish
	PublishAll bool            `json:"publishAll,omitempty"`
	Exposed    []ContainerPort `json:"exposed,omitempty"`    // by number
	ExtraHosts []string        `json:"extraHosts,omitempty"` // "name:address"
	DNS        []netip.Addr    `json:"dns,omitempty"`
	DNSSearch  []string        `json:"dnsSearch,omitempty"`
	DNSOptions []string        `json:"dnsOptions,omitempty"`

	Resources   Resources `json:"resources"`
	Ulimits     []Ulimit  `json:"ulimits,omitempty"`
	OOMScoreAdj int       `json:"oomScoreAdj,omitempty"`

	CapAdd          []string `json:"capAdd,omitempty"`  // "ALL" or CAP_…
	CapDrop         []string `json:"capDrop,omitempty"` // "ALL" or CAP_…
	Privileged      bool     `json:"privileged,omitempty"`
	Seccomp         string   `json:"seccomp"`                  // SeccompDefault, SeccompUnconfined or SeccompFile
	SeccompProfile  string   `json:"seccompProfile,omitempty"` // the file's content, JSON
	NoNewPrivileges bool     `json:"noNewPrivileges,omitempty"`

	StopSignal  int           `json:"stopSignal"`  // number
	StopTimeout time.Duration `json:"stopTimeout"` // nanoseconds
	LogMaxSize  int64         `json:"logMaxSize"`  // bytes, of each of two files
}

// Networks that are none: a container that has one has no other.
const (
	NetworkNone = network.None // its own network namespace with nothing but loopback
	NetworkHost = network.Host // the host's network namespace
	// NetworkContainer begins the name of another container's network
	// namespace: container:NAME.
	NetworkContainer = "container:"
)

// Where a container's seccomp filter comes from.
const (
	SeccompDefault    = "default"
	SeccompUnconfined = "unconfined"
	SeccompFile       = "file"
)

// Types of Mount.
const (
	MountBind   = "bind"
	MountVolume = "volume"
	MountTmpfs  = "tmpfs"
)

// Mount is a directory or file that is mounted into a container.
type Mount struct {
	Type     string `json:"type"`             // MountBind, MountVolume or MountTmpfs
	Source   string `json:"source,omitempty"` // bind: absolute path on the host; volume: name, "" for a new anonymous one
	Target   string `json:"target"`           // absolute path in the container
	ReadOnly bool   `json:"readOnly,omitempty"`
	// Propagation of a bind mount, mount_namespaces(7): private, rprivate,
	// slave, rslave, shared or rshared; "" is rprivate.
	Propagation string `json:"propagation,omitempty"`
	// NonRecursive leaves out what is mounted below the source.
	NonRecursive bool `json:"nonRecursive,omitempty"`
	// MakeSource makes a missing source directory of a bind mount: what -v
	// does and --mount does not.
	MakeSource bool `json:"makeSource,omitempty"`
	// Anonymous volumes end with their container (--rm, rm -v).
	Anonymous bool `json:"anonymous,omitempty"`
	// NoCopy leaves a new volume empty, instead of filling it with what the
	// image has at Target.
	NoCopy bool `json:"noCopy,omitempty"`
	// Options of a tmpfs, as mount(8) has them: size=64m, mode=1777, exec.
	Options []string `json:"options,omitempty"`
}

// Resources are limits; 0 or "" is none.
type Resources struct {
	Memory            int64  `json:"memory,omitempty"`            // bytes
	MemorySwap        int64  `json:"memorySwap,omitempty"`        // bytes of memory and swap together; -1 for no limit
	MemoryReservation int64  `json:"memoryReservation,omitempty"` // bytes, a soft limit
	NanoCPUs          int64  `json:"nanoCPUs,omitempty"`          // 10⁻⁹ CPUs
	CPUShares         int64  `json:"cpuShares,omitempty"`         // relative weight, 2 to 262144
	CpusetCpus        string `json:"cpusetCpus,omitempty"`        // "0-2,4"
	CpusetMems        string `json:"cpusetMems,omitempty"`
	PidsLimit         int64  `json:"pidsLimit,omitempty"` // 0 is DefaultPidsLimit, -1 none
}

// DefaultPidsLimit is how many processes and threads a container may have if
// its user says nothing: a fork bomb must not take the machine.
const DefaultPidsLimit = 2048

// Ulimit is a resource limit of a process, getrlimit(2); -1 is unlimited.
type Ulimit struct {
	Name string `json:"name"` // lower case without RLIMIT_: nofile
	Soft int64  `json:"soft"`
	Hard int64  `json:"hard"`
}
