package runtime

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/cgroup"
	"minict/runtime/plan"
)

// namespace is one kind of namespaces(7).
type namespace struct {
	kind specs.LinuxNamespaceType
	flag uint64
	why  string
}

var namespaces = []namespace{
	{specs.PIDNamespace, unix.CLONE_NEWPID, "processes: its first process is PID 1 and sees no other's"},
	{specs.MountNamespace, unix.CLONE_NEWNS, "mounts: what it mounts, nobody else sees"},
	{specs.UTSNamespace, unix.CLONE_NEWUTS, "host and domain name"},
	{specs.IPCNamespace, unix.CLONE_NEWIPC, "System V IPC and POSIX message queues"},
	{specs.NetworkNamespace, unix.CLONE_NEWNET, "network devices, addresses, routes, ports"},
	{specs.CgroupNamespace, unix.CLONE_NEWCGROUP, "cgroup paths: its own cgroup looks like the root"},
}

// namespaces gives the flags of clone for the new ones, and writes the steps
// that enter those of others and give the names to the new.
func (c *compiler) namespaces(joined cgroup.Joined) (uint64, error) {
	wanted, err := c.wanted()
	if err != nil {
		return 0, err
	}
	var flags uint64
	for _, ns := range namespaces {
		w, ok := wanted[ns.kind]
		if !ok || w.Path != "" {
			continue
		}
		c.step("new namespace", string(ns.kind), "", ns.why)
		if ns.flag != unix.CLONE_NEWCGROUP {
			flags |= ns.flag
		}
	}
	c.guard()
	joined.Join(&c.b)
	if w, ok := wanted[specs.CgroupNamespace]; ok && w.Path == "" {
		// Only now, since its root is the cgroup of the caller.
		c.step("unshare", "cgroup", "", "the namespace's root is the container's cgroup")
		c.b.Call(unix.SYS_UNSHARE, plan.Int(unix.CLONE_NEWCGROUP))
	}
	c.join(wanted)
	c.names()
	return flags, nil
}

func (c *compiler) wanted() (map[specs.LinuxNamespaceType]specs.LinuxNamespace, error) {
	wanted := make(map[specs.LinuxNamespaceType]specs.LinuxNamespace)
	for _, ns := range c.spec.Linux.Namespaces {
		if _, twice := wanted[ns.Type]; twice {
			return nil, specError("namespace %s is given twice", ns.Type)
		}
		if !known(ns.Type) {
			return nil, specError("namespace %q is not supported", ns.Type)
		}
		if ns.Path != "" && (ns.Type == specs.PIDNamespace || ns.Type == specs.MountNamespace) {
			return nil, specError("joining a %s namespace by path is not supported yet", ns.Type)
		}
		wanted[ns.Type] = ns
	}
	if _, ok := wanted[specs.MountNamespace]; !ok {
		return nil, specError("a container without a mount namespace of its own is not supported")
	}
	if _, ok := wanted[specs.UTSNamespace]; !ok && c.spec.Hostname+c.spec.Domainname != "" {
		return nil, specError("a host name needs a uts namespace")
	}
	return wanted, nil
}

func known(kind specs.LinuxNamespaceType) bool {
	for _, ns := range namespaces {
		if ns.kind == kind {
			return true
		}
	}
	return false
}

// guard makes the child unreadable for others, above all for processes of the
// namespaces that it is about to enter (CVE-2016-9962), and the leader of a
// session of its own, away from the caller's terminal.
func (c *compiler) guard() {
	c.step("guard", "the set-up", "not dumpable, own session", "nobody may trace it, nor can it reach the caller's terminal")
	c.b.Call(unix.SYS_PRCTL, plan.Int(unix.PR_SET_DUMPABLE), plan.Int(0))
	// Here for the time of the set-up; setting user ids forgets it.
	c.b.Call(unix.SYS_PRCTL, plan.Int(unix.PR_SET_PDEATHSIG), plan.Int(unix.SIGKILL))
	c.b.Call(unix.SYS_SETSID)
	c.b.Call(unix.SYS_UMASK, plan.Int(0))
}

// join enters the namespaces that are given by path.
func (c *compiler) join(wanted map[specs.LinuxNamespaceType]specs.LinuxNamespace) {
	for _, ns := range namespaces {
		path := wanted[ns.kind].Path
		if path == "" {
			continue
		}
		c.step("join namespace", string(ns.kind), path, "shared: "+ns.why)
		fd := c.b.Slot()
		c.b.Call(unix.SYS_OPENAT, plan.Int(atFDCWD), c.b.Str(path), plan.Int(unix.O_RDONLY|unix.O_CLOEXEC)).Into(fd)
		c.b.Call(unix.SYS_SETNS, fd.Value(), plan.Int(ns.flag))
	}
}

func (c *compiler) names() {
	if name := c.spec.Hostname; name != "" {
		c.step("set hostname", name, "", "its own name")
		c.b.Call(unix.SYS_SETHOSTNAME, c.b.Str(name), plan.Int(len(name)))
	}
	if name := c.spec.Domainname; name != "" {
		c.step("set domainname", name, "", "its own name")
		c.b.Call(unix.SYS_SETDOMAINNAME, c.b.Str(name), plan.Int(len(name)))
	}
}

// newNetwork says whether the container has a network of its own.
func (c *compiler) newNetwork() bool {
	for _, ns := range c.spec.Linux.Namespaces {
		if ns.Type == specs.NetworkNamespace {
			return ns.Path == ""
		}
	}
	return false
}

// loopback brings the interface lo up: it is there in each new network
// namespace, but down.
func (c *compiler) loopback() error {
	if !c.newNetwork() {
		return nil
	}
	c.step("bring up", "lo", "", "127.0.0.1 and ::1 work inside")
	var ifreq [40]byte // struct ifreq: name, then flags
	copy(ifreq[:], "lo")
	ifreq[16] = unix.IFF_UP
	sock := c.b.Slot()
	c.b.Call(unix.SYS_SOCKET, plan.Int(unix.AF_INET), plan.Int(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), plan.Int(0)).Into(sock)
	c.b.Call(unix.SYS_IOCTL, sock.Value(), plan.Int(unix.SIOCSIFFLAGS), c.b.Data(ifreq[:]))
	c.b.Call(unix.SYS_CLOSE, sock.Value())
	return nil
}

// procfsWrites sets what is set through procfs. Each write goes through the
// procfs that this plan mounted itself: a path could lead to whatever the
// image or a volume has put there (CVE-2019-16884, CVE-2025-52881).
func (c *compiler) procfsWrites() error {
	for _, key := range slices.Sorted(maps.Keys(c.spec.Linux.Sysctl)) {
		if err := c.sysctl(key, c.spec.Linux.Sysctl[key]); err != nil {
			return err
		}
	}
	if adj := c.spec.Process.OOMScoreAdj; adj != nil {
		return c.oomScore(*adj)
	}
	return nil
}

func (c *compiler) sysctl(key, value string) error {
	if err := c.sysctlAllowed(key, value); err != nil {
		return err
	}
	c.step("sysctl", key, value, "of its own namespaces")
	return c.writeProc("sys/"+strings.ReplaceAll(key, ".", "/"), value)
}

// sysctlAllowed lets through what belongs to a namespace of the container,
// and nothing that could smuggle in another key (CVE-2022-0811).
func (c *compiler) sysctlAllowed(key, value string) error {
	if strings.ContainsAny(key, "/+=\n\x00") || strings.Contains(key, "..") || strings.ContainsAny(value, "\n\x00") {
		return specError("sysctl %q has characters that are not allowed", key)
	}
	kind := sysctlNamespace(key)
	for _, ns := range c.spec.Linux.Namespaces {
		if ns.Type == kind && ns.Path == "" {
			return nil
		}
	}
	return specError("sysctl %q does not belong to a namespace of the container", key)
}

func sysctlNamespace(key string) specs.LinuxNamespaceType {
	switch {
	case strings.HasPrefix(key, "net."):
		return specs.NetworkNamespace
	case strings.HasPrefix(key, "fs.mqueue."), strings.HasPrefix(key, "kernel.msg"), strings.HasPrefix(key, "kernel.shm"), key == "kernel.sem":
		return specs.IPCNamespace
	case key == "kernel.domainname", key == "kernel.hostname":
		return specs.UTSNamespace
	}
	return ""
}

func (c *compiler) oomScore(adj int) error {
	if adj < -1000 || adj > 1000 {
		return specError("oomScoreAdj %d is not within -1000 and 1000", adj)
	}
	c.step("set oom_score_adj", strconv.Itoa(adj), "", "how soon the kernel picks it when memory runs out")
	return c.writeProc("self/oom_score_adj", strconv.Itoa(adj))
}

func (c *compiler) writeProc(path, value string) error {
	if c.procfs == plan.NoSlot {
		return specError("writing /proc/%s needs a proc mount at /proc", path)
	}
	fd := c.b.Slot()
	c.b.Call(unix.SYS_OPENAT, c.procfs.Value(), c.b.Str(path), plan.Int(unix.O_WRONLY|unix.O_CLOEXEC)).Into(fd)
	c.b.Call(unix.SYS_WRITE, fd.Value(), c.b.Str(value), plan.Int(len(value)))
	c.b.Call(unix.SYS_CLOSE, fd.Value())
	return nil
}
