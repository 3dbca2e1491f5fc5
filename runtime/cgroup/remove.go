package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// Remove removes the group and those made inside it, once they are empty; it
// waits for that as long as ctx lets it. It kills nobody. It is no error if a
// group is gone already.
func (c *Cgroup) Remove(ctx context.Context) error {
	if d, ok := c.unified(); ok { // here the kernel tells when all are gone
		if err := waitEvent(ctx, d.f, "populated", 0); err != nil {
			return fmt.Errorf("remove cgroup %s: %w", c.path, err)
		}
	}
	for _, d := range c.dirs {
		if err := d.remove(ctx, path.Base(c.path)); err != nil {
			return fmt.Errorf("remove cgroup %s%s: %w", d.mount, c.path, err)
		}
	}
	return nil
}

func (d dir) remove(ctx context.Context, name string) error {
	above, err := openAt(d.f, "..", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return goneIsFine(err)
	}
	defer above.Close()
	nothing := func(*os.File) error { return nil }
	err = descend(d.f, nothing, func(above *os.File, name string) error {
		return rmdir(ctx, above, name)
	})
	if err != nil {
		return err
	}
	return rmdir(ctx, above, name)
}

// rmdir removes a group that holds no other. It is busy while a process is in
// it, and for the moment that the kernel takes to bury the last one.
func rmdir(ctx context.Context, above *os.File, name string) error {
	var again nap
	for {
		err := unix.Unlinkat(int(above.Fd()), name, unix.AT_REMOVEDIR)
		switch err {
		case nil, unix.ENOENT, unix.ENODEV:
			return nil
		case unix.EINTR:
			continue
		case unix.EBUSY:
		default:
			return &os.PathError{Op: "rmdir", Path: name, Err: err}
		}
		if err := again.sleep(ctx); err != nil {
			return errors.Join(&os.PathError{Op: "rmdir", Path: name, Err: unix.EBUSY}, err)
		}
	}
}
