package runtime

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"minict/runtime/cgroup"
)

// Probe looks at the machine.
func Probe() (Host, error) {
	layout, err := cgroup.Probe()
	if err != nil {
		return Host{}, err
	}
	const file = "/proc/sys/kernel/cap_last_cap"
	raw, err := os.ReadFile(file)
	if err != nil {
		return Host{}, err
	}
	last, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || last < 0 || last > 63 {
		return Host{}, fmt.Errorf("read %s: %q is no capability", file, raw)
	}
	rootless, err := isRootless()
	if err != nil {
		return Host{}, err
	}
	own, err := ownCapabilities()
	if err != nil {
		return Host{}, fmt.Errorf("read capabilities: %w", err)
	}
	return Host{
		Cgroup: layout, Rootless: rootless, LastCap: last, Denied: ^own,
		AppArmor: exists("/sys/module/apparmor"), SELinux: exists("/sys/fs/selinux/enforce"),
	}, nil
}

func exists(path string) bool { return unix.Access(path, unix.F_OK) == nil }

// ownCapabilities are the permitted ones of this process, a bit for each.
func ownCapabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	return uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted), err
}

// isRootless says whether this process has the rights of an ordinary user on
// the machine: in the first user namespace each id is its own.
func isRootless() (bool, error) {
	if os.Geteuid() != 0 {
		return true, nil
	}
	raw, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false, err
	}
	return strings.Join(strings.Fields(string(raw)), " ") != "0 0 4294967295", nil
}
