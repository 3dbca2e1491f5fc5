package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Cgroup is the living group of a container: one directory in each hierarchy
// in which it is. Close it after use. Its methods may be called from several
// goroutines, but Update.
type Cgroup struct {
	layout Layout
	path   string
	dirs   []dir
}

// dir is the group's directory in one hierarchy.
type dir struct {
	mounted
	f *os.File
}

// Open opens the groups at path. The error is fs.ErrNotExist when there are
// none in any hierarchy.
func Open(l Layout, path string) (*Cgroup, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	c := &Cgroup{layout: l, path: path}
	for _, m := range l.mounts() {
		f, err := openGroup(m.mount, path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.dirs = append(c.dirs, dir{m, f})
	}
	if len(c.dirs) == 0 {
		return nil, &os.PathError{Op: "open cgroup", Path: path, Err: unix.ENOENT}
	}
	return c, nil
}

func openGroup(mount, group string) (*os.File, error) {
	root, err := unix.Open(mount, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: mount, Err: err}
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, strings.TrimPrefix(group, "/"), &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open cgroup", Path: mount + group, Err: err}
	}
	return os.NewFile(uintptr(fd), mount+group), nil
}

// Close closes the descriptors. The group stays.
func (c *Cgroup) Close() error {
	var errs []error
	for _, d := range c.dirs {
		errs = append(errs, d.f.Close())
	}
	c.dirs = nil
	return errors.Join(errs...)
}

// find gives the directory that has the controller.
func (c *Cgroup) find(set Set) (dir, bool) {
	for _, d := range c.dirs {
		if d.set&set != 0 { // version 1 comes first in the layout
			return d, true
		}
	}
	return dir{}, false
}

// unified gives the directory of version 2.
func (c *Cgroup) unified() (dir, bool) {
	if n := len(c.dirs); n > 0 && c.dirs[n-1].v2 {
		return c.dirs[n-1], true
	}
	return dir{}, false
}

// Processes gives the ids of all processes in the group and the groups below,
// in whichever hierarchy, sorted.
func (c *Cgroup) Processes() ([]int, error) {
	return processes(c.dirs)
}

func processes(dirs []dir) ([]int, error) {
	var all []int
	for _, d := range dirs {
		err := descend(d.f, func(f *os.File) error {
			list, err := d.procs(f)
			all = append(all, list...)
			return err
		}, nil)
		if err != nil {
			return nil, fmt.Errorf("list processes in %s: %w", d.mount, err)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// procs reads cgroup.procs of one group. A group that goes meanwhile has none,
// and neither has one of threads (EOPNOTSUPP): their processes are listed by
// the group above. An id of 0 is a process outside our PID namespace.
func (d dir) procs(f *os.File) ([]int, error) {
	data, err := readFile(f, "cgroup.procs")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []int
	for field := range strings.FieldsSeq(string(data)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			list = append(list, pid)
		}
	}
	return list, nil
}

// readFile reads a file of the group's directory.
func readFile(dir *os.File, name string) ([]byte, error) {
	f, err := openAt(dir, name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readAll(int(f.Fd()))
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: name, Err: err}
	}
	return data, nil
}

func readAll(fd int) ([]byte, error) {
	var data []byte
	for {
		data = slices.Grow(data, 4096)
		n, err := unix.Read(fd, data[len(data):cap(data)])
		if err == unix.EINTR {
			continue
		}
		if n == 0 || err != nil {
			return data, err
		}
		data = data[:len(data)+n]
	}
}

// writeFile writes a value in one write(2), as the kernel wants it.
func writeFile(dir *os.File, name, value string) error {
	f, err := openAt(dir, name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := unix.Write(int(f.Fd()), []byte(value)); err != nil {
		return &os.PathError{Op: "write", Path: path.Base(dir.Name()) + "/" + name, Err: err}
	}
	return nil
}

// openAt opens what is named in dir, and follows no link.
func openAt(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// keyed finds the number behind a key in a file of "key number" lines.
func keyed(data []byte, key string) (uint64, bool) {
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == key {
			n, err := strconv.ParseUint(value, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// OOMKills counts the processes killed for want of memory; 0 where there is
// no memory controller.
func (c *Cgroup) OOMKills() (uint64, error) {
	d, ok := c.find(Memory)
	if !ok {
		return 0, nil
	}
	file, key := c.layout.OOMFile(c.path)
	data, err := readFile(d.f, path.Base(file))
	if err != nil {
		return 0, err
	}
	n, _ := keyed(data, key)
	return n, nil
}
