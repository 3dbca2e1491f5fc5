package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// delegateFile lists the files of a group that somebody needs to manage the
// groups below it, sysfs-kernel-cgroup of the kernel's documentation.
const delegateFile = "/sys/kernel/cgroup/delegate"

// Delegate gives the group to a user, who may then make groups below and move
// processes among them; its limits stay out of his reach (cgroups(7), "Cgroups
// delegation"). It does so where there is version 2 alone: with version 1 that
// is not safe, and nothing is done.
func (l Layout) Delegate(group string, uid int) error {
	if err := checkPath(group); err != nil {
		return err
	}
	if l.Unified == "" || len(l.V1) > 0 {
		return nil
	}
	name := l.Unified + group
	fd, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	files, err := delegated()
	if err != nil {
		return err
	}
	for _, file := range append([]string{""}, files...) {
		err := unix.Fchownat(fd, file, uid, -1, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH)
		if err != nil && err != unix.ENOENT { // of a controller that is not handed down
			return &os.PathError{Op: "chown", Path: name + "/" + file, Err: err}
		}
	}
	return nil
}

func delegated() ([]string, error) {
	list, err := readPath(delegateFile)
	if errors.Is(err, fs.ErrNotExist) { // before Linux 4.15
		return []string{"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"}, nil
	}
	return strings.Fields(string(list)), err
}
