package runtime

import (
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/cgroup"
	"minict/runtime/plan"
)

// cgroupMount shows the container its cgroup: one tree on version 2, one for
// each hierarchy on version 1. In a cgroup namespace the root of a mount is
// the container's own group; without one the group's directory is bound, so
// that nothing of the other groups is seen.
func (c *compiler) cgroupMount(m specs.Mount, o mountOptions) {
	layout := c.host.Cgroup
	if len(layout.V1) == 0 {
		m.Type, m.Source = "cgroup2", "cgroup2"
		c.cgroupTree(m, o, layout.Unified)
		return
	}
	m.Type, m.Source = "tmpfs", "cgroup"
	dir := o
	dir.data = []string{"mode=755"}
	tmpfs := c.newMount(m, dir)
	for _, h := range layout.V1 {
		sub := specs.Mount{Type: "cgroup", Source: "cgroup", Destination: m.Destination + "/" + path.Base(h.Mount), Options: m.Options}
		own := o
		own.data = controllers(h)
		c.cgroupTree(sub, own, h.Mount)
		c.cgroupLinks(tmpfs, h)
	}
}

// controllers are a hierarchy's mount options.
func controllers(h cgroup.Hierarchy) []string {
	names := strings.Fields(h.Controllers.String())
	for i, name := range names {
		if name == "io" {
			names[i] = "blkio"
		}
	}
	return names
}

// cgroupLinks gives controllers that are mounted together their single names.
func (c *compiler) cgroupLinks(tmpfs plan.Slot, h cgroup.Hierarchy) {
	dir := path.Base(h.Mount)
	for _, name := range controllers(h) {
		if name != dir {
			c.b.Call(unix.SYS_SYMLINKAT, c.b.Str(dir), tmpfs.Value(), c.b.Str(name)).Ignore(int(unix.EEXIST))
		}
	}
}

// cgroupTree mounts one hierarchy, whose mount of the host is top.
func (c *compiler) cgroupTree(m specs.Mount, o mountOptions, top string) {
	if c.spaces.has(unix.CLONE_NEWCGROUP) || c.spec.Linux.CgroupsPath == "" {
		if m.Type == "cgroup2" {
			o.data = nil // the names of version 1's controllers
		}
		c.newMount(m, o)
		return
	}
	c.step("bind", m.Destination, top+c.spec.Linux.CgroupsPath, "its own cgroup, and none of the others")
	tree := c.b.Slot()
	open := c.b.Len()
	c.b.Call(unix.SYS_OPEN_TREE, plan.Int(atFDCWD), c.b.Str(top+c.spec.Linux.CgroupsPath), plan.Int(cloneTree)).Into(tree)
	o.bind = true
	c.change(tree, o)
	c.propagate(tree, o)
	target := c.walk(m.Destination, plan.WalkDir)
	c.notInProc(target)
	c.attach(tree, target)
	c.b.SkipFrom(open, int(unix.ENOENT)) // it has no group in this hierarchy
}
