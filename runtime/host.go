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
	return Host{Cgroup: layout, LastCap: last}, nil
}
