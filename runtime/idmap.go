package runtime

import (
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/launch"
	"minict/runtime/plan"
)

// idmap is a user namespace by whose mappings the ids of a mount are read: one
// that is there, or mappings to make one for.
type idmap struct {
	path       string
	uids, gids []specs.LinuxIDMapping
}

// input is the name of the descriptor that stands for an idmap. Mounts with the
// same mappings share it.
func (m idmap) input() string {
	if m.path != "" {
		return InputIDMap + m.path
	}
	return InputIDMap + mapText(m.uids, ",") + " " + mapText(m.gids, ",")
}

// idmapOf gives the idmap of a mount that has one: the mount's own, or that of
// the container's user namespace.
func idmapOf(spec *specs.Spec, m specs.Mount) (idmap, error) {
	id := idmap{uids: m.UIDMappings, gids: m.GIDMappings}
	if len(id.uids) == 0 {
		id.uids, id.gids = spec.Linux.UIDMappings, spec.Linux.GIDMappings
		for _, ns := range spec.Linux.Namespaces {
			if ns.Type == specs.UserNamespace {
				id.path = ns.Path
			}
		}
		if id.path == "" && len(id.uids) == 0 {
			return id, specError("mount %s: idmap without mappings, and without a user namespace that has some", m.Destination)
		}
	}
	for _, list := range [][]specs.LinuxIDMapping{id.uids, id.gids} {
		if err := checkIDMappings(list); err != nil {
			return id, fmt.Errorf("%w: mount %s: %w", ErrSpec, m.Destination, err)
		}
	}
	return id, nil
}

// OpenIDMaps opens, and makes where there are none yet, the user namespaces
// that map the ids of mounts, by the names of the inputs that a plan for the
// specification wants. They are the caller's to close.
func OpenIDMaps(spec *specs.Spec) (map[string]int, error) {
	fds := make(map[string]int)
	for _, m := range spec.Mounts {
		o, err := parseMountOptions(m)
		if err == nil && o.idmap {
			err = openIDMap(spec, m, fds)
		}
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			return nil, err
		}
	}
	return fds, nil
}

func openIDMap(spec *specs.Spec, m specs.Mount, fds map[string]int) error {
	id, err := idmapOf(spec, m)
	if err != nil {
		return err
	}
	if _, ok := fds[id.input()]; ok {
		return nil
	}
	fd := -1
	if id.path != "" {
		fd, err = unix.Open(id.path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	} else {
		fd, err = id.namespace()
	}
	if err != nil {
		return fmt.Errorf("mount %s: user namespace for its ids: %w", m.Destination, err)
	}
	fds[id.input()] = fd
	return nil
}

// namespace makes a user namespace, with the help of a process that ends when
// the namespace is open.
func (m idmap) namespace() (int, error) {
	var b plan.Builder
	b.Step(plan.Step{Phase: plan.Child, Verb: "make", Object: "user namespace"})
	b.Call(plan.Pause, plan.Int(PauseMappings), plan.Int(0))
	prog, err := launch.New(b.Plan(unix.CLONE_NEWUSER, plan.NoSlot).Ready(), nil, false)
	if err != nil {
		return -1, err
	}
	defer prog.Close()
	fd, done := -1, errors.New("the namespace is open")
	_, err = prog.Start(func(_ uint32, child *launch.Child) error {
		err := writeMappings(&specs.Linux{UIDMappings: m.uids, GIDMappings: m.gids}, child.Pid)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("/proc/%d/ns/user", child.Pid)
		if fd, err = unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return &os.PathError{Op: "open", Path: name, Err: err}
		}
		return done
	})
	if err != done {
		return -1, err
	}
	return fd, nil
}

// idmapped opens, in the launcher, the sources of bind mounts that get ids of
// their own: that takes rights over the filesystem, which nobody has in a user
// namespace. The launcher keeps them until it ends.
func (c *compiler) idmapped() error {
	for i, m := range c.mounted {
		if !m.options.idmap {
			continue
		}
		c.b.Step(plan.Step{Phase: plan.Host, Verb: "map ids of", Object: m.Source,
			Detail: "for " + m.Destination, Why: "files have other owners there than on the disk"})
		var err error
		if c.sources[i], err = c.openSource(m.Mount, m.options); err != nil {
			return err
		}
		flags := emptyPath
		if m.options.idmapAll {
			flags |= unix.AT_RECURSIVE
		}
		const usernsAt = 24 // struct mount_attr
		attr := c.b.Words(plan.Int(unix.MOUNT_ATTR_IDMAP), plan.Int(0), plan.Int(0), plan.Int(0))
		fd := c.b.Slot()
		c.b.Call(unix.SYS_FCNTL, c.idmaps[m.idmap.input()].Value(), plan.Int(unix.F_DUPFD_CLOEXEC), plan.Int(0)).Into(fd).StoreAt(attr.At(usernsAt))
		c.b.Call(unix.SYS_MOUNT_SETATTR, c.sources[i].Value(), c.b.Str(""), plan.Int(flags), attr, plan.Int(unix.MOUNT_ATTR_SIZE_VER0))
		c.b.Call(unix.SYS_CLOSE, fd.Value())
	}
	return nil
}
