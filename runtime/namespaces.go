package runtime

import (
	"path"
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

// namespaces are all kinds, in the order in which they are joined: the mount
// namespace after what is found by paths, the user namespace by itself.
var namespaces = []namespace{
	{specs.UserNamespace, unix.CLONE_NEWUSER, "user and group ids: its root is nobody on the host"},
	{specs.PIDNamespace, unix.CLONE_NEWPID, "processes: its first process is PID 1 and sees no other's"},
	{specs.MountNamespace, unix.CLONE_NEWNS, "mounts: what it mounts, nobody else sees"},
	{specs.UTSNamespace, unix.CLONE_NEWUTS, "host and domain name"},
	{specs.IPCNamespace, unix.CLONE_NEWIPC, "System V IPC and POSIX message queues"},
	{specs.NetworkNamespace, unix.CLONE_NEWNET, "network devices, addresses, routes, ports"},
	{specs.CgroupNamespace, unix.CLONE_NEWCGROUP, "cgroup paths: its own cgroup looks like the root"},
	{specs.TimeNamespace, unix.CLONE_NEWTIME, "time since boot"},
}

// spaces are the namespaces that a container does not share with its caller,
// by their flags of clone(2).
type spaces struct {
	fresh uint64            // are made for it
	paths map[uint64]string // are somebody's, and joined
}

func (s spaces) joins(flag uint64) bool { _, ok := s.paths[flag]; return ok }
func (s spaces) has(flag uint64) bool   { return s.fresh&flag != 0 || s.joins(flag) }

// owned says whether a namespace belongs to the container's user namespace, so
// that its root has rights over it.
func (s spaces) owned(flag uint64) bool {
	return s.fresh&flag != 0 || s.joins(flag) && s.fresh&unix.CLONE_NEWUSER == 0
}

// mixed says that namespaces are joined in an order that clone3(2) has not:
// the child must have joined the host's before it makes a user namespace, in
// which it has no rights over them, and a user namespace before it makes the
// others, which are to belong to it.
func (s spaces) mixed() bool { return len(s.paths) > 0 && s.has(unix.CLONE_NEWUSER) }

// forks says that only a process that is forked later is in all of them:
// setns(2) and unshare(2) give these two to children alone.
func (s spaces) forks() bool {
	return s.joins(unix.CLONE_NEWPID) || s.fresh&unix.CLONE_NEWTIME != 0 ||
		s.mixed() && s.fresh&unix.CLONE_NEWPID != 0
}

// readNamespaces sorts the specification's namespaces.
func (c *compiler) readNamespaces() error {
	c.spaces = spaces{paths: make(map[uint64]string)}
	for _, ns := range c.spec.Linux.Namespaces {
		flag := flagOf(ns.Type)
		switch {
		case flag == 0:
			return specError("namespace %q is unknown", ns.Type)
		case c.spaces.has(flag):
			return specError("namespace %s is given twice", ns.Type)
		case ns.Path == "":
			c.spaces.fresh |= flag
		case !path.IsAbs(ns.Path):
			return specError("namespace %s: the path %q is not absolute", ns.Type, ns.Path)
		default:
			c.spaces.paths[flag] = ns.Path
		}
	}
	return nil
}

func flagOf(kind specs.LinuxNamespaceType) uint64 {
	for _, ns := range namespaces {
		if ns.kind == kind {
			return ns.flag
		}
	}
	return 0
}

// checkNamespaces refuses what can't be had without a namespace.
func (c *compiler) checkNamespaces() error {
	if err := c.readNamespaces(); err != nil {
		return err
	}
	s := c.spec
	switch {
	case c.opt.Network && (!c.spaces.has(unix.CLONE_NEWNET) || c.spaces.has(unix.CLONE_NEWUSER)):
		return specError("the network namespace that is handed on is not the one that is asked for")
	case !c.spaces.has(unix.CLONE_NEWUTS) && s.Hostname+s.Domainname != "":
		return specError("a host name needs a uts namespace")
	case c.spaces.fresh&unix.CLONE_NEWTIME == 0 && len(s.Linux.TimeOffsets) > 0:
		return specError("linux.timeOffsets needs a new time namespace")
	}
	for clock := range s.Linux.TimeOffsets {
		if clock != "monotonic" && clock != "boottime" {
			return specError("linux.timeOffsets: clock %q has no offset", clock)
		}
	}
	if err := c.checkNetDevices(); err != nil {
		return err
	}
	if err := checkResctrl(s.Linux.IntelRdt); err != nil {
		return err
	}
	return c.checkMappings()
}

// createRuntime has the launcher do what is to be done when all namespaces
// exist. With a gate it is also the moment to write down which process this is,
// before it gets to where it could outlive the launcher: an airlock is that later.
func (c *compiler) createRuntime() error {
	h := c.spec.Hooks
	if c.opt.Gate && (!c.opt.Airlock || c.spaces.has(unix.CLONE_NEWUSER)) || h != nil && len(h.Prestart)+len(h.CreateRuntime) > 0 || len(c.spec.Linux.NetDevices) > 0 || c.spec.Linux.IntelRdt != nil {
		c.pause(PauseCreateRuntime, "hooks, network devices", "the namespaces exist, nothing is mounted yet")
	}
	return nil
}

// createContainer is the same for the hooks that see the container's mounts
// and still the host's. An ordinary user may let them enter only a process that
// is dumpable, so it is that for as long, if nobody else is in there.
func (c *compiler) createContainer() error {
	h := c.spec.Hooks
	if h == nil || len(h.CreateContainer) == 0 {
		return nil
	}
	const alone = unix.CLONE_NEWUSER | unix.CLONE_NEWPID
	open := c.host.Rootless && c.spaces.fresh&alone == alone
	if open {
		c.step("unguard", "the set-up", "dumpable", "for its user's hooks to enter; nobody else is in its namespaces")
		c.dumpable(1)
	}
	c.pause(PauseCreateContainer, "hooks", "all is mounted, the host is still seen")
	if open {
		c.dumpable(0)
	}
	return nil
}

// namespaces gives the flags of clone for those that the child is born in, and
// writes the steps that make and join the others.
func (c *compiler) namespaces(joined cgroup.Joined) uint64 {
	for _, ns := range namespaces {
		if c.spaces.fresh&ns.flag != 0 {
			c.step("new namespace", string(ns.kind), "", ns.why)
		}
	}
	born, before, after := c.births()
	if c.spaces.fresh&unix.CLONE_NEWUSER == 0 && c.unprivileged() {
		c.earlyOOMScore()
		c.earlyLimits()
	}
	c.unshare(before)
	c.mappings(born | before)
	c.guard()
	joined.Join(&c.b)
	c.enterNetwork()
	if c.opt.Scope {
		c.pause(PauseCgroup, "the cgroup", "systemd makes it around a process that is there")
	}
	foreign := c.watchSysctls()
	c.join()
	foreign()
	if c.spaces.joins(unix.CLONE_NEWUTS) {
		c.names() // with the rights by which it was joined
	}
	c.unshare(after)
	c.mappings(after)
	if c.spaces.forks() {
		c.fork(c.spaces.fresh &^ (born | before | after))
	}
	if c.spaces.fresh&unix.CLONE_NEWUTS != 0 {
		c.names()
	}
	return born
}

// sharesMounts says whether the container is in a mount namespace of others:
// its root directory is all that keeps it from their files.
func (c *compiler) sharesMounts() bool { return c.spaces.fresh&unix.CLONE_NEWNS == 0 }

// births says which of the new namespaces the child is born in, and which it
// makes itself before it is guarded and after it has joined others. Those that
// are left are made by its fork. The root of a cgroup namespace is the cgroup
// of the process that makes it, so that is never born in.
func (c *compiler) births() (born, before, after uint64) {
	const forked, late = unix.CLONE_NEWPID, unix.CLONE_NEWCGROUP
	fresh := c.spaces.fresh
	if c.opt.Network {
		fresh &^= unix.CLONE_NEWNET
	}
	switch {
	case c.spaces.mixed():
		return 0, 0, fresh &^ forked
	case fresh&unix.CLONE_NEWTIME != 0:
		return fresh &^ (forked | late | unix.CLONE_NEWTIME), unix.CLONE_NEWTIME, fresh & late
	}
	return fresh &^ late, 0, fresh & late
}

// enterNetwork joins a new network namespace that was made before.
func (c *compiler) enterNetwork() {
	if !c.opt.Network || c.spaces.joins(unix.CLONE_NEWNET) {
		return
	}
	c.step("join namespace", "network", "", "its own, made while there was time")
	c.b.Call(unix.SYS_SETNS, c.network.Value(), plan.Int(unix.CLONE_NEWNET))
}

func (c *compiler) unshare(flags uint64) {
	if flags == 0 {
		return
	}
	var kinds []string
	for _, ns := range namespaces {
		if flags&ns.flag != 0 {
			kinds = append(kinds, string(ns.kind))
		}
	}
	c.step("unshare", strings.Join(kinds, " "), "", "belongs to the cgroup and the user namespace that it is in by now")
	c.b.Call(unix.SYS_UNSHARE, plan.Int(flags))
}

// guard makes the child unreadable for others, above all for processes of the
// namespaces that it is about to enter (CVE-2016-9962), and the leader of a
// session of its own, away from the caller's terminal.
func (c *compiler) guard() {
	c.step("guard", "the set-up", "not dumpable, own session", "nobody may trace it, nor can it reach the caller's terminal")
	c.dumpable(0)
	c.lead()
	c.b.Call(unix.SYS_UMASK, plan.Int(0))
}

// dumpable says whether those who have the process's rights may trace it.
func (c *compiler) dumpable(yes int) {
	c.b.Call(unix.SYS_PRCTL, plan.Int(unix.PR_SET_DUMPABLE), plan.Int(yes))
}

func (c *compiler) lead() {
	// Here for the time of the set-up; setting user ids forgets it.
	c.b.Call(unix.SYS_PRCTL, plan.Int(unix.PR_SET_PDEATHSIG), plan.Int(unix.SIGKILL))
	c.b.Call(unix.SYS_SETSID)
}

// fork hands over to a sibling that is in the namespaces that the child could
// only enter for its children.
func (c *compiler) fork(flags uint64) {
	c.step("fork", "into the namespaces", "", "some take only children in")
	c.b.Call(plan.Fork, plan.Int(flags))
	c.lead()
}

// join enters the namespaces that are given by path. All are opened before the
// first is joined: later the paths may lead elsewhere.
func (c *compiler) join() {
	fds := make(map[uint64]plan.Slot)
	for _, ns := range namespaces {
		p, ok := c.spaces.paths[ns.flag]
		switch {
		case ok && ns.flag == unix.CLONE_NEWNET && c.opt.Network:
			fds[ns.flag] = c.network
		case ok:
			fds[ns.flag] = c.openNamespace(ns, p)
		}
	}
	user, joinsUser := fds[unix.CLONE_NEWUSER]
	delete(fds, unix.CLONE_NEWUSER)
	c.joinAll(fds, joinsUser)
	if joinsUser {
		c.step("join namespace", "user", c.spaces.paths[unix.CLONE_NEWUSER], "shared: "+namespaces[0].why)
		// EINVAL: it is in it already.
		c.b.Call(unix.SYS_SETNS, user.Value(), plan.Int(unix.CLONE_NEWUSER)).Ignore(int(unix.EINVAL))
		c.joinAll(fds, false)
	}
}

// joinAll enters namespaces. If it may leave out those that it has no rights
// over, it closes those that were joined, so that the second time, with the
// rights that a user namespace gave, only the others are left.
func (c *compiler) joinAll(fds map[uint64]plan.Slot, leaveOut bool) {
	for _, ns := range namespaces {
		fd, ok := fds[ns.flag]
		if !ok {
			continue
		}
		c.step("join namespace", string(ns.kind), c.spaces.paths[ns.flag], "shared: "+ns.why)
		at := c.b.Len()
		call := c.b.Call(unix.SYS_SETNS, fd.Value(), plan.Int(ns.flag))
		if c.spaces.joins(unix.CLONE_NEWUSER) && !leaveOut {
			call.Ignore(int(unix.EBADF))
		}
		if leaveOut {
			c.b.Call(unix.SYS_CLOSE, fd.Value())
			c.b.SkipFrom(at, int(unix.EPERM))
		}
	}
}

// openNamespace opens a namespace's file, and fails with EINVAL or ENOTTY if it
// is none of the kind. It does not wait for the other end of a fifo.
func (c *compiler) openNamespace(ns namespace, p string) plan.Slot {
	c.step("open namespace", string(ns.kind)+" "+p, "", "")
	fd, kind := c.b.Slot(), c.b.Data(make([]byte, 8))
	c.b.Call(unix.SYS_OPENAT, plan.Int(atFDCWD), c.b.Str(p), plan.Int(unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC)).Into(fd)
	c.b.Call(unix.SYS_IOCTL, fd.Value(), plan.Int(unix.NS_GET_NSTYPE)).StoreAt(kind)
	c.b.Call(plan.Expect32, kind, plan.Int(ns.flag), plan.Int(^uint32(0)), plan.Int(uint(unix.EINVAL)))
	return fd
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

// loopback brings the interface lo up, if nobody has done so.
func (c *compiler) loopback() error {
	if c.spaces.fresh&unix.CLONE_NEWNET == 0 || c.opt.Network || LoopbackStaysDown(c.spec, c.host) {
		return nil
	}
	c.step("bring up", "lo", "", "127.0.0.1 and ::1 work inside")
	raiseLoopback(&c.b)
	return nil
}

// LoopbackStaysDown says that a container has a new network namespace in which
// its loopback can't be brought up: to make the one takes CAP_SYS_ADMIN, the other
// CAP_NET_ADMIN, which one has of oneself in a user namespace of one's own alone.
// Nothing of the outside is reached without a loopback either, so the container
// starts all the same.
func LoopbackStaysDown(spec *specs.Spec, host Host) bool {
	return MakesNetwork(spec) && host.Denied&(1<<unix.CAP_NET_ADMIN) != 0
}
