package runtime

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// procfsWrites sets what is set through procfs. Each write goes through the
// procfs that this plan mounted itself: a path could lead to whatever the
// image or a volume has put there (CVE-2019-16884, CVE-2025-52881). A container
// without a procfs gets it from the host's, which is still to be seen.
func (c *compiler) procfsWrites() error {
	for _, key := range slices.Sorted(maps.Keys(c.spec.Linux.Sysctl)) {
		if err := c.sysctl(key, c.spec.Linux.Sysctl[key]); err != nil {
			return err
		}
	}
	if adj := c.spec.Process.OOMScoreAdj; adj != nil && !c.unprivileged() {
		c.oomScore(*adj)
	}
	return nil
}

func (c *compiler) sysctl(key, value string) error {
	name, err := c.sysctlAllowed(key, value)
	if err != nil {
		return err
	}
	c.step("sysctl", key, value, "of its own namespaces")
	c.writeProc("sys/"+name, value)
	return nil
}

// sysctlAllowed lets through what belongs to a namespace of the container,
// and nothing that could smuggle in another key (CVE-2022-0811). It gives the
// file below /proc/sys.
func (c *compiler) sysctlAllowed(key, value string) (string, error) {
	name := sysctlFile(key)
	if strings.ContainsAny(key, "+=\n\x00") || strings.ContainsAny(value, "\n\x00") || path.Clean("/"+name) != "/"+name {
		return "", specError("sysctl %q has characters that are not allowed", key)
	}
	for field, taken := range map[string]string{"kernel/hostname": c.spec.Hostname, "kernel/domainname": c.spec.Domainname} {
		if name == field && taken != "" && taken != value {
			return "", specError("sysctl %q contradicts the field %s", key, path.Base(field))
		}
	}
	if flag := sysctlNamespace(name); flag == 0 || !c.spaces.has(flag) {
		return "", specError("sysctl %q does not belong to a namespace of the container", key)
	}
	return name, nil
}

// sysctlFile makes a path of a key as sysctl(8) does: what separates first is
// the separator, and the other of dot and slash is part of a name, such as that
// of the interface eth0.100.
func sysctlFile(key string) string {
	if at := strings.IndexAny(key, "./"); at < 0 || key[at] == '/' {
		return key
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, key)
}

// sysctlNamespace is the kind of namespace that a file belongs to, by its flag
// of clone(2), or 0.
func sysctlNamespace(name string) uint64 {
	switch {
	case strings.HasPrefix(name, "net/"):
		return unix.CLONE_NEWNET
	case strings.HasPrefix(name, "fs/mqueue/"), strings.HasPrefix(name, "kernel/msg"), strings.HasPrefix(name, "kernel/shm"),
		name == "kernel/sem", name == "kernel/sem_next_id":
		return unix.CLONE_NEWIPC
	case name == "kernel/domainname", name == "kernel/hostname":
		return unix.CLONE_NEWUTS
	}
	return 0
}

// watchSysctls looks at the namespaces that are going to be joined, and that
// sysctls are set in. What it gives is to be called afterwards, and fails with
// EPERM if a namespace was joined that is the caller's own.
func (c *compiler) watchSysctls() (after func()) {
	before := make(map[string]plan.Arg)
	for _, key := range slices.Sorted(maps.Keys(c.spec.Linux.Sysctl)) {
		for _, ns := range []struct {
			file string
			flag uint64
		}{{"net", unix.CLONE_NEWNET}, {"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}} {
			if _, ok := before[ns.file]; !ok && sysctlNamespace(sysctlFile(key)) == ns.flag && c.spaces.joins(ns.flag) {
				c.step("look at", "the caller's "+ns.file+" namespace", "", "no sysctl may be set there")
				before[ns.file] = c.namespaceID(ns.file)
			}
		}
	}
	return func() {
		for _, file := range slices.Sorted(maps.Keys(before)) {
			c.step("look at", "the joined "+file+" namespace", "", "sysctls must not be set in the caller's")
			c.b.Call(plan.Differ, before[file], c.namespaceID(file), plan.Int(uint(unix.EPERM)))
		}
	}
}

// namespaceID is the address of the inode number of the process' namespace.
func (c *compiler) namespaceID(file string) plan.Arg {
	const inodeAt = 32 // struct statx
	stat := c.b.Data(make([]byte, 256))
	c.b.Call(unix.SYS_STATX, plan.Int(atFDCWD), c.b.Str("/proc/self/ns/"+file), plan.Int(0), plan.Int(unix.STATX_INO), stat)
	return stat.At(inodeAt)
}

func (c *compiler) oomScore(adj int) {
	c.step("set oom_score_adj", strconv.Itoa(adj), "", oomWhy)
	c.writeProc("self/oom_score_adj", strconv.Itoa(adj))
}

const oomWhy = "how soon the kernel picks it when memory runs out"

// earlyOOMScore sets it through the caller's procfs, while that is what is at
// /proc: for a process that won't have the right to later.
func (c *compiler) earlyOOMScore() {
	adj := c.spec.Process.OOMScoreAdj
	if adj == nil {
		return
	}
	value := strconv.Itoa(*adj)
	c.step("set oom_score_adj", value, "", oomWhy)
	fd := c.b.Slot()
	c.b.Call(unix.SYS_OPENAT, plan.Int(atFDCWD), c.b.Str("/proc/self/oom_score_adj"), plan.Int(unix.O_WRONLY|unix.O_CLOEXEC)).Into(fd)
	write := c.b.Call(unix.SYS_WRITE, fd.Value(), c.b.Str(value), plan.Int(len(value)))
	if c.host.Rootless {
		write.Ignore(int(unix.EACCES)) // see Prepare
	}
	c.b.Call(unix.SYS_CLOSE, fd.Value())
}

// labels tells the security modules who the program is, through the procfs of
// the host while that is what is at /proc. It takes effect at execve(2).
func (c *compiler) labels() error {
	p := c.spec.Process
	switch {
	case p.ApparmorProfile != "" && !c.host.AppArmor:
		return specError("process.apparmorProfile %q: this kernel runs without AppArmor", p.ApparmorProfile)
	case p.SelinuxLabel != "" && !c.host.SELinux:
		return specError("process.selinuxLabel %q: this kernel runs without SELinux", p.SelinuxLabel)
	}
	if profile := p.ApparmorProfile; profile != "" {
		c.step("set AppArmor profile", profile, "from execve on", "what the program may do, by AppArmor's rules")
		// The module's own directory, since Linux 5.8: attr/exec itself is
		// that of the module which the kernel names first.
		c.writeAt(c.hostProcfs(), "self/attr/apparmor/exec", "exec "+profile)
	}
	if label := p.SelinuxLabel; label != "" {
		c.step("set SELinux label", label, "from execve on", "what the program may do, by SELinux's rules")
		proc := c.hostProcfs()
		c.writeAt(proc, "self/attr/exec", label)
		c.writeAt(proc, "self/attr/keycreate", label)
	}
	return nil
}

// hostProcfs opens the host's procfs, and fails with EPERM if it is none.
func (c *compiler) hostProcfs() plan.Slot {
	proc := c.b.Slot()
	c.b.Call(unix.SYS_OPENAT, plan.Int(atFDCWD), c.b.Str("/proc"), plan.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).Into(proc)
	c.isProcfs(proc)
	return proc
}

func (c *compiler) writeProc(file, value string) {
	if c.procfs == plan.NoSlot {
		proc := c.hostProcfs()
		c.writeAt(proc, file, value)
		c.b.Call(unix.SYS_CLOSE, proc.Value())
		return
	}
	c.writeAt(c.procfs, file, value)
}

func (c *compiler) writeAt(dir plan.Slot, file, value string) {
	fd := c.b.Slot()
	c.b.Call(unix.SYS_OPENAT, dir.Value(), c.b.Str(file), plan.Int(unix.O_WRONLY|unix.O_CLOEXEC)).Into(fd)
	c.b.Call(unix.SYS_WRITE, fd.Value(), c.b.Str(value), plan.Int(len(value)))
	c.b.Call(unix.SYS_CLOSE, fd.Value())
}
