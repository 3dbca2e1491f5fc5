package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/internal/flock"
	"minict/runtime/cgroup"
)

// Container is a container of a Runtime, as its files were when it was loaded.
type Container struct {
	ID string

	r        *Runtime
	dir      string
	record   *record
	complete bool // create is through
	first    process
	groups   *cgroup.Layout // of the machine, once it was looked at
	config   *specs.Spec    // once it was read
}

// Load finds a container; the error is ErrNotExist if there is none.
func (r *Runtime) Load(id string) (*Container, error) {
	if err := CheckID(id); err != nil {
		return nil, fmt.Errorf("%w: %q", err, id)
	}
	c := &Container{ID: id, r: r, dir: r.dir(id)}
	return c, c.read()
}

func (c *Container) read() (err error) {
	if c.record, c.complete, err = readRecord(c.dir); err != nil {
		return err
	}
	c.first, err = readPid(c.dir)
	return err
}

// lock takes the container's lock, waiting for whoever has it, and reads its
// files once more.
func (c *Container) lock() (*os.File, error) {
	path := filepath.Join(c.dir, lockFile)
	lock, err := flock.TryLock(path, flock.Exclusive)
	if errors.Is(err, flock.ErrLocked) {
		lock, err = flock.Lock(context.Background(), path, flock.Exclusive)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	if err := c.read(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// Status is where a container is in its life; beyond the specification's there
// is paused.
type Status = specs.ContainerState

const statusPaused Status = "paused"

// State is what the command state prints: the specification's, and what engines
// know of runc beyond it.
type State struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Pid         int               `json:"pid"`
	Status      Status            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`
}

// State asks the kernel what has become of the container.
func (c *Container) State() (State, error) {
	r := c.record
	s := State{
		Version: r.Version, ID: c.ID, Bundle: r.Bundle, Rootfs: r.Rootfs,
		Created: r.Created, Annotations: r.Annotations, Owner: ownerName(r.Owner),
	}
	pidfd, status, err := c.open()
	if err != nil {
		return s, err
	}
	s.Status = status
	if pidfd >= 0 {
		unix.Close(pidfd)
		s.Pid = c.first.pid
	}
	return s, nil
}

func ownerName(uid int) string {
	if uid == 0 {
		return "root"
	}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

// open gives a pidfd of the first process, -1 if it has ended, and the status.
func (c *Container) open() (pidfd int, status Status, err error) {
	pidfd = -1
	boot, err := bootID()
	if err != nil {
		return -1, "", err
	}
	if boot == c.record.Boot {
		if pidfd, err = c.first.open(); err != nil && !errors.Is(err, ErrNotRunning) {
			return -1, "", err
		}
	}
	status, err = c.status(pidfd)
	if err != nil && pidfd >= 0 {
		unix.Close(pidfd)
		pidfd = -1
	}
	return pidfd, status, err
}

// hold takes the lock and opens the first process, for a change that depends on
// the status. Until release is called, both stay.
func (c *Container) hold() (pidfd int, status Status, release func(), err error) {
	lock, err := c.lock()
	if err != nil {
		return -1, "", nil, err
	}
	if pidfd, status, err = c.open(); err != nil {
		return -1, "", nil, errors.Join(err, lock.Close())
	}
	return pidfd, status, func() {
		if pidfd >= 0 {
			unix.Close(pidfd)
		}
		lock.Close()
	}, nil
}

func (c *Container) status(pidfd int) (Status, error) {
	switch {
	case !c.complete && c.beingCreated():
		return specs.StateCreating, nil
	case pidfd < 0:
		return specs.StateStopped, nil
	}
	waiting, err := c.atGate()
	if err != nil || waiting {
		return specs.StateCreated, err
	}
	frozen, err := c.frozen()
	if frozen {
		return statusPaused, err
	}
	return specs.StateRunning, err
}

// beingCreated says whether somebody is at it.
func (c *Container) beingCreated() bool {
	lock, err := flock.TryLock(filepath.Join(c.dir, lockFile), flock.Shared)
	if err != nil {
		return errors.Is(err, flock.ErrLocked)
	}
	lock.Close()
	return false
}

// atGate says whether the first process waits at the gate: it alone has the
// fifo open, and a fifo that nobody reads can't be opened to be written.
func (c *Container) atGate() (bool, error) {
	gate, err := c.openGate()
	if err == nil {
		gate.Close()
		return true, nil
	}
	if errors.Is(err, unix.ENXIO) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return false, err
}

func (c *Container) openGate() (*os.File, error) {
	path := filepath.Join(c.dir, gateFile)
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// layout looks at the machine's cgroups, once.
func (c *Container) layout() (cgroup.Layout, error) {
	if c.groups == nil {
		l, err := cgroup.Probe()
		if err != nil {
			return l, err
		}
		c.groups = &l
	}
	return *c.groups, nil
}

// cgroup opens the container's cgroup; the error is fs.ErrNotExist if it has
// none.
func (c *Container) cgroup() (*cgroup.Cgroup, error) {
	if c.record.Cgroup == "" {
		return nil, &os.PathError{Op: "open cgroup", Path: c.ID, Err: unix.ENOENT}
	}
	layout, err := c.layout()
	if err != nil {
		return nil, err
	}
	return cgroup.Open(layout, c.record.Cgroup)
}

func (c *Container) frozen() (bool, error) {
	group, err := c.cgroup()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer group.Close()
	return group.Frozen()
}

// Config is the configuration that the container was created of. The caller may
// change it: it is read once.
func (c *Container) Config() (*specs.Spec, error) {
	if c.config != nil {
		return c.config, nil
	}
	raw, err := ReadBounded(filepath.Join(c.dir, configFile), maxConfig)
	if err != nil {
		return nil, err
	}
	if c.config, err = parseConfig(raw); err != nil {
		return nil, err
	}
	c.config.Linux.CgroupsPath = c.record.Cgroup
	return c.config, nil
}

// specState is the state in the specification's words.
func (c *Container) specState(status Status) specs.State {
	s := specs.State{
		Version: c.record.Version, ID: c.ID, Status: status,
		Bundle: c.record.Bundle, Annotations: c.record.Annotations,
	}
	if status != specs.StateStopped {
		s.Pid = c.first.pid
	}
	return s
}
