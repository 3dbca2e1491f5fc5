package cgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// extend makes the controllers work on the group: on version 2 by having the
// groups above hand them down, on version 1 by making the group in their
// hierarchy and moving all processes there.
func (c *Cgroup) extend(need Set) error {
	for _, m := range c.layout.mounts() {
		missing := need & m.set
		if m.v2 {
			if missing &^= implicit; missing != 0 {
				if err := c.handDown(m, missing); err != nil {
					return err
				}
			}
			continue
		}
		if _, ok := c.find(missing); missing == 0 || ok {
			continue
		}
		if err := c.join(m); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cgroup) handDown(m mounted, need Set) error {
	d, ok := c.unified()
	if !ok {
		return ErrUnavailable
	}
	data, err := readFile(d.f, "cgroup.controllers")
	if err != nil {
		return err
	}
	need &^= parseSet(string(data), " ")
	if need == 0 {
		return nil
	}
	f, err := c.above(m, func(f *os.File) error {
		return writeFile(f, "cgroup.subtree_control", need.join("+"))
	})
	if err != nil {
		return err
	}
	return f.Close()
}

// above calls do for the groups above this one, from the hierarchy's root,
// makes what is missing, and gives the directory of the group itself.
func (c *Cgroup) above(m mounted, do func(*os.File) error) (*os.File, error) {
	here, err := openGroup(m.mount, ".")
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(strings.TrimPrefix(c.path, "/"), "/") {
		err := do(here)
		if err == nil {
			var next *os.File
			if next, err = makeGroup(m, here, name); err == nil {
				here.Close()
				here = next
				continue
			}
		}
		return nil, errors.Join(err, here.Close())
	}
	return here, nil
}

// makeGroup makes a group if it is not there, and gives its directory.
func makeGroup(m mounted, above *os.File, name string) (*os.File, error) {
	if err := unix.Mkdirat(int(above.Fd()), name, 0o755); err != nil && err != unix.EEXIST {
		return nil, &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	f, err := openAt(above, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil || m.v2 || m.set&CPUSet == 0 {
		return f, err
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		if err := inherit(above, f, file); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// inherit copies a file of the group above if it is empty; see copyCPUSet.
func inherit(above, f *os.File, file string) error {
	own, err := readFile(f, file)
	if err != nil || len(strings.TrimSpace(string(own))) > 0 {
		return err
	}
	value, err := readFile(above, file)
	if err != nil {
		return err
	}
	return writeFile(f, file, strings.TrimSpace(string(value)))
}

// join makes the group in one more hierarchy and moves all processes there.
func (c *Cgroup) join(m mounted) error {
	f, err := c.above(m, func(*os.File) error { return nil })
	if err != nil {
		return err
	}
	if err := moveAll(c.dirs, dir{m, f}); err != nil {
		return errors.Join(err, f.Close())
	}
	c.dirs = slices.Insert(c.dirs, 0, dir{m, f}) // before version 2, see find
	return nil
}

// moveAll moves processes until none is left outside: one that was not moved
// yet may have forked.
func moveAll(from []dir, to dir) error {
	for range 1000 {
		outside, err := processes(from)
		if err != nil {
			return err
		}
		inside, err := processes([]dir{to})
		if err != nil {
			return err
		}
		outside = slices.DeleteFunc(outside, func(pid int) bool {
			_, in := slices.BinarySearch(inside, pid)
			return in
		})
		if len(outside) == 0 {
			return nil
		}
		for _, pid := range outside {
			err := writeFile(to.f, "cgroup.procs", strconv.Itoa(pid))
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("move process %d: %w", pid, err)
			}
		}
	}
	return errors.New("processes fork faster than they can be moved")
}
