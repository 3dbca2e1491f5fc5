package runtime

import (
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// filesSize is how much the files of Options.Files may grow to, in bytes.
const filesSize = 1 << 20

// files gives a mount for each of Options.Files, and writes those that are not
// shared.
func (c *compiler) files(place string) (mounts []plan.Slot) {
	dir := plan.NoSlot
	if len(c.opt.Files) > len(c.shared) {
		dir = c.fileDir(place)
	}
	for i, f := range c.opt.Files {
		tree, shared := c.shared[f.Target]
		if !shared {
			tree = c.file(dir, strconv.Itoa(i), f.Content)
		}
		if c.spec.Root.Readonly {
			c.setAttr(tree, 0, mountAttr{set: unix.MOUNT_ATTR_RDONLY})
		}
		mounts = append(mounts, tree)
	}
	if dir != plan.NoSlot {
		c.b.Call(unix.SYS_CLOSE, dir.Value())
	}
	return mounts
}

// fileDir makes the filesystem that the files lie in. It is attached where the
// root filesystem will be, below that: it goes with the host's mounts when the
// root is pivoted, and what is left of it are the files that were mounted
// elsewhere meanwhile. Its size has an end: the container may write to them.
func (c *compiler) fileDir(place string) plan.Slot {
	c.step("make files", "in memory", "tmpfs size="+strconv.Itoa(filesSize), "what is made for it goes with it")
	fs := c.create("tmpfs", "minict", mountOptions{data: []string{"mode=0755", "size=" + strconv.Itoa(filesSize)}})
	dir := c.b.Slot()
	attr := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	c.b.Call(unix.SYS_FSMOUNT, fs.Value(), plan.Int(unix.FSMOUNT_CLOEXEC), plan.Int(attr)).Into(dir)
	c.b.Call(unix.SYS_CLOSE, fs.Value())
	c.b.Call(unix.SYS_MOVE_MOUNT, dir.Value(), c.b.Str(""), plan.Int(atFDCWD), c.b.Str(place), plan.Int(unix.MOVE_MOUNT_F_EMPTY_PATH))
	return dir
}

// file writes a file and gives a mount of it.
func (c *compiler) file(dir plan.Slot, name, content string) plan.Slot {
	fd, tree := c.b.Slot(), c.b.Slot()
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC
	c.b.Call(unix.SYS_OPENAT, dir.Value(), c.b.Str(name), plan.Int(flags), plan.Int(0o644)).Into(fd)
	c.b.Call(unix.SYS_WRITE, fd.Value(), c.b.Str(content), plan.Int(len(content)))
	c.b.Call(unix.SYS_CLOSE, fd.Value())
	c.b.Call(unix.SYS_OPEN_TREE, dir.Value(), c.b.Str(name), plan.Int(cloneTree)).Into(tree)
	return tree
}

// showFiles mounts them over what the root filesystem has at their places,
// before anything else is mounted there. What it lacks is made, an empty file, as
// for any mount; where nothing can be made, it goes without.
func (c *compiler) showFiles(mounts []plan.Slot) error {
	for i, mnt := range mounts {
		target := c.opt.Files[i].Target
		if !path.IsAbs(target) {
			return specError("file %q: the path is not absolute", target)
		}
		why := "made for this container"
		if c.opt.Files[i].Shared {
			why = "the other container's, whose network it is"
		}
		c.step("bind", target, "", why)
		at := c.b.Len()
		c.attach(mnt, c.walk(path.Clean(target), plan.WalkFile))
		c.b.SkipFrom(at, int(unix.EROFS))
		c.b.Call(unix.SYS_CLOSE, mnt.Value())
	}
	return nil
}
