package runtime

import (
	"path"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// rootfs attaches the root filesystem somewhere, to be furnished there.
func (c *compiler) rootfs() error {
	spread, ok := propagations[c.spec.Linux.RootfsPropagation]
	if !ok && c.spec.Linux.RootfsPropagation != "" {
		return specError("rootfsPropagation %q is unknown", c.spec.Linux.RootfsPropagation)
	}
	c.spread = spread
	slave := spread&unix.MS_SLAVE != 0 && c.root == plan.NoSlot
	rootDir, err := c.rootDir()
	if err != nil {
		return err
	}
	if err := c.openPropagating(); err != nil {
		return err
	}
	if slave {
		c.step("open", c.spec.Root.Path, "", "for the root, while it hears of the host's mounts")
		c.openRoot(rootDir)
	}
	if !c.sharesMounts() {
		c.step("make private", "/", "all mounts", "what is mounted from here on stays inside")
		c.b.Call(unix.SYS_MOUNT, plan.Int(0), c.b.Str("/"), plan.Int(0), plan.Int(unix.MS_PRIVATE|unix.MS_REC), plan.Int(0))
	}

	if !c.spaces.has(unix.CLONE_NEWNS) {
		return c.detachedRoot(rootDir)
	}
	anchor := c.opt.Anchor
	if anchor == "" {
		anchor = rootDir
	}
	place := c.b.Slot()
	files := c.files(anchor)
	c.step("attach", "the root filesystem", "", "files: the container's own tree")
	c.b.Call(unix.SYS_OPENAT, plan.Int(atFDCWD), c.b.Str(anchor), plan.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).Into(place)
	if c.root == plan.NoSlot {
		c.openRoot(rootDir)
	}
	if !slave {
		c.setAttr(c.root, 0, mountAttr{propagation: unix.MS_PRIVATE})
	}
	c.attach(c.root, place)
	return c.showFiles(files)
}

// detachedRoot is for a container in its caller's mount namespace. Its root
// filesystem is attached nowhere, and what it is furnished with is attached to
// that alone (Linux 6.15): nobody else sees it, and it goes with its processes.
func (c *compiler) detachedRoot(rootDir string) error {
	if len(c.opt.Files) > 0 {
		return specError("files of its own need a mount namespace of its own")
	}
	c.step("copy", "the root filesystem", "attached nowhere", "files: the container's own tree, among the mounts of the host")
	if c.root == plan.NoSlot {
		c.openRoot(rootDir)
	}
	c.setAttr(c.root, unix.AT_RECURSIVE, mountAttr{propagation: unix.MS_PRIVATE})
	return nil
}

// rootDir is the host's directory that is the root filesystem, or "" if that
// is handed over as a mount.
func (c *compiler) rootDir() (string, error) {
	if c.opt.Root {
		if c.opt.Anchor == "" && c.spec.Root.Path == "" {
			return "", specError("a mount as the root filesystem needs a place to be attached to")
		}
		return c.spec.Root.Path, nil
	}
	return c.hostPath("root.path", c.spec.Root.Path)
}

// hostPath is a path of the host that may be relative to the bundle.
func (c *compiler) hostPath(field, p string) (string, error) {
	switch {
	case p == "":
		return "", specError("%s is empty", field)
	case path.IsAbs(p):
		return p, nil
	case c.opt.Bundle == "":
		return "", specError("%s: %q is not absolute, and there is no bundle", field, p)
	}
	return path.Join(c.opt.Bundle, p), nil
}

// openRoot copies the mounts of the root filesystem. With the propagation
// slave it keeps to hear of the host's mounts below.
func (c *compiler) openRoot(dir string) {
	c.root = c.b.Slot()
	c.b.Call(unix.SYS_OPEN_TREE, plan.Int(atFDCWD), c.b.Str(dir), plan.Int(cloneTree|unix.AT_RECURSIVE)).Into(c.root)
	if c.spread&unix.MS_SLAVE != 0 { // also those below: the host must not hear of them
		c.setAttr(c.root, unix.AT_RECURSIVE, mountAttr{propagation: unix.MS_SLAVE})
	}
}

// openPropagating opens the sources of bind mounts that are to hear of mounts
// below them on the host, or to be heard of: they must be copied while the
// host's mounts still belong to the host's groups of propagation. Those for a
// user namespace are opened while the process may still go where its caller
// may: see becomeRoot.
func (c *compiler) openPropagating() error {
	for i, m := range c.mounted {
		_, opened := c.sources[i]
		o := m.options
		if opened || !o.bind || o.remount || !o.propagates() && !c.spaces.has(unix.CLONE_NEWUSER) {
			continue
		}
		c.step("open", m.Source, "", "for "+m.Destination+", while it has the host's mounts and the caller's identity")
		var err error
		if c.sources[i], err = c.openSource(m.Mount, o); err != nil {
			return err
		}
	}
	return nil
}

// propagates says whether a mount is to stay in touch with its source.
func (o *mountOptions) propagates() bool {
	for _, s := range o.spread {
		if s&(unix.MS_SLAVE|unix.MS_SHARED) != 0 {
			return true
		}
	}
	return false
}

// pivot makes the root filesystem the root directory, and lets go of the old.
func (c *compiler) pivot() error {
	for _, l := range c.late {
		c.step("make read-only", l.destination, "", "furnished, and not to be changed any more")
		if !c.spaces.has(unix.CLONE_NEWNS) { // the attributes of what is attached nowhere can't be changed
			c.reconfigure(l.mount, mountOptions{super: []string{"ro"}})
			continue
		}
		c.setAttr(l.mount, 0, mountAttr{set: unix.MOUNT_ATTR_RDONLY})
	}
	if c.spec.Root.Readonly {
		c.step("make read-only", "/", "", "the container can't change its root filesystem")
		c.setAttr(c.root, 0, mountAttr{set: unix.MOUNT_ATTR_RDONLY})
	}
	switch {
	case c.sharesMounts():
		c.chroot()
		return nil
	case c.opt.NoPivot:
		c.moveRoot()
	default:
		c.pivotRoot()
	}
	// Not before: pivot_root(2) refuses a shared root, and what was shared
	// with the host is none of the container's any more.
	if c.spread&(unix.MS_SHARED|unix.MS_UNBINDABLE) != 0 {
		c.step("spread mounts", "/", c.spec.Linux.RootfsPropagation, "among the mounts of the container")
		c.b.Call(unix.SYS_MOUNT, plan.Int(0), c.b.Str("/"), plan.Int(0), plan.Int(c.spread), plan.Int(0))
	}
	return nil
}

func (c *compiler) pivotRoot() {
	c.step("pivot_root", "/", "the old root is unmounted", "nothing of the host is left to be seen")
	dot := c.b.Str(".")
	c.b.Call(unix.SYS_FCHDIR, c.root.Value())
	// Both on one place: the old root then lies on top of the new one, and
	// needs no directory to be put into (pivot_root(2)). It is private, so
	// that nobody else hears of its end.
	c.b.Call(unix.SYS_PIVOT_ROOT, dot, dot)
	c.b.Call(unix.SYS_UMOUNT2, dot, plan.Int(unix.MNT_DETACH))
	c.b.Call(unix.SYS_CHDIR, c.b.Str("/"))
}

// moveRoot covers the host's root with the container's, for hosts that run
// from the kernel's initial RAM filesystem, which can't be pivoted away. What
// is covered is still mounted.
func (c *compiler) moveRoot() {
	c.step("move", "/", "without pivot_root", "the host's files are covered, not let go of")
	dot := c.b.Str(".")
	c.b.Call(unix.SYS_FCHDIR, c.root.Value())
	c.b.Call(unix.SYS_MOUNT, dot, c.b.Str("/"), plan.Int(0), plan.Int(unix.MS_MOVE), plan.Int(0))
	c.b.Call(unix.SYS_CHROOT, dot)
	c.b.Call(unix.SYS_CHDIR, c.b.Str("/"))
}

// chroot is for a mount namespace with others in it: pivot_root(2) would take
// their root away, and the propagation of its mounts is theirs.
func (c *compiler) chroot() {
	c.step("chroot", "/", "", "the mount namespace has others in it, whose root stays theirs")
	c.b.Call(unix.SYS_FCHDIR, c.root.Value())
	c.b.Call(unix.SYS_CHROOT, c.b.Str("."))
	c.b.Call(unix.SYS_CHDIR, c.b.Str("/"))
}
