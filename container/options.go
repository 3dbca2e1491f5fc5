package container

import (
	"net/netip"
	"time"

	"minict/network"
)

// Options are what a user asks of a new container, by flags or by a file.
// A field that is nil, "" or 0 leaves the decision to the image, or to the
// default. Resolve makes a Config of them.
type Options struct {
	Name  string // "" for a random one
	Image string // as asked for, for display; the image itself comes from a Find
	// Platform is the image's, if one was asked for: else an image for
	// another machine is refused.
	Platform string
	Rootfs   string // directory instead of an image; relative to the working directory

	Args []string // what stands behind the image's name
	// Entrypoint replaces the image's, and then the image's command is
	// dropped too. nil leaves it; an empty list, or one empty string, means
	// none.
	Entrypoint []string

	// Env has NAME=value, or NAME for the value in the caller's environment
	// (if it has none, the image's variable goes). Later ones win. Lines of
	// an environment file (ReadEnvFile) come before the flags.
	Env     []string
	WorkDir string
	User    string // user[:group], names or numbers

	Hostname   string
	Domainname string
	AddHosts   []string // ParseHost

	// Networks are those that it is to be on, the first as eth0; none is the
	// default network. NetworkNone, NetworkHost and container:NAME stand alone.
	Networks   []NetworkWish  // ParseNetwork
	Publish    []network.Port // ParsePublish
	PublishAll bool           // also what it and its image expose, under free ports
	Expose     []ContainerPort
	// DNS are name servers, in place of the host's; the others stand in its
	// /etc/resolv.conf, in place of the host's.
	DNS                   []netip.Addr
	DNSSearch, DNSOptions []string

	TTY        bool
	OpenStdin  bool
	Detach     bool
	AutoRemove bool
	Init       bool

	Mounts   []Mount // ParseVolume, ParseMount, ParseTmpfs
	ReadOnly bool

	Resources   Resources
	Ulimits     []Ulimit // ParseUlimit
	OOMScoreAdj int

	CapAdd, CapDrop []string
	Privileged      bool
	// Security is what --security-opt says: ParseSecurity fills it.
	Security Security

	Labels      map[string]string
	StopSignal  string         // name or number
	StopTimeout *time.Duration // nil is DefaultStopTimeout
	LogMaxSize  int64          // bytes of each of two log files; 0 is DefaultLogMaxSize

	// Getenv looks up the caller's environment; nil is os.LookupEnv.
	Getenv func(name string) (value string, ok bool)
}

// Security is what the --security-opt flags say.
type Security struct {
	NoNewPrivileges bool
	Seccomp         string // "", SeccompDefault, SeccompUnconfined or SeccompFile
	SeccompProfile  string // the file's content, with SeccompFile
}

const (
	// DefaultStopTimeout is how long Stop waits before it kills.
	DefaultStopTimeout = 10 * time.Second
	// DefaultLogMaxSize bounds the log of a container: when a file has
	// reached it, the file before it is thrown away.
	DefaultLogMaxSize = 16 << 20
	// MinMemory is the least memory limit, in bytes: with less, a container
	// does not get as far as its own program.
	MinMemory = 6 << 20
)
