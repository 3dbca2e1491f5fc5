package oci

import (
	"errors"

	"golang.org/x/sys/unix"

	containers "minict/runtime/oci"
)

func (a *app) runContainer(f *flags) func([]string) error {
	var c createFlags
	var keep, noSubreaper bool
	c.register(f)
	c.registerDetach(f)
	f.bool(&keep, "keep", "", "do not remove the container at its end")
	f.bool(&noSubreaper, "no-subreaper", "", "do not become the parent of processes that lose theirs")
	return func(args []string) error {
		if c.detach {
			return a.runDetached(&c, args[0])
		}
		if err := adoptOrphans(!noSubreaper); err != nil {
			return err
		}
		return a.runForeground(&c, args[0], keep)
	}
}

// adoptOrphans makes this process the parent of processes below it that lose
// theirs, PR_SET_CHILD_SUBREAPER in prctl(2), if that is wanted.
func adoptOrphans(wanted bool) error {
	if !wanted {
		return nil
	}
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

func (a *app) runDetached(c *createFlags, id string) error {
	made, err := a.createDetached(c, id)
	if err != nil {
		return err
	}
	return a.startOrDelete(made)
}

// startOrDelete starts a container that nobody would ever start otherwise.
func (a *app) startOrDelete(c *containers.Container) error {
	err := c.Start()
	if err == nil {
		return nil
	}
	r, failed := a.runtime()
	if failed == nil {
		failed = r.Delete(c.ID, true)
	}
	return errors.Join(err, failed)
}

// runForeground stays with the container until its end, which becomes its own.
func (a *app) runForeground(c *createFlags, id string, keep bool) error {
	r, err := a.runtime()
	if err != nil {
		return err
	}
	fg := &foreground{Streams: a.Streams}
	if err := fg.catch(); err != nil {
		return err
	}
	defer fg.close()
	streams, err := fg.streams()
	if err != nil {
		return err
	}
	opt, err := c.options(streams, false)
	if err != nil {
		return err
	}
	s, err := c.dial()
	defer s.close()
	if err != nil {
		return err
	}
	opt.Terminal = fg.takeTerminal
	opt.Created = func(pid, pidfd int) error { return c.tell(s, pid, pidfd) }
	if hasTerminal(opt.Spec) {
		fg.size(opt.Spec.Process)
	}
	made, pid, pidfd, err := r.Create(id, opt)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	if err := a.startOrDelete(made); err != nil {
		return err
	}
	return a.stay(fg, r, id, pid, pidfd, keep)
}
