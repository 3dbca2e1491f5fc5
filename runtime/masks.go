package runtime

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// masks hides paths and makes others read-only. Paths that are not there are
// passed over: which of them a kernel has depends on how it was built.
func (c *compiler) masks() error {
	l := c.spec.Linux
	for _, p := range append(append([]string(nil), l.MaskedPaths...), l.ReadonlyPaths...) {
		if !path.IsAbs(p) {
			return specError("path %q to be masked or read-only is not absolute", p)
		}
	}
	if len(l.MaskedPaths) > 0 {
		empty := c.maskSources()
		for _, p := range l.MaskedPaths {
			c.mask(path.Clean(p), empty)
		}
	}
	for _, p := range l.ReadonlyPaths {
		c.readonly(path.Clean(p))
	}
	return nil
}

// emptyMount is the file system that directories are masked with.
type emptyMount struct {
	mount plan.Slot
	user  plan.Arg // 32 bits, not 0 once it is attached
}

// maskSources opens what paths are masked with: for files the host's
// /dev/null, and not the container's, which an image could have replaced
// (CVE-2025-31133); for directories an empty file system, one for all.
func (c *compiler) maskSources() (empty emptyMount) {
	c.step("open", "/dev/null", "the host's", "what masked files are covered with")
	c.null = c.b.Slot()
	c.b.Call(unix.SYS_OPENAT, plan.Int(atFDCWD), c.b.Str("/dev/null"), plan.Int(unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)).Into(c.null)
	c.isDevice(c.null, plan.Arg{}, unix.S_IFCHR, 1, 3)
	fs := c.create("tmpfs", "tmpfs", mountOptions{data: []string{"nr_blocks=1", "nr_inodes=1"}})
	empty = emptyMount{mount: c.b.Slot(), user: c.b.Data(make([]byte, 4))}
	c.b.Call(unix.SYS_FSMOUNT, fs.Value(), plan.Int(unix.FSMOUNT_CLOEXEC), plan.Int(unix.MOUNT_ATTR_RDONLY)).Into(empty.mount)
	c.b.Call(unix.SYS_CLOSE, fs.Value())
	return empty
}

// mask covers a path. The first directory takes the empty file system itself, for
// two reasons: only an attached mount can be cloned for the next (open_tree(2),
// until Linux 6.15), and one that is never attached costs its close a wait for the
// whole machine (synchronize_rcu), while all the others are just forgotten.
func (c *compiler) mask(p string, empty emptyMount) {
	c.step("mask", p, "", "tells of, or reaches into, the host")
	target := c.b.Slot()
	open := c.b.Len()
	c.find(p, target)
	cover := c.b.Slot()
	same := c.b.Str("")
	stat := c.b.Data(make([]byte, 256))
	c.b.Call(unix.SYS_STATX, target.Value(), same, plan.Int(emptyPath), plan.Int(unix.STATX_TYPE), stat)
	test := c.b.Len()
	c.b.Call(plan.Expect32, stat.At(28), plan.Int(unix.S_IFDIR), plan.Int(unix.S_IFMT), plan.Int(uint(unix.ENOTDIR)))
	unused := c.b.Len()
	c.b.Call(plan.Expect32, empty.user, plan.Int(0), plan.Int(^uint32(0)), plan.Int(uint(unix.EALREADY)))
	c.b.Call(unix.SYS_MOVE_MOUNT, empty.mount.Value(), same, target.Value(), same, plan.Int(onto))
	c.b.Call(unix.SYS_GETPID).StoreAt(empty.user)
	first := c.b.Len()
	c.b.Call(plan.Jump)
	c.b.SkipFrom(unused, int(unix.EALREADY))
	c.b.Call(unix.SYS_OPEN_TREE, empty.mount.Value(), same, plan.Int(cloneTree|emptyPath)).Into(cover)
	toMove := c.b.Len()
	c.b.Call(plan.Jump)
	c.b.SkipFrom(test, int(unix.ENOTDIR))
	c.b.Call(unix.SYS_OPEN_TREE, c.null.Value(), same, plan.Int(cloneTree|emptyPath)).Into(cover)
	// Or its mode and owner could be changed through the mask, on the host.
	c.setAttr(cover, 0, mountAttr{set: unix.MOUNT_ATTR_RDONLY})
	c.b.JumpTo(toMove)
	c.b.Call(unix.SYS_MOVE_MOUNT, cover.Value(), same, target.Value(), same, plan.Int(onto))
	c.b.JumpTo(first)
	c.b.SkipFrom(open, int(unix.ENOENT), int(unix.ENOTDIR))
}

// find opens a path to be covered. In procfs and sysfs it begins at the mount
// that this plan has made itself: another container with the same root
// filesystem could rename the directory that it is mounted on meanwhile.
func (c *compiler) find(p string, target plan.Slot) {
	root := c.root
	for prefix, own := range map[string]plan.Slot{"/proc/": c.procfs, "/sys/": c.sysfs} {
		if rest, ok := strings.CutPrefix(p, prefix); ok && own != plan.NoSlot {
			root, p = own, rest
		}
	}
	c.b.Call(plan.Walk, root.Value(), c.b.Str(p), plan.Int(plan.WalkExisting), plan.Int(0)).Into(target)
}

// readonly binds a path onto itself, read-only with all that is below.
func (c *compiler) readonly(p string) {
	c.step("make read-only", p, "", "can be read, not changed")
	target, tree := c.b.Slot(), c.b.Slot()
	open := c.b.Len()
	c.find(p, target)
	c.b.Call(unix.SYS_OPEN_TREE, target.Value(), c.b.Str(""), plan.Int(cloneTree|emptyPath|unix.AT_RECURSIVE)).Into(tree)
	c.setAttr(tree, unix.AT_RECURSIVE, mountAttr{set: unix.MOUNT_ATTR_RDONLY})
	c.attach(tree, target)
	c.b.SkipFrom(open, int(unix.ENOENT), int(unix.ENOTDIR))
}
