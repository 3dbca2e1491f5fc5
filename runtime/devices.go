package runtime

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// defaultDevices are the nodes that every container has (OCI runtime
// specification, config-linux, Default Devices).
var defaultDevices = []specs.LinuxDevice{
	charDevice("/dev/null", 1, 3), charDevice("/dev/zero", 1, 5), charDevice("/dev/full", 1, 7),
	charDevice("/dev/random", 1, 8), charDevice("/dev/urandom", 1, 9), charDevice("/dev/tty", 5, 0),
}

func charDevice(p string, major, minor int64) specs.LinuxDevice {
	return specs.LinuxDevice{Path: p, Type: "c", Major: major, Minor: minor}
}

// links are what programs expect in /dev beside device nodes.
var links = [][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
	{"/proc/self/fd/2", "stderr"}, {"/proc/kcore", "core"}, {"pts/ptmx", "ptmx"},
}

// devices makes the nodes. With a /dev that was bound from elsewhere there is
// nothing to make: it is not the container's.
func (c *compiler) devices() error {
	if c.foreignDev() {
		return nil
	}
	made := allDevices(c.spec)
	var names []string
	for _, d := range made {
		names = append(names, strings.TrimPrefix(path.Clean(d.Path), "/dev/"))
	}
	c.step("make devices", "/dev", strings.Join(names, " "), "these, and none of the host's")
	dev := c.walk("/dev", plan.WalkDir|plan.WalkPlain)
	for _, d := range made {
		if err := c.device(dev, d); err != nil {
			return err
		}
	}
	for _, l := range links {
		if l[1] == "ptmx" && c.devpts == plan.NoSlot {
			continue
		}
		c.b.Call(unix.SYS_SYMLINKAT, c.b.Str(l[0]), dev.Value(), c.b.Str(l[1])).Ignore(int(unix.EEXIST))
	}
	return nil
}

func (c *compiler) foreignDev() bool {
	for _, m := range c.spec.Mounts {
		if path.Clean(m.Destination) == "/dev" && (m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")) {
			return true
		}
	}
	return false
}

var deviceTypes = map[string]uint32{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}

// device makes one node. One that is there already has to be the same: an
// image may bring a /dev, but not a /dev/null of its own kind.
func (c *compiler) device(dev plan.Slot, d specs.LinuxDevice) error {
	kind, ok := deviceTypes[d.Type]
	if !ok || !path.IsAbs(d.Path) {
		return specError("device %q of type %q", d.Path, d.Type)
	}
	mode := uint32(0o666)
	if d.FileMode != nil {
		mode = uint32(d.FileMode.Perm())
	}
	p := path.Clean(d.Path)
	dir := dev
	if path.Dir(p) != "/dev" {
		dir = c.walk(path.Dir(p), plan.WalkDir)
	}
	if kind != unix.S_IFIFO && c.unprivileged() {
		c.bindDevice(dir, p, kind, d)
		return nil
	}
	name := c.b.Str(path.Base(p))
	made := c.b.Len()
	c.b.Call(unix.SYS_MKNODAT, dir.Value(), name, plan.Int(kind|mode), plan.Int(unix.Mkdev(uint32(d.Major), uint32(d.Minor))))
	jump := c.b.Len()
	c.b.Call(plan.Jump)
	c.b.SkipFrom(made, int(unix.EEXIST))
	if kind != unix.S_IFIFO {
		c.isDevice(dir, name, kind, uint32(d.Major), uint32(d.Minor))
	}
	c.b.JumpTo(jump)
	if d.UID != nil || d.GID != nil {
		uid, gid := owner(d.UID), owner(d.GID)
		c.b.Call(unix.SYS_FCHOWNAT, dir.Value(), name, plan.Int(uid), plan.Int(gid), plan.Int(unix.AT_SYMLINK_NOFOLLOW))
	}
	return nil
}

// bindDevice shows the host's node where none can be made. Its mode and owner
// stay the host's.
func (c *compiler) bindDevice(dir plan.Slot, p string, kind uint32, d specs.LinuxDevice) {
	tree, target := c.b.Slot(), c.b.Slot()
	c.b.Call(unix.SYS_OPEN_TREE, plan.Int(atFDCWD), c.b.Str(p), plan.Int(cloneTree)).Into(tree)
	c.isDevice(tree, plan.Arg{}, kind, uint32(d.Major), uint32(d.Minor))
	c.b.Call(plan.Walk, dir.Value(), c.b.Str(path.Base(p)), plan.Int(plan.WalkFile|plan.WalkPlain), plan.Int(0o666)).Into(target)
	c.attach(tree, target)
}

func owner(id *uint32) uint32 {
	if id == nil {
		return 0
	}
	return *id
}

// isDevice fails with EEXIST unless name in dir (or dir itself, without a
// name) is the device with these numbers; a link is none.
func (c *compiler) isDevice(dir plan.Slot, name plan.Arg, kind, major, minor uint32) {
	const modeAt, majorAt, minorAt = 28, 128, 132 // struct statx
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == (plan.Arg{}) {
		name, flags = c.b.Str(""), emptyPath
	}
	stat := c.b.Data(make([]byte, 256))
	exist, all := plan.Int(uint(unix.EEXIST)), plan.Int(^uint32(0))
	c.b.Call(unix.SYS_STATX, dir.Value(), name, plan.Int(flags), plan.Int(unix.STATX_TYPE), stat)
	c.b.Call(plan.Expect32, stat.At(modeAt), plan.Int(kind), plan.Int(unix.S_IFMT), exist)
	c.b.Call(plan.Expect32, stat.At(majorAt), plan.Int(major), all, exist)
	c.b.Call(plan.Expect32, stat.At(minorAt), plan.Int(minor), all, exist)
}
