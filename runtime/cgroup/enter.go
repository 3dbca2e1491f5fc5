package cgroup

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// Enter adds the Host step that opens the groups at path, which exist, for
// one more process (exec). The process may be put into groups below that the
// container has made: each of below is a path from the container's group
// ("a/b"), for one or more controllers of version 1 behind their names
// ("memory,pids:a"), for version 2 behind no name (":a"), for all hierarchies
// without. Errors are ErrPath and
// fs.ErrNotExist.
func (l Layout) Enter(b *plan.Builder, group string, below ...string) (Joined, error) {
	joined := Joined{Slot: plan.NoSlot}
	if err := checkPath(group); err != nil {
		return joined, err
	}
	inner, err := l.below(group, below)
	if err != nil {
		return joined, err
	}
	b.Step(plan.Step{Phase: plan.Host, Verb: "open", Object: "cgroup " + group,
		Why: "the new process shares the container's limits"})
	found := false
	for _, m := range l.mounts() {
		dir := m.mount + group
		if unix.Access(dir, unix.F_OK) != nil {
			continue
		}
		found = true
		dir += inner[m.mount]
		if m.v2 {
			joined.Slot = open(b, plan.Int(unix.AT_FDCWD), dir, unix.O_DIRECTORY)
		} else {
			joined.Files = append(joined.Files, open(b, plan.Int(unix.AT_FDCWD), dir+"/tasks", unix.O_WRONLY))
		}
	}
	if !found {
		return joined, &os.PathError{Op: "open cgroup", Path: group, Err: unix.ENOENT}
	}
	return joined, nil
}

// below reads where in each hierarchy, by its mount point, the process is put.
func (l Layout) below(group string, list []string) (map[string]string, error) {
	inner := make(map[string]string)
	for _, arg := range list {
		names, sub, named := strings.Cut(arg, ":")
		if !named {
			names, sub = "", arg
		}
		dir := path.Join("/", group, sub)
		if err := checkPath(group + "/" + sub); err != nil {
			return nil, err
		}
		sub = strings.TrimPrefix(dir, path.Clean(group))
		if !named {
			for _, m := range l.mounts() {
				inner[m.mount] = sub
			}
			continue
		}
		if names == "" && l.Unified != "" {
			inner[l.Unified] = sub
			continue
		}
		for name := range strings.SplitSeq(names, ",") {
			mount, v2, ok := l.on(parseSet(name, ","))
			if !ok || v2 {
				return nil, fmt.Errorf("%w: %q: no cgroup v1 hierarchy has %q", ErrPath, arg, name)
			}
			inner[mount] = sub
		}
	}
	return inner, nil
}

// Add moves a process into the group, in each hierarchy.
func (c *Cgroup) Add(pid int) error {
	for _, d := range c.dirs {
		if err := writeFile(d.f, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("move process %d to cgroup %s%s: %w", pid, d.mount, c.path, err)
		}
	}
	return nil
}
