package runtime

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// JoinResctrl is the launcher's part of PauseCreateRuntime for linux.intelRdt:
// it puts the container's process into its group of the resctrl filesystem,
// which it makes and gives its schemata where config-linux.md, "IntelRdt", has
// it so. It fails where no resctrl is mounted.
func JoinResctrl(rdt *specs.LinuxIntelRdt, id string, pid int) error {
	if rdt == nil {
		return nil
	}
	mount, err := resctrlMount()
	if err == nil {
		err = joinResctrl(mount, rdt, id, pid)
	}
	if err != nil {
		return fmt.Errorf("linux.intelRdt: %w", err)
	}
	return nil
}

// LeaveResctrl removes, when the container is deleted, what was made for it
// alone. What is not there is removed.
func LeaveResctrl(rdt *specs.LinuxIntelRdt, id string) error {
	if rdt == nil {
		return nil
	}
	mount, err := resctrlMount()
	if err == nil {
		err = leaveResctrl(mount, rdt, id)
	}
	if err != nil && err != errNoResctrl { // then nothing was made
		return fmt.Errorf("linux.intelRdt: %w", err)
	}
	return nil
}

var errNoResctrl = errors.New("no resctrl filesystem is mounted: the processor or the kernel can't, or nobody has mounted it")

func resctrlMount() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		mount, fs, ok := strings.Cut(lines.Text(), " - ")
		if fields := strings.Fields(mount); ok && strings.HasPrefix(fs, "resctrl ") && len(fields) > 4 {
			return fields[4], nil
		}
	}
	return "", errNoResctrl
}

// resctrlGroup is the directory of the container's class of service, and
// whether it is the container's alone.
func resctrlGroup(mount string, rdt *specs.LinuxIntelRdt, id string) (dir string, own bool) {
	switch rdt.ClosID {
	case "":
		return filepath.Join(mount, id), true
	case "/":
		return mount, false
	}
	return filepath.Join(mount, rdt.ClosID), false
}

func checkResctrl(rdt *specs.LinuxIntelRdt) error {
	if rdt == nil {
		return nil
	}
	name := rdt.ClosID
	if name != "/" && strings.Contains(name, "/") || slices.Contains([]string{".", "..", "info", "mon_groups", "mon_data"}, name) {
		return specError("linux.intelRdt.closID %q is no name of a group", name)
	}
	for _, line := range schemata(rdt) {
		if strings.Contains(line, "\n") || !strings.Contains(line, ":") {
			return specError("linux.intelRdt: %q is no line of a schemata file", line)
		}
	}
	return nil
}

// schemata are the lines to be written, in their order.
func schemata(rdt *specs.LinuxIntelRdt) (lines []string) {
	for _, line := range append([]string{rdt.L3CacheSchema, rdt.MemBwSchema}, rdt.Schemata...) {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func joinResctrl(mount string, rdt *specs.LinuxIntelRdt, id string, pid int) error {
	dir, own := resctrlGroup(mount, rdt, id)
	lines := schemata(rdt)
	err := error(unix.EEXIST)
	if own || len(lines) > 0 {
		err = os.Mkdir(dir, 0o755)
	}
	switch {
	case err == nil || own && errors.Is(err, unix.EEXIST):
		err = writeSchemata(mount, dir, lines)
	case errors.Is(err, unix.EEXIST): // somebody else's, and as he wants it
		if err = compareSchemata(dir, rdt); err == nil {
			err = writeSchemata(mount, dir, rdt.Schemata)
		}
	}
	if err == nil {
		err = writeFile(filepath.Join(dir, "tasks"), strconv.Itoa(pid))
	}
	if err != nil || !rdt.EnableMonitoring {
		return err
	}
	monitor := filepath.Join(dir, "mon_groups", id)
	if err := os.Mkdir(monitor, 0o755); err != nil {
		return err
	}
	return writeFile(filepath.Join(monitor, "tasks"), strconv.Itoa(pid))
}

func leaveResctrl(mount string, rdt *specs.LinuxIntelRdt, id string) error {
	dir, own := resctrlGroup(mount, rdt, id)
	var made []string
	if rdt.EnableMonitoring {
		made = append(made, filepath.Join(dir, "mon_groups", id))
	}
	if own {
		made = append(made, dir)
	}
	for _, dir := range made {
		if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "remove", Path: dir, Err: err}
		}
	}
	return nil
}

// writeSchemata writes lines at once. What the kernel dislikes it tells apart.
func writeSchemata(mount, dir string, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	err := writeFile(filepath.Join(dir, "schemata"), strings.Join(lines, "\n")+"\n")
	if why, _ := os.ReadFile(filepath.Join(mount, "info/last_cmd_status")); err != nil && len(why) > 0 {
		return fmt.Errorf("%w (%s)", err, strings.TrimSpace(visible(string(why))))
	}
	return err
}

// compareSchemata fails if a group doesn't have the two schemata that are asked
// for. Those that the kernel tells may be of more caches.
func compareSchemata(dir string, rdt *specs.LinuxIntelRdt) error {
	raw, err := os.ReadFile(filepath.Join(dir, "schemata"))
	if err != nil {
		return err
	}
	has := make(map[string]string)
	for line := range strings.Lines(string(raw)) {
		addSchema(has, line)
	}
	for _, line := range []string{rdt.L3CacheSchema, rdt.MemBwSchema} {
		wanted := make(map[string]string)
		addSchema(wanted, line)
		for key, value := range wanted {
			if has[key] != value {
				return fmt.Errorf("%s is there, and has %s=%s, not %s", dir, key, has[key], value)
			}
		}
	}
	return nil
}

// addSchema takes a line such as "L3:0=7ff;1=1f" apart.
func addSchema(to map[string]string, line string) {
	kind, list, _ := strings.Cut(strings.TrimSpace(line), ":")
	for part := range strings.SplitSeq(list, ";") {
		if cache, value, ok := strings.Cut(part, "="); ok {
			value = strings.ToLower(strings.TrimLeft(strings.TrimSpace(value), "0"))
			to[kind+":"+strings.TrimSpace(cache)] = value
		}
	}
}
