package runtime

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Prepare is the launcher's part of PauseMappings for the container's process
// pid: it writes the offsets of the new time namespace, the mappings of the new
// user namespace, and what the process will have no right to set once it is in
// there.
func Prepare(spec *specs.Spec, pid int) error {
	proc := fmt.Sprintf("/proc/%d/", pid)
	var user, time bool
	for _, ns := range spec.Linux.Namespaces {
		user = user || ns.Type == specs.UserNamespace && ns.Path == ""
		time = time || ns.Type == specs.TimeNamespace && ns.Path == ""
	}
	if time && len(spec.Linux.TimeOffsets) > 0 {
		if err := writeFile(proc+"timens_offsets", timeOffsets(spec.Linux.TimeOffsets)); err != nil {
			return err
		}
	}
	if !user {
		return nil
	}
	if err := raiseLimits(spec.Process.Rlimits, pid); err != nil {
		return err
	}
	if adj := spec.Process.OOMScoreAdj; adj != nil {
		err := writeFile(proc+"oom_score_adj", strconv.Itoa(*adj))
		// An ordinary user can't lower it. That is not worth a failure: its
		// engine asks for 0 by custom, and may be above that itself.
		if err != nil && !(os.Geteuid() != 0 && errors.Is(err, unix.EACCES)) {
			return err
		}
	}
	return writeMappings(spec.Linux, pid)
}

// timeOffsets is what timens_offsets takes, time_namespaces(7).
func timeOffsets(offsets map[string]specs.LinuxTimeOffset) string {
	var b strings.Builder
	for _, clock := range slices.Sorted(maps.Keys(offsets)) {
		fmt.Fprintf(&b, "%s %d %d\n", clock, offsets[clock].Secs, offsets[clock].Nanosecs)
	}
	return b.String()
}

// raiseLimits lets the process set its limits later: inside a user namespace
// it may only lower them. What the caller may not do either shows then.
func raiseLimits(limits []specs.POSIXRlimit, pid int) error {
	for _, r := range limits {
		kind := slices.Index(rlimits, r.Type)
		if kind < 0 {
			continue
		}
		var now unix.Rlimit
		if err := unix.Prlimit(pid, kind, nil, &now); err != nil {
			return fmt.Errorf("get %s of process %d: %w", r.Type, pid, err)
		}
		if r.Hard <= now.Max {
			continue
		}
		now.Max = r.Hard
		if err := unix.Prlimit(pid, kind, &now, nil); err != nil && err != unix.EPERM {
			return fmt.Errorf("set %s of process %d: %w", r.Type, pid, err)
		}
	}
	return nil
}

// writeMappings writes the mappings of ids. Root may write all; an ordinary
// user only his own id by himself, and his subordinate ids through the
// programs of shadow-utils, which have the right to.
func writeMappings(l *specs.Linux, pid int) error {
	for _, m := range []struct {
		file, helper string
		own          int
		list         []specs.LinuxIDMapping
	}{
		{"uid_map", "newuidmap", os.Geteuid(), l.UIDMappings},
		{"gid_map", "newgidmap", os.Getegid(), l.GIDMappings},
	} {
		alone := len(m.list) == 1 && m.list[0].Size == 1 && int(m.list[0].HostID) == m.own
		var err error
		switch {
		case os.Geteuid() != 0 && !alone:
			err = subordinate(m.helper, pid, m.list)
		case os.Geteuid() != 0 && m.file == "gid_map":
			// Or he could give up a group that is denied something.
			if err = writeFile(fmt.Sprintf("/proc/%d/setgroups", pid), "deny"); err != nil {
				return err
			}
			fallthrough
		default:
			err = writeFile(fmt.Sprintf("/proc/%d/%s", pid, m.file), mapText(m.list, "\n"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func mapText(list []specs.LinuxIDMapping, end string) string {
	var b strings.Builder
	for _, m := range list {
		fmt.Fprintf(&b, "%d %d %d%s", m.ContainerID, m.HostID, m.Size, end)
	}
	return b.String()
}

// helperDirs is where newuidmap(1) may be. It runs with root's rights, so the
// caller's PATH has no say in which one it is.
var helperDirs = []string{"/usr/bin/", "/run/wrappers/bin/"}

// subordinate has the mappings written by newuidmap or newgidmap, which know
// what the user may map (/etc/subuid).
func subordinate(name string, pid int, list []specs.LinuxIDMapping) error {
	for _, dir := range helperDirs {
		cmd := exec.Command(dir+name, append([]string{strconv.Itoa(pid)}, strings.Fields(mapText(list, " "))...)...)
		cmd.Env = []string{}
		out, err := cmd.CombinedOutput()
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(visible(string(out))))
		}
		return nil
	}
	return fmt.Errorf("%s is not installed: without it nobody but root can map ids that are not his own", name)
}

// writeFile writes at once to a file of procfs.
func writeFile(name, value string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(value); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
