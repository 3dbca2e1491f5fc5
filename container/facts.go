package container

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	minictruntime "minict/runtime"
	"minict/runtime/seccomp"
)

// facts gathers what the specification of a container depends on. Root is its
// root file system.
func (m *Manager) facts(c *Config, root *os.File) (facts, error) {
	f := facts{Dir: m.durableDir(c.ID), Volumes: m.volumes()}
	var err error
	if f.User, err = findIdentity(root, c.User); err != nil {
		return f, err
	}
	if err := f.rights(c); err != nil {
		return f, err
	}
	if name := c.missingCapability(f.Bounding); name != "" {
		return f, invalidf("capability %s: root does not have it on this machine", name)
	}
	if c.Privileged {
		f.Devices, err = hostDevices("/dev")
		return f, err
	}
	f.Masked = thermalPaths()
	return f, nil
}

// rights says what this machine's root may give.
func (f *facts) rights(c *Config) error {
	own, err := permitted()
	if err != nil {
		return err
	}
	f.Bounding = capabilityNames(own)
	if len(c.Ulimits) > 0 && own&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		f.HardLimits, err = hardLimits(c.Ulimits)
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("getrlimit nofile: %w", err)
	}
	f.NoFile = files.Max
	return err
}

// permitted are this process's capabilities as bits.
func permitted() (uint64, error) {
	var data [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("capget: %w", err)
	}
	return uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted), nil
}

func capabilityNames(bits uint64) []string {
	var names []string
	for _, c := range capability.ListKnown() {
		if bits&(1<<c) != 0 {
			names = append(names, "CAP_"+strings.ToUpper(c.String()))
		}
	}
	slices.Sort(names)
	return names
}

var rlimitNumbers = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
	"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
	"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
	"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
	"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// hardLimits are this process's own.
func hardLimits(list []Ulimit) (map[string]uint64, error) {
	hard := map[string]uint64{}
	for _, u := range list {
		var own unix.Rlimit
		if err := unix.Getrlimit(rlimitNumbers[u.Name], &own); err != nil {
			return nil, fmt.Errorf("getrlimit %s: %w", u.Name, err)
		}
		hard[u.Name] = own.Max
	}
	return hard, nil
}

// thermalPaths are files that tell, by each CPU's temperature, what other
// containers compute. Most virtual machines have none.
func thermalPaths() []string {
	const pattern = "/sys/devices/system/cpu/cpu%d/thermal_throttle"
	var paths []string
	for cpu := range runtime.NumCPU() {
		path := fmt.Sprintf(pattern, cpu)
		if _, err := os.Lstat(path); err != nil {
			break
		}
		paths = append(paths, path)
	}
	return paths
}

// hostDevices are the device nodes below a directory of the host. What a
// container has of its own, and directories that are file systems of another
// kind, are left out.
func hostDevices(dir string) ([]specs.LinuxDevice, error) {
	var list []specs.LinuxDevice
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == dir:
			return err
		case err != nil: // gone since
			return nil
		case d.IsDir() && slices.Contains([]string{"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"}, d.Name()):
			return fs.SkipDir
		case d.Type()&fs.ModeDevice == 0 || d.Name() == "console" || d.Name() == "ptmx":
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return nil
		}
		kind := "b"
		if st.Mode&unix.S_IFMT == unix.S_IFCHR {
			kind = "c"
		}
		mode := os.FileMode(st.Mode & 0o777)
		list = append(list, specs.LinuxDevice{
			Path: path, Type: kind, FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
			Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	return list, nil
}

// filter is the container's compiled seccomp filter, nil for none.
func (m *Manager) filter(c *Config) (*minictruntime.Filter, error) {
	if c.Privileged && c.Seccomp == SeccompDefault || c.Seccomp == SeccompUnconfined {
		return nil, nil
	}
	own, err := permitted()
	if err != nil {
		return nil, err
	}
	cache := seccomp.Cache{Dir: filepath.Join(m.Root, "cache", "seccomp"), Arch: runtime.GOARCH}
	set := c.capabilitySet(capabilityNames(own))
	var (
		program []byte
		flags   uint32
	)
	if c.Seccomp == SeccompFile {
		program, flags, err = cache.Load([]byte(c.SeccompProfile), set)
	} else {
		program, flags, err = cache.Default(set)
	}
	if err != nil {
		return nil, failf(ErrInvalid, "%w", err)
	}
	return &minictruntime.Filter{Program: program, Flags: uint(flags)}, nil
}
