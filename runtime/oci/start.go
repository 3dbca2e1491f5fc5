package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime"
	"minict/runtime/launch"
)

// Start lets the first process become the program, and returns when it has.
// A container whose startContainer hook fails, or whose program can't be
// executed, has stopped.
func (c *Container) Start() error {
	pidfd, status, release, err := c.hold()
	if err != nil {
		return err
	}
	defer release()
	switch status {
	case specs.StateCreated:
	case specs.StateStopped:
		return errors.New("cannot start a container that has stopped")
	case specs.StateRunning, statusPaused:
		return errors.New("cannot start an already running container")
	default:
		return fmt.Errorf("cannot start a container that is %s", status)
	}
	if err := c.startContainer(pidfd); err != nil {
		return errors.Join(err, c.end())
	}
	if err := c.passGate(); err != nil {
		return err
	}
	c.poststart()
	return nil
}

// HooksInside says whether Start runs programs in the container.
func (c *Container) HooksInside() bool {
	return c.record.Hooks != nil && len(c.record.Hooks.StartContainer) > 0
}

// startContainer runs the hooks in the container.
func (c *Container) startContainer(pidfd int) error {
	if !c.HooksInside() {
		return nil
	}
	spec, err := c.Config()
	if err != nil {
		return err
	}
	host, err := runtime.Probe()
	if err != nil {
		return err
	}
	return each("startContainer", c.record.Hooks.StartContainer, func(h specs.Hook) error {
		return c.startContainerHook(spec, host, pidfd, h)
	})
}

// passGate writes the byte that the first process waits for, and reads why it
// could not go on, if it could not.
func (c *Container) passGate() error {
	path := filepath.Join(c.dir, startedFile)
	// Without waiting: the process has it open, or has ended.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	gate, err := c.openGate()
	if errors.Is(err, unix.ENXIO) {
		return ErrNotRunning
	}
	if err != nil {
		return err
	}
	defer gate.Close()
	if _, err := gate.Write([]byte{0}); err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		return err
	}
	return c.startError(launch.Started(fd))
}

// startError names the program that could not be executed.
func (c *Container) startError(err error) error {
	var f *launch.Failure
	if !errors.As(err, &f) || !f.Exec {
		return err
	}
	name := c.ID
	if spec, err := c.Config(); err == nil && spec.Process != nil && len(spec.Process.Args) > 0 {
		name = spec.Process.Args[0]
	}
	return execError(name, f.Errno)
}
