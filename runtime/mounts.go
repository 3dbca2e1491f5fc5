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

// readonly is a mount that is made read-only when all is in it.
type readonly struct {
	destination string
	mount       plan.Slot
}

// mount is a mount of the specification, read.
type mount struct {
	specs.Mount // with the destination from the root
	options     mountOptions
	idmap       idmap // if options.idmap
}

// readMounts reads the specification's mounts.
func (c *compiler) readMounts() error {
	for i, m := range c.spec.Mounts {
		// A relative one is meant from the root, config.md "Mounts".
		m.Destination = path.Join("/", m.Destination)
		if m.Destination == "/" {
			return specError("mount %d: the destination %q is the root itself", i, c.spec.Mounts[i].Destination)
		}
		o, err := parseMountOptions(m)
		if err != nil {
			return err
		}
		if source, ok := c.borrowed(m); ok && !o.bind && !o.remount {
			m.Source, o.bind, o.recursive, o.data = source, true, true, nil
		}
		if c.insideProcfs(m.Destination) && !o.remount {
			return specError("mount %s: only over files of procfs that inform can something be bound", m.Destination)
		}
		read := mount{Mount: m, options: o}
		if o.idmap {
			if read.idmap, err = idmapOf(c.spec, m); err != nil {
				return err
			}
		}
		c.mounted = append(c.mounted, read)
	}
	return nil
}

// insideProcfs says whether a destination is, by its name, in the container's
// procfs and must not be covered. Where links lead is seen when it is mounted.
func (c *compiler) insideProcfs(destination string) bool {
	return strings.HasPrefix(destination, "/proc/") && !slices.Contains(procAllowed, destination) &&
		slices.ContainsFunc(c.mounted, func(m mount) bool { return m.Type == "proc" && m.Destination == "/proc" })
}

// mounts mounts the specification's mounts in their order.
func (c *compiler) mounts() error {
	for i, m := range c.mounted {
		switch {
		case m.options.remount:
			c.remount(m.Mount, m.options)
		case m.options.bind:
			if err := c.bind(i, m.Mount, m.options); err != nil {
				return err
			}
		case m.Type == "cgroup" || m.Type == "cgroup2":
			c.cgroupMount(m.Mount, m.options)
		case m.options.long():
			if err := c.longMount(m.Mount, m.options); err != nil {
				return err
			}
		default:
			c.newMount(m.Mount, m.options)
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
	detail := m.Source
	if len(m.Options) > 0 {
		detail += " " + strings.Join(m.Options, ",")
	}
	c.step("bind", m.Destination, detail, "shares this with the host, and nothing else")
	tree, opened := c.sources[i]
	if !opened {
		var err error
		if tree, err = c.openSource(m, o); err != nil {
			return err
		}
	} else if o.propagates() {
		// The kernel lists mounts as they were made. This is to be the
		// specification's order, where it lets a copy be copied (Linux 6.15).
		c.b.Call(unix.SYS_OPEN_TREE, tree.Value(), c.b.Str(""), plan.Int(o.copies()|emptyPath)).Into(tree).Ignore(int(unix.EINVAL))
	}
	c.change(tree, o)
	c.propagate(tree, o)
	if m.Destination == "/proc" {
		c.isProcfs(tree) // what an engine does that may not mount another
		c.attach(tree, c.walk(m.Destination, plan.WalkDir|plan.WalkPlain))
		c.procfs = tree
		return nil
	}
	target := c.walkLike(tree, m.Destination)
	if !slices.Contains(procAllowed, m.Destination) {
		c.notInProc(target)
	}
	c.attach(tree, target)
	c.own(m, tree)
	return nil
}

// openSource copies the mount, or the mounts, of a bind mount's source.
func (c *compiler) openSource(m specs.Mount, o mountOptions) (plan.Slot, error) {
	source, err := c.hostPath("mount "+m.Destination+": source", m.Source)
	if err != nil {
		return plan.NoSlot, err
	}
	tree := c.b.Slot()
	c.b.Call(unix.SYS_OPEN_TREE, plan.Int(atFDCWD), c.b.Str(source), plan.Int(o.copies())).Into(tree)
	return tree, nil
}

// copies are the flags of open_tree(2).
func (o *mountOptions) copies() int {
	if o.recursive {
		return cloneTree | unix.AT_RECURSIVE
	}
	return cloneTree
}

// change sets and clears a mount's attributes, and those of the mounts below.
func (c *compiler) change(mnt plan.Slot, o mountOptions) {
	if o.setAll|o.clearAll != 0 {
		c.setAttr(mnt, unix.AT_RECURSIVE, mountAttr{set: o.setAll, clear: o.clearAll})
	}
	if o.set|o.clear != 0 {
		c.setAttr(mnt, 0, mountAttr{set: o.set, clear: o.clear})
	}
}

// propagate sets who hears of mounts below a mount: nobody, unless options say
// otherwise.
func (c *compiler) propagate(mnt plan.Slot, o mountOptions) {
	spread := o.spread
	if len(spread) == 0 && o.bind {
		spread = []uint64{unix.MS_PRIVATE | unix.MS_REC}
	}
	for _, s := range spread {
		flags := 0
		if s&unix.MS_REC != 0 {
			flags = unix.AT_RECURSIVE
		}
		c.setAttr(mnt, flags, mountAttr{propagation: s &^ unix.MS_REC})
	}
}

// newMount mounts a new filesystem.
func (c *compiler) newMount(m specs.Mount, o mountOptions) (mnt plan.Slot) {
	c.step("mount", m.Destination, mountDetail(m), mountWhy(m))
	set := o.set | o.setAll
	late := set&unix.MOUNT_ATTR_RDONLY != 0 && (m.Type == "tmpfs" || m.Destination == "/dev")
	if late { // Something is still to be put into it.
		set &^= unix.MOUNT_ATTR_RDONLY
	}
	o.data = c.labelled(m.Type, c.mappedData(m.Type, o.data))
	fs := c.create(m.Type, m.Source, o)
	mnt = c.b.Slot()
	c.b.Call(unix.SYS_FSMOUNT, fs.Value(), plan.Int(unix.FSMOUNT_CLOEXEC), plan.Int(set)).Into(mnt)
	c.b.Call(unix.SYS_CLOSE, fs.Value())
	c.propagate(mnt, o)
	if late {
		c.late = append(c.late, readonly{m.Destination, mnt})
	}
	if m.Type == "tmpfs" && !o.copyUp && o.top() != 0 {
		c.likeCovered(mnt, m.Destination)
	}
	kind := plan.WalkDir
	if m.Type == "proc" || m.Type == "sysfs" {
		// A link here would put the kernel's files elsewhere and leave
		// the image's in their place (CVE-2019-19921, CVE-2023-27561).
		kind |= plan.WalkPlain
	}
	target := c.walk(m.Destination, kind)
	if m.Type != "proc" || m.Destination != "/proc" {
		c.notInProc(target)
	}
	if o.copyUp {
		c.b.Call(plan.Copy, target.Value(), mnt.Value(), plan.Int(plan.CopyInside|o.top()))
	}
	c.attach(mnt, target)
	c.own(m, mnt)
	return mnt
}

// labelled gives the files of a new filesystem SELinux's label. Those of procfs
// and the like have labels by the kernel's policy.
func (c *compiler) labelled(kind string, data []string) []string {
	label := c.spec.Linux.MountLabel
	if label == "" || !c.host.SELinux || !slices.Contains([]string{"tmpfs", "devpts", "mqueue", "ramfs"}, kind) {
		return data
	}
	return append(slices.Clone(data), "context="+label)
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

// likeCovered gives a mount the owner and mode of the directory that it is going
// to cover, if there is one: what users know from other runtimes.
func (c *compiler) likeCovered(mnt plan.Slot, destination string) {
	at := c.b.Len()
	there := c.walk(destination, plan.WalkExisting)
	c.b.Call(plan.Copy, there.Value(), mnt.Value(), plan.Int(plan.CopyTop))
	c.b.Call(unix.SYS_CLOSE, there.Value())
	c.b.SkipFrom(at, int(unix.ENOENT), int(unix.ENOTDIR))
}

// remount changes what is mounted at the destination: the mount, and unless it
// is a bind mount, the filesystem. Unlike mount(2), and like mount(8), it
// leaves alone what no option names.
func (c *compiler) remount(m specs.Mount, o mountOptions) {
	c.step("remount", m.Destination, strings.Join(m.Options, ","), "")
	mnt := c.walk(m.Destination, plan.WalkExisting)
	if !o.bind && len(o.super)+len(o.data) > 0 {
		c.reconfigure(mnt, o)
	}
	c.change(mnt, o)
	if len(o.spread) > 0 {
		c.propagate(mnt, o)
	}
	c.b.Call(unix.SYS_CLOSE, mnt.Value())
}

// reconfigure changes the options of the filesystem that is mounted.
func (c *compiler) reconfigure(mnt plan.Slot, o mountOptions) {
	fs := c.b.Slot()
	c.b.Call(unix.SYS_FSPICK, mnt.Value(), c.b.Str(""), plan.Int(unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH)).Into(fs)
	c.configAll(fs, o)
	c.b.Call(unix.SYS_FSCONFIG, fs.Value(), plan.Int(unix.FSCONFIG_CMD_RECONFIGURE), plan.Int(0), plan.Int(0), plan.Int(0))
	c.b.Call(unix.SYS_CLOSE, fs.Value())
}

// create makes a filesystem (fsopen(2)) that is to be mounted.
func (c *compiler) create(kind, source string, o mountOptions) plan.Slot {
	fs := c.b.Slot()
	c.b.Call(unix.SYS_FSOPEN, c.b.Str(kind), plan.Int(unix.FSOPEN_CLOEXEC)).Into(fs)
	if source == "" {
		source = kind
	}
	c.config(fs, unix.FSCONFIG_SET_STRING, "source", source)
	c.configAll(fs, o)
	c.b.Call(unix.SYS_FSCONFIG, fs.Value(), plan.Int(unix.FSCONFIG_CMD_CREATE), plan.Int(0), plan.Int(0), plan.Int(0))
	return fs
}

// configAll tells a filesystem its options.
func (c *compiler) configAll(fs plan.Slot, o mountOptions) {
	for _, flag := range o.super {
		c.config(fs, unix.FSCONFIG_SET_FLAG, flag, "")
	}
	for _, d := range o.data {
		if key, value, ok := strings.Cut(d, "="); ok {
			c.config(fs, unix.FSCONFIG_SET_STRING, key, value)
		} else {
			c.config(fs, unix.FSCONFIG_SET_FLAG, d, "")
		}
	}
}

func (c *compiler) config(fs plan.Slot, cmd int, key, value string) {
	v := plan.Int(0)
	if cmd == unix.FSCONFIG_SET_STRING {
		v = c.b.Str(value)
	}
	c.b.Call(unix.SYS_FSCONFIG, fs.Value(), plan.Int(cmd), c.b.Str(key), v, plan.Int(0))
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

// isProcfs fails with EPERM unless a descriptor is the root of a procfs.
func (c *compiler) isProcfs(fd plan.Slot) {
	const inodeAt, procRootIno = 32, 1 // struct statx; include/uapi/linux/fs.h
	fs, stat := c.b.Data(make([]byte, 128)), c.b.Data(make([]byte, 256))
	all, perm := plan.Int(^uint32(0)), plan.Int(uint(unix.EPERM))
	c.b.Call(unix.SYS_FSTATFS, fd.Value(), fs)
	c.b.Call(plan.Expect32, fs, plan.Int(unix.PROC_SUPER_MAGIC), all, perm)
	c.b.Call(unix.SYS_STATX, fd.Value(), c.b.Str(""), plan.Int(emptyPath), plan.Int(unix.STATX_INO), stat)
	c.b.Call(plan.Expect32, stat.At(inodeAt), plan.Int(procRootIno), all, perm)
}

func (c *compiler) attach(mnt, target plan.Slot) {
	empty := c.b.Str("")
	c.b.Call(unix.SYS_MOVE_MOUNT, mnt.Value(), empty, target.Value(), empty, plan.Int(onto))
	c.b.Call(unix.SYS_CLOSE, target.Value())
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
