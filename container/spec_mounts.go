package container

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// specMounts gives Docker's mounts, then the user's. What the user mounts replaces what would be there, and below it.
func (c *Config) specMounts(f facts) []specs.Mount {
	var mounts []specs.Mount
	for _, m := range kernelMounts(c.Privileged) {
		if !c.mountsOver(m.Destination) {
			mounts = append(mounts, m)
		}
	}
	for _, m := range c.Mounts {
		mounts = append(mounts, m.spec(f.Volumes))
	}
	return mounts
}

// mountsOver says whether the user mounts something at target or above it.
func (c *Config) mountsOver(target string) bool {
	for _, m := range c.Mounts {
		if target == m.Target || strings.HasPrefix(target, m.Target+"/") {
			return true
		}
	}
	return false
}

// kernelMounts are the file systems that the kernel makes for a container.
func kernelMounts(privileged bool) []specs.Mount {
	access := "ro"
	if privileged {
		access = "rw"
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{access, "nosuid", "noexec", "nodev"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.Itoa(shmSize)}},
	}
}

func (m Mount) spec(volumes string) specs.Mount {
	switch m.Type {
	case MountTmpfs:
		options := []string{"nosuid", "nodev", "noexec"}
		options = append(options, m.Options...)
		if m.ReadOnly {
			options = append(options, "ro")
		}
		return specs.Mount{Destination: m.Target, Type: "tmpfs", Source: "tmpfs", Options: options}
	case MountVolume:
		return bindMount(filepath.Join(volumes, m.Source, "_data"), m.Target, m.ReadOnly)
	}
	s := bindMount(m.Source, m.Target, m.ReadOnly)
	if m.NonRecursive {
		s.Options[0] = "bind"
	}
	if m.Propagation != "" {
		s.Options[1] = m.Propagation
	}
	return s
}

// bindMount mounts a file or directory with what is mounted below it. If it
// is read-only, so is that (rro).
func bindMount(source, target string, readOnly bool) specs.Mount {
	m := specs.Mount{Destination: target, Type: "bind", Source: source, Options: []string{"rbind", "rprivate"}}
	if readOnly {
		m.Options = append(m.Options, "rro")
	}
	return m
}

// shmSize is how large /dev/shm may grow, in bytes.
const shmSize = 64 << 20
