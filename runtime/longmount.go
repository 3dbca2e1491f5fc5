package runtime

import (
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// maxOption is the longest value that fsconfig(2) takes.
const maxOption = 255

// long says that fsconfig(2) does not take the options: an overlay's list of
// directories can be longer.
func (o *mountOptions) long() bool {
	return slices.ContainsFunc(o.data, func(d string) bool {
		_, value, _ := strings.Cut(d, "=")
		return len(value) > maxOption
	})
}

// longMount mounts a new filesystem by mount(2), which takes a page of options
// altogether. It mounts on the working directory, which is the destination's
// descriptor, and not on a path.
func (c *compiler) longMount(m specs.Mount, o mountOptions) error {
	data := strings.Join(c.labelled(m.Type, o.data), ",")
	private := func(s uint64) bool { return s&^unix.MS_REC == unix.MS_PRIVATE }
	switch page := os.Getpagesize(); {
	case len(data) >= page:
		return specError("mount %s: %d bytes of options, and the kernel takes %d", m.Destination, len(data), page-1)
	case o.copyUp, len(o.spread) > 0 && !private(o.spread[len(o.spread)-1]):
		return specError("mount %s: options of more than %d bytes with tmpcopyup or a propagation", m.Destination, maxOption)
	}
	source := m.Source
	if source == "" {
		source = m.Type
	}
	c.step("mount", m.Destination, mountDetail(m), "")
	target := c.walk(m.Destination, plan.WalkDir)
	c.notInProc(target)
	c.b.Call(unix.SYS_FCHDIR, target.Value())
	c.b.Call(unix.SYS_MOUNT, c.b.Str(source), c.b.Str("."), c.b.Str(m.Type), plan.Int(o.oldFlags()), c.b.Str(data))
	c.b.Call(unix.SYS_CLOSE, target.Value())
	return nil
}

// oldFlags are the options as mount(2) knows them.
func (o *mountOptions) oldFlags() uint64 {
	const same = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	set := o.set | o.setAll
	flags := set & same
	for attr, flag := range map[uint64]uint64{
		unix.MOUNT_ATTR_NOATIME: unix.MS_NOATIME, unix.MOUNT_ATTR_STRICTATIME: unix.MS_STRICTATIME,
		unix.MOUNT_ATTR_NODIRATIME: unix.MS_NODIRATIME, unix.MOUNT_ATTR_NOSYMFOLLOW: unix.MS_NOSYMFOLLOW,
	} {
		if set&attr != 0 {
			flags |= flag
		}
	}
	for _, super := range o.super {
		flags |= map[string]uint64{"sync": unix.MS_SYNCHRONOUS, "dirsync": unix.MS_DIRSYNC, "mand": unix.MS_MANDLOCK, "lazytime": unix.MS_LAZYTIME}[super]
	}
	return flags
}
