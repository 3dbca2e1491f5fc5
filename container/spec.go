package container

import (
	"cmp"
	"errors"
	"io/fs"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"minict/runtime/cgroup"
)

// facts are what a specification depends on beside the Config: what the
// machine has, and what the image's files say. They are gathered before, so
// that making the specification is a pure function.
type facts struct {
	User     identity // who the first process runs as
	Dir      string   // ROOT/containers/ID
	Volumes  string   // ROOT/volumes
	Bounding []string // capabilities that this machine's root can give: CAP_…
	// HardLimits are the hard limits of this process by ulimit name, when it
	// may not raise them; nil when it may.
	HardLimits map[string]uint64
	// NoFile is this process's hard limit of open files.
	NoFile uint64
	// Masked are paths that only some machines have, beside maskedPaths.
	Masked []string
	// Devices are the host's device nodes, for a privileged container.
	Devices []specs.LinuxDevice
}

// specification makes the OCI specification of a container. The seccomp filter
// is not in it: it is handed on compiled.
func specification(c *Config, f facts) *specs.Spec {
	s := &specs.Spec{
		Version:    specs.Version,
		Hostname:   c.Hostname,
		Domainname: c.Domainname,
		Root:       &specs.Root{Path: cmp.Or(c.Rootfs, f.Dir), Readonly: c.ReadOnlyRootfs},
		Process: &specs.Process{
			Terminal:        c.TTY,
			User:            f.User.spec(),
			Args:            c.Args,
			Env:             environment(c, c.Env, f.User.home, c.TTY),
			Cwd:             cmp.Or(c.WorkDir, "/"),
			Capabilities:    c.capabilities(f, f.User.uid),
			Rlimits:         c.rlimits(f),
			NoNewPrivileges: c.NoNewPrivileges,
		},
		Mounts: c.specMounts(f),
		Linux: &specs.Linux{
			CgroupsPath: c.cgroupPath(),
			Namespaces:  c.namespaces(),
			Resources:   c.resources(f),
		},
	}
	if c.OOMScoreAdj != 0 {
		s.Process.OOMScoreAdj = &c.OOMScoreAdj
	}
	if c.kind().own {
		// Without rights, a program can ping, and bind any port: both are
		// confined to its own network.
		s.Linux.Sysctl = map[string]string{
			"net.ipv4.ping_group_range":           "0 2147483647",
			"net.ipv4.ip_unprivileged_port_start": "0",
		}
	}
	if c.Privileged {
		s.Linux.Devices = f.Devices
	} else {
		s.Linux.MaskedPaths = append(append([]string(nil), maskedPaths...), f.Masked...)
		s.Linux.ReadonlyPaths = readonlyPaths
	}
	return s
}

// cgroupPath is where a container's cgroup is, below the root of each
// hierarchy.
func (c *Config) cgroupPath() string {
	if c.Privileged { // may use all devices
		return cgroup.Parent + "/" + c.ID
	}
	return cgroup.Usual + "/" + c.ID
}

// openCgroup opens the cgroup of a container of which nothing but the id may
// be known any more: fs.ErrNotExist if there is none.
func openCgroup(id string) (*cgroup.Cgroup, error) {
	layout, err := cgroup.Probe()
	if err != nil {
		return nil, err
	}
	group, err := cgroup.Open(layout, cgroup.Usual+"/"+id)
	if errors.Is(err, fs.ErrNotExist) {
		group, err = cgroup.Open(layout, cgroup.Parent+"/"+id)
	}
	return group, err
}

func (c *Config) namespaces() []specs.LinuxNamespace {
	kinds := []specs.LinuxNamespaceType{
		specs.MountNamespace, specs.PIDNamespace, specs.UTSNamespace,
		specs.IPCNamespace, specs.CgroupNamespace,
	}
	list := make([]specs.LinuxNamespace, 0, len(kinds)+1)
	for _, kind := range kinds {
		list = append(list, specs.LinuxNamespace{Type: kind})
	}
	if c.kind().own {
		list = append(list, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	} else if c.Network != NetworkHost {
		list = append(list, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: "/" + c.Network})
	}
	return list
}

// defaultPath is PATH where neither the image nor the user sets one.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment puts the variables env over what every container gets.
func environment(c *Config, env []string, home string, tty bool) []string {
	all := []string{defaultPath, "HOSTNAME=" + c.Hostname}
	if tty {
		all = append(all, "TERM=xterm")
	}
	hasHome := false
	for _, entry := range env {
		all = setVariable(all, entry)
		hasHome = hasHome || strings.HasPrefix(entry, "HOME=")
	}
	if !hasHome {
		all = append(all, "HOME="+home)
	}
	return all
}

func (c *Config) resources(f facts) *specs.LinuxResources {
	r := &specs.LinuxResources{Devices: deviceRules(c.Privileged)}
	limits := c.Resources
	if m := limits; m.Memory != 0 || m.MemorySwap != 0 || m.MemoryReservation != 0 {
		r.Memory = &specs.LinuxMemory{
			Limit: nonZero(m.Memory), Swap: nonZero(m.MemorySwap), Reservation: nonZero(m.MemoryReservation),
		}
	}
	cpu := specs.LinuxCPU{Cpus: limits.CpusetCpus, Mems: limits.CpusetMems}
	if limits.CPUShares != 0 {
		shares := uint64(limits.CPUShares)
		cpu.Shares = &shares
	}
	if limits.NanoCPUs != 0 {
		period, quota := uint64(cpuPeriod), limits.NanoCPUs*cpuPeriod/1e9
		cpu.Period, cpu.Quota = &period, &quota
	}
	if cpu != (specs.LinuxCPU{}) {
		r.CPU = &cpu
	}
	pids := cmp.Or(limits.PidsLimit, DefaultPidsLimit)
	r.Pids = &specs.LinuxPids{Limit: &pids}
	return r
}

// optional are the controllers without which a container may start: the limit
// of processes is nobody's wish when it is the default.
func (r Resources) optional() cgroup.Set {
	if r.PidsLimit == 0 {
		return cgroup.Pids
	}
	return 0
}

// cpuPeriod is the time in which a quota of CPU time may be used, in µs.
const cpuPeriod = 100_000

func nonZero(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}
