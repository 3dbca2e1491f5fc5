package runtime

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// maxMappings is the number of lines that uid_map takes, user_namespaces(7).
const maxMappings = 340

// checkMappings refuses mappings that the kernel would not take, and ids that
// have none.
func (c *compiler) checkMappings() error {
	l := c.spec.Linux
	mapped := len(l.UIDMappings)+len(l.GIDMappings) > 0
	switch {
	case mapped && !c.spaces.has(unix.CLONE_NEWUSER):
		return specError("mappings of ids need a user namespace")
	case c.spaces.fresh&unix.CLONE_NEWUSER != 0 && (len(l.UIDMappings) == 0 || len(l.GIDMappings) == 0):
		return specError("a new user namespace needs linux.uidMappings and linux.gidMappings")
	}
	for name, list := range map[string][]specs.LinuxIDMapping{"uidMappings": l.UIDMappings, "gidMappings": l.GIDMappings} {
		if err := checkIDMappings(list); err != nil {
			return fmt.Errorf("%w: linux.%s: %w", ErrSpec, name, err)
		}
	}
	return c.checkMapped(c.spec.Process.User)
}

// checkMapped refuses a user and groups that have no mapping.
func (c *compiler) checkMapped(u specs.User) error {
	l := c.spec.Linux
	if len(l.UIDMappings) > 0 && !hasID(l.UIDMappings, u.UID) {
		return specError("process.user: uid %d has no mapping", u.UID)
	}
	for _, gid := range append([]uint32{u.GID}, u.AdditionalGids...) {
		if len(l.GIDMappings) > 0 && !hasID(l.GIDMappings, gid) {
			return specError("process.user: gid %d has no mapping", gid)
		}
	}
	if len(u.AdditionalGids) > 0 && c.groupsDenied() {
		return specError("process.user: additional groups need subordinate group ids")
	}
	return nil
}

// checkIDMappings refuses what user_namespaces(7) forbids.
func checkIDMappings(list []specs.LinuxIDMapping) error {
	if len(list) > maxMappings {
		return fmt.Errorf("%d entries, at most %d can be", len(list), maxMappings)
	}
	for i, m := range list {
		if m.Size == 0 || uint64(m.ContainerID)+uint64(m.Size) > math.MaxUint32 || uint64(m.HostID)+uint64(m.Size) > math.MaxUint32 {
			return fmt.Errorf("%d ids from %d on as %d are out of range", m.Size, m.HostID, m.ContainerID)
		}
		for _, o := range list[:i] {
			if overlap(m.ContainerID, m.Size, o.ContainerID, o.Size) || overlap(m.HostID, m.Size, o.HostID, o.Size) {
				return fmt.Errorf("%d ids from %d on overlap with %d from %d on", m.Size, m.ContainerID, o.Size, o.ContainerID)
			}
		}
	}
	return nil
}

func overlap(a, an, b, bn uint32) bool { return a < b+bn && b < a+an }

func hasID(list []specs.LinuxIDMapping, id uint32) bool {
	return slices.ContainsFunc(list, func(m specs.LinuxIDMapping) bool {
		return id >= m.ContainerID && id-m.ContainerID < m.Size
	})
}

// groupsDenied says whether the kernel forbids setgroups(2) in the container:
// it does so where an ordinary user maps nothing but his own group, or a group
// could be left that is denied something.
func (c *compiler) groupsDenied() bool {
	gids := c.spec.Linux.GIDMappings
	return c.host.Rootless && len(gids) == 1 && gids[0].Size == 1
}

// unprivileged says that the container has no rights of the machine's root: it
// can make no device nodes, and mount only what belongs to its namespaces.
func (c *compiler) unprivileged() bool {
	return c.host.Rootless || c.spaces.has(unix.CLONE_NEWUSER)
}

// mappings lets the launcher write the ids' mappings of a new user namespace
// and the offsets of a new time namespace, before anybody is in it.
func (c *compiler) mappings(fresh uint64) {
	var what []string
	if fresh&unix.CLONE_NEWUSER != 0 {
		what = append(what, "uid and gid mappings")
	}
	if fresh&unix.CLONE_NEWTIME != 0 {
		what = append(what, "clock offsets")
	}
	if len(what) > 0 {
		c.pause(PauseMappings, strings.Join(what, ", "), "only from outside can they be written")
	}
}

func (c *compiler) pause(number int, what, why string) {
	c.step("wait", "for the launcher", what, why)
	c.b.Call(plan.Pause, plan.Int(number), plan.Int(0))
}

// becomeRoot takes the identity of the user namespace's root, or of the first
// user that it has. Until then the process had the caller's, which can go
// wherever the caller can: the root filesystem and the sources of mounts are
// open by now.
func (c *compiler) becomeRoot() error {
	if !c.spaces.has(unix.CLONE_NEWUSER) {
		return nil
	}
	uid, gid := rootOf(c.spec.Linux.UIDMappings), rootOf(c.spec.Linux.GIDMappings)
	c.step("become", fmt.Sprintf("%d:%d", uid, gid), "root of the user namespace", "from here on it has no rights on the host")
	c.setgroups(nil)
	c.b.Call(unix.SYS_SETRESGID, plan.Int(gid), plan.Int(gid), plan.Int(gid))
	c.b.Call(unix.SYS_SETRESUID, plan.Int(uid), plan.Int(uid), plan.Int(uid))
	// The kernel takes a new identity for a reason to forget these.
	c.dumpable(0)
	c.b.Call(unix.SYS_PRCTL, plan.Int(unix.PR_SET_PDEATHSIG), plan.Int(unix.SIGKILL))
	return nil
}

// rootOf is 0 if that has a mapping, or if the mappings are not known.
func rootOf(list []specs.LinuxIDMapping) uint32 {
	if len(list) == 0 || hasID(list, 0) {
		return 0
	}
	return list[0].ContainerID
}

// setgroups sets the supplementary groups. An ordinary user can't give up his
// own where setgroups is denied.
func (c *compiler) setgroups(gids []uint32) {
	call := c.b.Call(unix.SYS_SETGROUPS, plan.Int(len(gids)), c.gids(gids))
	if len(gids) == 0 && c.host.Rootless {
		call.Ignore(int(unix.EPERM))
	}
}

// borrowed gives the host's directory that stands in for a kernel's filesystem
// which can't be mounted, because it would show a namespace that the container
// shares with the host and has no rights over.
func (c *compiler) borrowed(m specs.Mount) (source string, ok bool) {
	if !c.unprivileged() {
		return "", false
	}
	switch m.Type {
	case "proc":
		return "/proc", !c.spaces.has(unix.CLONE_NEWPID)
	case "sysfs":
		return "/sys", !c.spaces.owned(unix.CLONE_NEWNET)
	case "mqueue":
		return "/dev/mqueue", !c.spaces.owned(unix.CLONE_NEWIPC)
	}
	return "", false
}

// mappedData leaves out of a devpts' options the group that has no mapping: by
// custom it is 5, tty, and the kernel refuses it.
func (c *compiler) mappedData(kind string, data []string) []string {
	if kind != "devpts" || len(c.spec.Linux.GIDMappings) == 0 || hasID(c.spec.Linux.GIDMappings, 5) {
		return data
	}
	return slices.DeleteFunc(slices.Clone(data), func(o string) bool { return o == "gid=5" })
}

// earlyLimits lets the process set its limits later: in a user namespace it
// may only lower them, and this raises them before it is there. The lower ones
// would hinder the set-up, and can wait. What the caller may not do either
// shows in the end.
func (c *compiler) earlyLimits() {
	const few = 1024 // descriptors
	for _, r := range c.spec.Process.Rlimits {
		kind := slices.Index(rlimits, r.Type)
		if kind < 0 || kind == unix.RLIMIT_NOFILE && r.Hard < few || !c.spaces.has(unix.CLONE_NEWUSER) {
			continue
		}
		c.step("raise limit", strings.ToLower(strings.TrimPrefix(r.Type, "RLIMIT_")), fmt.Sprint(r.Hard), "as long as it may")
		c.b.Call(unix.SYS_PRLIMIT64, plan.Int(0), plan.Int(kind), c.b.Words(plan.Int(r.Hard), plan.Int(r.Hard)), plan.Int(0)).Ignore(int(unix.EPERM))
	}
}

// CgroupOwner gives the user of the host that the container's cgroup is to
// belong to: the one that its program runs as, if it sees that cgroup as the
// root of a tree that it may write to (config-linux.md, "Cgroup ownership").
func CgroupOwner(spec *specs.Spec) (uid int, ok bool) {
	writable := false
	for _, m := range spec.Mounts {
		if path.Clean(m.Destination) == "/sys/fs/cgroup" {
			writable = (m.Type == "cgroup" || m.Type == "cgroup2") && !slices.Contains(m.Options, "ro")
		}
	}
	own, users := false, false
	for _, ns := range spec.Linux.Namespaces {
		own = own || ns.Type == specs.CgroupNamespace && ns.Path == ""
		users = users || ns.Type == specs.UserNamespace
	}
	user := spec.Process.User.UID
	if !writable || !own {
		return 0, false
	}
	for _, m := range spec.Linux.UIDMappings {
		if user >= m.ContainerID && user-m.ContainerID < m.Size {
			return int(m.HostID + user - m.ContainerID), true
		}
	}
	return int(user), !users
}
