package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Processes gives the ids of the container's processes, as the caller sees
// them: those in its cgroup, or where it has none, as an ordinary user's
// container, those in its PID namespace.
func (c *Container) Processes() ([]int, error) {
	group, err := c.cgroup()
	switch {
	case err == nil:
		defer group.Close()
		return group.Processes()
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case c.record.OwnPIDs:
		return c.namespaceMembers()
	case c.record.Cgroup == "":
		return nil, fmt.Errorf("container %s has neither a cgroup nor a PID namespace of its own", c.ID)
	}
	return nil, nil // the cgroup is gone, and it goes last
}

func (c *Container) namespaceMembers() ([]int, error) {
	pidfd, err := c.first.open()
	if errors.Is(err, ErrNotRunning) {
		return nil, nil // and with it all others have ended
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(pidfd)
	own, err := pidNamespace(c.first.pid)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ns, err := pidNamespace(pid); err == nil && ns == own { // others may not be looked at
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// pidNamespace names the PID namespace of a process.
func pidNamespace(pid int) (string, error) {
	return os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/pid")
}
