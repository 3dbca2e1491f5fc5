package runtime

import (
	"fmt"
	"os"
	"strconv"
	"strings"

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
	return Host{Cgroup: layout, Rootless: rootless, LastCap: last}, nil
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
