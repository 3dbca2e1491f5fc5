package runtime

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

const (
	emptyPath = unix.AT_EMPTY_PATH
	cloneTree = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	onto      = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
)

// rootfs attaches the root filesystem somewhere, to be furnished there.
func (c *compiler) rootfs() error {
	spread, ok := uint64(unix.MS_PRIVATE|unix.MS_REC), true
	if p := c.spec.Linux.RootfsPropagation; p != "" {
		if spread, ok = propagations[p]; !ok {
			return specError("rootfsPropagation %q is unknown", p)
		}
	}
	if err := c.openPropagating(); err != nil {
		return err
	}
	c.step("make private", "/", "all mounts", "what is mounted from here on stays inside")
	c.b.Call(unix.SYS_MOUNT, plan.Int(0), c.b.Str("/"), plan.Int(0), plan.Int(spread|unix.MS_REC), plan.Int(0))

	anchor := c.opt.Anchor
	if anchor == "" {
		anchor = c.spec.Root.Path
	}
	if !path.IsAbs(anchor) {
		return specError("root.path %q is not absolute", anchor)
	}
	c.step("attach", "the root filesystem", "", "files: the container's own tree")
	if c.root == plan.NoSlot {
		c.root = c.b.Slot()
		c.b.Call(unix.SYS_OPEN_TREE, plan.Int(atFDCWD), c.b.Str(c.spec.Root.Path), plan.Int(cloneTree|unix.AT_RECURSIVE)).Into(c.root)
	}
	c.b.Call(unix.SYS_MOVE_MOUNT, c.root.Value(), c.b.Str(""), plan.Int(atFDCWD), c.b.Str(anchor), plan.Int(unix.MOVE_MOUNT_F_EMPTY_PATH))
	c.setAttr(c.root, 0, mountAttr{propagation: unix.MS_PRIVATE})
	return nil
}

// openPropagating opens the sources of bind mounts that are to hear of mounts
// below them on the host, or to be heard of: they must be copied while the
// host's mounts still belong to the host's groups of propagation.
func (c *compiler) openPropagating() error {
	c.sources = make(map[int]plan.Slot)
	for i, m := range c.spec.Mounts {
		o, err := parseMountOptions(m)
		if err != nil {
			return err
		}
		if o.bind && (o.spread&(unix.MS_SLAVE|unix.MS_SHARED) != 0 || c.spaces.has(unix.CLONE_NEWUSER)) {
			c.step("open", m.Source, "", "for "+m.Destination+", while it has the host's mounts and the caller's identity")
			c.sources[i] = c.openSource(m, o)
		}
	}
	return nil
}

func (c *compiler) openSource(m specs.Mount, o mountOptions) plan.Slot {
	tree := c.b.Slot()
	flags := cloneTree
	if o.recursive {
		flags |= unix.AT_RECURSIVE
	}
	c.b.Call(unix.SYS_OPEN_TREE, plan.Int(atFDCWD), c.b.Str(m.Source), plan.Int(flags)).Into(tree)
	return tree
}

// mounts mounts the specification's mounts in their order.
func (c *compiler) mounts() error {
	for i, m := range c.spec.Mounts {
		if !path.IsAbs(m.Destination) {
			return specError("mount %q: the destination is not absolute", m.Destination)
		}
		m.Destination = path.Clean(m.Destination)
		o, err := parseMountOptions(m)
		if err != nil {
			return err
		}
		if source, ok := c.borrowed(m); ok {
			m.Source, o.bind, o.recursive, o.data = source, true, true, nil
		}
		switch {
		case o.bind:
			err = c.bind(i, m, o)
		case m.Type == "cgroup" || m.Type == "cgroup2":
			err = c.cgroupMount(m, o)
		default:
			err = c.newMount(m, o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// procAllowed are the files of procfs that something may be bound over: they
// only inform. Anything else in procfs decides, or names processes, and a
// mount there would redirect what is written to it.
var procAllowed = []string{
	"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/net/dev",
	"/proc/slabinfo", "/proc/stat", "/proc/swaps", "/proc/sys/crypto/fips_enabled",
	"/proc/sys/kernel/ns_last_pid", "/proc/uptime",
}

// bind shows a file or a directory of the host at another place. The source
// is resolved once, into a descriptor.
func (c *compiler) bind(i int, m specs.Mount, o mountOptions) error {
	if !path.IsAbs(m.Source) {
		return specError("mount %s: the source %q is not absolute", m.Destination, m.Source)
	}
	detail := m.Source
	if len(m.Options) > 0 {
		detail += " " + strings.Join(m.Options, ",")
	}
	c.step("bind", m.Destination, detail, "shares this with the host, and nothing else")
	tree, opened := c.sources[i]
	if !opened {
		tree = c.openSource(m, o)
	}
	spread := o.spread
	if spread == 0 {
		spread = unix.MS_PRIVATE | unix.MS_REC
	}
	c.setAttr(tree, 0, mountAttr{set: o.set, clear: o.clear, propagation: spread &^ unix.MS_REC})
	if o.setAll|o.clearAll != 0 || spread&unix.MS_REC != 0 {
		c.setAttr(tree, unix.AT_RECURSIVE, mountAttr{set: o.setAll, clear: o.clearAll, propagation: spread &^ unix.MS_REC})
	}
	target := c.walkLike(tree, m.Destination)
	if !slices.Contains(procAllowed, m.Destination) {
		c.notInProc(target)
	}
	c.attach(tree, target)
	c.own(m, tree)
	return nil
}

// newMount mounts a new filesystem.
func (c *compiler) newMount(m specs.Mount, o mountOptions) error {
	c.step("mount", m.Destination, mountDetail(m), mountWhy(m))
	fs := c.create(m.Type, m.Source, c.mappedData(m.Type, o.data))
	mnt := c.b.Slot()
	c.b.Call(unix.SYS_FSMOUNT, fs.Value(), plan.Int(unix.FSMOUNT_CLOEXEC), plan.Int(o.set)).Into(mnt)
	c.b.Call(unix.SYS_CLOSE, fs.Value())
	if o.spread != 0 {
		c.setAttr(mnt, 0, mountAttr{propagation: o.spread &^ unix.MS_REC})
	}
	kind := plan.WalkDir
	if m.Type == "proc" || m.Type == "sysfs" {
		// A link here would put the kernel's files elsewhere and leave
		// the image's in their place (CVE-2019-19921, CVE-2023-27561).
		kind |= plan.WalkPlain
	}
	target := c.walk(m.Destination, kind)
	if m.Type != "proc" {
		c.notInProc(target)
	}
	c.attach(mnt, target)
	c.own(m, mnt)
	return nil
}

// own keeps those mounts that later steps go through.
func (c *compiler) own(m specs.Mount, mnt plan.Slot) {
	switch {
	case m.Type == "proc" && m.Destination == "/proc":
		c.procfs = mnt
	case m.Type == "sysfs" && m.Destination == "/sys":
		c.sysfs = mnt
	case m.Type == "devpts" && m.Destination == "/dev/pts":
		c.devpts = mnt
	}
}

// create makes a filesystem (fsopen(2)) that is to be mounted.
func (c *compiler) create(kind, source string, data []string) plan.Slot {
	fs := c.b.Slot()
	c.b.Call(unix.SYS_FSOPEN, c.b.Str(kind), plan.Int(unix.FSOPEN_CLOEXEC)).Into(fs)
	if source == "" {
		source = kind
	}
	c.config(fs, unix.FSCONFIG_SET_STRING, "source", source)
	for _, d := range data {
		if key, value, ok := strings.Cut(d, "="); ok {
			c.config(fs, unix.FSCONFIG_SET_STRING, key, value)
		} else {
			c.config(fs, unix.FSCONFIG_SET_FLAG, d, "")
		}
	}
	c.b.Call(unix.SYS_FSCONFIG, fs.Value(), plan.Int(unix.FSCONFIG_CMD_CREATE), plan.Int(0), plan.Int(0), plan.Int(0))
	return fs
}

func (c *compiler) config(fs plan.Slot, cmd int, key, value string) {
	v := plan.Int(0)
	if cmd == unix.FSCONFIG_SET_STRING {
		v = c.b.Str(value)
	}
	c.b.Call(unix.SYS_FSCONFIG, fs.Value(), plan.Int(cmd), c.b.Str(key), v, plan.Int(0))
}

// cgroupMount shows the container its cgroup: one tree on version 2, one for
// each hierarchy on version 1.
func (c *compiler) cgroupMount(m specs.Mount, o mountOptions) error {
	layout := c.host.Cgroup
	if len(layout.V1) == 0 {
		m.Type, m.Source = "cgroup2", "cgroup2"
		o.data = nil
		return c.newMount(m, o)
	}
	m.Type, m.Source = "tmpfs", "cgroup"
	dir := o
	dir.set &^= unix.MOUNT_ATTR_RDONLY
	dir.data = []string{"mode=755"}
	if err := c.newMount(m, dir); err != nil {
		return err
	}
	for _, h := range layout.V1 {
		own := o
		own.data = strings.Fields(strings.ReplaceAll(h.Controllers.String(), "io", "blkio"))
		sub := specs.Mount{Type: "cgroup", Source: "cgroup", Destination: m.Destination + "/" + path.Base(h.Mount), Options: m.Options}
		if err := c.newMount(sub, own); err != nil {
			return err
		}
	}
	if o.set&unix.MOUNT_ATTR_RDONLY != 0 {
		c.setAttr(c.walk(m.Destination, plan.WalkExisting), 0, mountAttr{set: unix.MOUNT_ATTR_RDONLY})
	}
	return nil
}

// mountAttr is struct mount_attr, mount_setattr(2).
type mountAttr struct{ set, clear, propagation uint64 }

func (c *compiler) setAttr(mnt plan.Slot, flags int, a mountAttr) {
	attr := c.b.Words(plan.Int(a.set), plan.Int(a.clear), plan.Int(a.propagation), plan.Int(0))
	c.b.Call(unix.SYS_MOUNT_SETATTR, mnt.Value(), c.b.Str(""), plan.Int(emptyPath|flags), attr, plan.Int(unix.MOUNT_ATTR_SIZE_VER0))
}

// walk gives a descriptor of a path in the root filesystem.
func (c *compiler) walk(p string, kind int) plan.Slot {
	fd := c.b.Slot()
	c.b.Call(plan.Walk, c.root.Value(), c.b.Str(p), plan.Int(kind), plan.Int(0o755)).Into(fd)
	return fd
}

// walkLike is walk with a directory or a file made, after what the tree is.
func (c *compiler) walkLike(tree plan.Slot, p string) plan.Slot {
	const modeAt, isDir = 28, unix.S_IFDIR // stx_mode in struct statx
	stat := c.b.Data(make([]byte, 256))
	fd := c.b.Slot()
	walk := func(kind int) {
		c.b.Call(plan.Walk, c.root.Value(), c.b.Str(p), plan.Int(kind), plan.Int(0o755)).Into(fd)
	}
	c.b.Call(unix.SYS_STATX, tree.Value(), c.b.Str(""), plan.Int(emptyPath), plan.Int(unix.STATX_TYPE), stat)
	test := c.b.Len()
	c.b.Call(plan.Expect32, stat.At(modeAt), plan.Int(isDir), plan.Int(unix.S_IFMT), plan.Int(uint(unix.ENOTDIR)))
	walk(plan.WalkDir)
	jump := c.b.Len()
	c.b.Call(plan.Jump)
	c.b.SkipFrom(test, int(unix.ENOTDIR))
	walk(plan.WalkFile)
	c.b.JumpTo(jump)
	return fd
}

// notInProc fails with EPERM if a descriptor is of procfs, whatever path and
// links led there.
func (c *compiler) notInProc(fd plan.Slot) {
	buf := c.b.Data(make([]byte, 128)) // struct statfs begins with the type
	c.b.Call(unix.SYS_FSTATFS, fd.Value(), buf)
	test := c.b.Len()
	c.b.Call(plan.Expect32, buf, plan.Int(unix.PROC_SUPER_MAGIC), plan.Int(^uint32(0)), plan.Int(uint(unix.ENOENT)))
	c.b.Call(plan.Expect32, buf, plan.Int(0), plan.Int(^uint32(0)), plan.Int(uint(unix.EPERM)))
	c.b.SkipFrom(test, int(unix.ENOENT))
}

func (c *compiler) attach(mnt, target plan.Slot) {
	empty := c.b.Str("")
	c.b.Call(unix.SYS_MOVE_MOUNT, mnt.Value(), empty, target.Value(), empty, plan.Int(onto))
	c.b.Call(unix.SYS_CLOSE, target.Value())
}

// pivot makes the root filesystem the root directory, and lets go of the old.
func (c *compiler) pivot() error {
	if c.spec.Root.Readonly {
		c.step("make read-only", "/", "", "the container can't change its root filesystem")
		c.setAttr(c.root, 0, mountAttr{set: unix.MOUNT_ATTR_RDONLY})
	}
	c.step("pivot_root", "/", "the old root is unmounted", "nothing of the host is left to be seen")
	dot := c.b.Str(".")
	c.b.Call(unix.SYS_FCHDIR, c.root.Value())
	// Both on one place: the old root then lies on top of the new one, and
	// needs no directory to be put into (pivot_root(2)).
	c.b.Call(unix.SYS_PIVOT_ROOT, dot, dot)
	c.b.Call(unix.SYS_MOUNT, plan.Int(0), dot, plan.Int(0), plan.Int(unix.MS_SLAVE|unix.MS_REC), plan.Int(0)).Ignore(int(unix.EINVAL))
	c.b.Call(unix.SYS_UMOUNT2, dot, plan.Int(unix.MNT_DETACH))
	c.b.Call(unix.SYS_CHDIR, c.b.Str("/"))
	return nil
}

func mountDetail(m specs.Mount) string {
	if len(m.Options) == 0 {
		return m.Type
	}
	return m.Type + " " + strings.Join(m.Options, ",")
}

func mountWhy(m specs.Mount) string {
	switch m.Type {
	case "proc":
		return "the processes of its own PID namespace"
	case "sysfs":
		return "the devices of its own network namespace"
	case "devpts":
		return "terminals of its own"
	case "mqueue":
		return "message queues of its own"
	case "cgroup", "cgroup2":
		return "its own cgroup"
	case "tmpfs":
		return "in memory, gone with the container"
	}
	return ""
}
