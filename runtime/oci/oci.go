// Package oci keeps containers as an OCI runtime does: a bundle becomes a
// container with a name of its own, which is created, started, signalled and
// deleted by commands that know nothing of each other (OCI runtime
// specification 1.3, runtime.md).
//
// What is true of a container is asked of the kernel each time. Files hold
// only what the kernel can't tell, in a directory of the container's own:
//
//	ROOT/ID/lock         held by who creates, starts or deletes the container
//	ROOT/ID/config.json  the bundle's configuration as it was at create
//	ROOT/ID/state.json   what the other commands have to know, see record;
//	                     creating.json as long as create is not through
//	ROOT/ID/pid          process id and start time of the first process
//	ROOT/ID/gate         fifo: a byte lets the first process become the program
//	ROOT/ID/started      fifo: it tells why it could not; its end tells that it could
//	ROOT/.seccomp        filters that seccomp profiles compile to, for all containers
//
// A process id is used only together with the start time and the id of the
// boot, and only to open a pidfd. The gate is passed when nobody has the fifo
// open any more: execve closes it.
package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Runtime is a directory of containers.
type Runtime struct {
	// Root is the directory, absolute. It is made when it is needed, for
	// its owner alone.
	Root string
	// Systemd says that cgroupsPath has the form slice:prefix:name, and
	// that systemd makes the cgroups.
	Systemd bool
	// Rootless says that limits which an ordinary user has no cgroup for are
	// left out. Otherwise they are an error.
	Rootless bool
	// Warn is told of what went wrong without being an error, Note of what
	// is left out of a configuration, as the specification wants it.
	Warn func(error)
	Note func(string)
}

// What commands fail with. The words are those that engines look for in a
// runtime's message.
var (
	ErrNotExist   = errors.New("container does not exist")
	ErrExists     = errors.New("container with given ID already exists")
	ErrNotRunning = errors.New("container not running")
	ErrStatus     = errors.New("not possible in the container's state")
	ErrID         = errors.New("invalid container ID")
	ErrConfig     = errors.New("bad config.json")
)

// CheckID says whether a container may have this name, which becomes one of a
// directory: letters, digits, "_", "+", "-" and ".", the first of them a letter,
// a digit or "_".
func CheckID(id string) error {
	ok := len(id) > 0 && len(id) <= 255
	for i, c := range []byte(id) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		ok = ok && (letter || i > 0 && (c == '+' || c == '-' || c == '.'))
	}
	if !ok {
		return ErrID
	}
	return nil
}

// List gives the containers, by their names. Those that go meanwhile are left
// out.
func (r *Runtime) List() ([]*Container, error) {
	entries, err := os.ReadDir(r.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []*Container
	for _, e := range entries {
		if !e.IsDir() || CheckID(e.Name()) != nil {
			continue
		}
		c, err := r.Load(e.Name())
		if errors.Is(err, ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *Container) int { return a.record.Created.Compare(b.record.Created) })
	return list, nil
}

func (r *Runtime) dir(id string) string { return filepath.Join(r.Root, id) }

func (r *Runtime) warn(err error) {
	if r.Warn != nil && err != nil {
		r.Warn(err)
	}
}

func (r *Runtime) note(text string) {
	if r.Note != nil {
		r.Note(text)
	}
}

// retry calls f again as long as a signal cuts it short.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}
