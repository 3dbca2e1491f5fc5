package oci

import (
	"errors"

	"golang.org/x/sys/unix"

	containers "minict/runtime/oci"
)

func (a *app) kill(f *flags) func([]string) error {
	var all bool
	f.bool(&all, "all", "a", "send it to all processes of the container")
	return func(args []string) error {
		sig := unix.SIGTERM
		if len(args) > 1 {
			var err error
			if sig, err = containers.ParseSignal(args[1]); err != nil {
				return err
			}
		}
		c, err := a.container(args[0])
		if err != nil {
			return err
		}
		return c.Kill(sig, all)
	}
}

func (a *app) delete(f *flags) func([]string) error {
	var force bool
	f.bool(&force, "force", "f", "kill it first, and be content if it does not exist")
	return func(args []string) error {
		r, err := a.runtime()
		if err != nil {
			return err
		}
		err = r.Delete(args[0], force)
		if force && errors.Is(err, containers.ErrNotExist) {
			return nil
		}
		return err
	}
}

func (a *app) pause(*flags) func([]string) error {
	return a.onContainer((*containers.Container).Pause)
}

func (a *app) resume(*flags) func([]string) error {
	return a.onContainer((*containers.Container).Unpause)
}

func (a *app) onContainer(do func(*containers.Container) error) func([]string) error {
	return func(args []string) error {
		c, err := a.container(args[0])
		if err != nil {
			return err
		}
		return do(c)
	}
}
