package oci

import (
	"errors"

	"golang.org/x/sys/unix"

	containers "minict/runtime/oci"
)

// restoreFlags are the flags of restore.
type restoreFlags struct {
	criuFlags
	processFlags
	opt         containers.RestoreOptions
	bundle      string
	noSubreaper bool
}

func (a *app) restore(f *flags) func([]string) error {
	var c restoreFlags
	var ignored bool
	c.criuFlags.register(f)
	f.text(&c.bundle, "bundle", "b", "", "`directory` of the bundle (default: the current one)")
	f.text(&c.pidFile, "pid-file", "", "", "`file` that the process id is written to")
	f.text(&c.consoleSocket, "console-socket", "", "", "`socket` that takes the master side of the terminal")
	f.text(&c.pidfdSocket, "pidfd-socket", "", "", "`socket` that takes a pidfd of the process")
	c.registerDetach(f)
	f.bool(&c.noSubreaper, "no-subreaper", "", "do not become the parent of processes that lose theirs")
	f.bool(&ignored, "no-pivot", "", "without a meaning: CRIU sees by itself what the root file system needs")
	f.bool(&c.opt.TCPClose, "tcp-close", "", "restore TCP connections as closed ones")
	f.text(&c.opt.LSMProfile, "lsm-profile", "", "", "`TYPE:NAME` of the profile of a security module, in place of the one before")
	f.text(&c.opt.LSMMount, "lsm-mount-context", "", "", "`context` of the mounts, in place of the one before")
	return func(args []string) error {
		err := c.complete(a)
		if err != nil {
			return err
		}
		s, err := c.dial()
		defer s.close()
		if err != nil {
			return err
		}
		c.opt.Created = func(pid, pidfd int) error { return c.tell(s, pid, pidfd) }
		if c.detach {
			return a.restoreDetached(&c, s, args[0])
		}
		return a.restoreForeground(&c, args[0])
	}
}

// complete makes options of the flags.
func (c *restoreFlags) complete(a *app) (err error) {
	if c.opt.CRIUOptions, err = c.criuFlags.options(a.criu); err != nil {
		return err
	}
	c.opt.Streams = containers.Streams(a.Streams)
	if c.opt.Bundle, err = containers.ReadBundle(c.bundle); err != nil {
		return err
	}
	return c.checkTerminal(hasTerminal(c.opt.Spec), c.detach)
}

func (a *app) restoreDetached(c *restoreFlags, s sockets, id string) error {
	r, err := a.runtime()
	if err != nil {
		return err
	}
	c.opt.Terminal = s.sendTerminal
	_, _, pidfd, err := r.Restore(id, c.opt)
	if err == nil {
		unix.Close(pidfd)
	}
	return err
}

// restoreForeground stays with the container as run does.
func (a *app) restoreForeground(c *restoreFlags, id string) error {
	r, err := a.runtime()
	if err != nil {
		return err
	}
	if err := adoptOrphans(!c.noSubreaper); err != nil {
		return err
	}
	fg := &foreground{Streams: a.Streams}
	defer fg.close()
	if !c.opt.ShellJob { // which is on our terminal itself
		if c.opt.Streams, err = fg.streams(); err != nil {
			return err
		}
	}
	c.opt.Terminal = fg.takeTerminal
	// Until then a signal ends this process, and CRIU undoes what it has done.
	tell := c.opt.Created
	c.opt.Created = func(pid, pidfd int) error {
		if err := fg.catch(); err != nil {
			return err
		}
		return tell(pid, pidfd)
	}
	_, pid, pidfd, err := r.Restore(id, c.opt)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	return a.stay(fg, r, id, pid, pidfd, false)
}

// stay waits for the end of a container, and removes it unless it is to be kept.
// Somebody else may have done so, and checkpoint does.
func (a *app) stay(fg *foreground, r *containers.Runtime, id string, pid, pidfd int, keep bool) error {
	code, err := fg.wait(pid, pidfd)
	if !keep {
		if gone := r.Delete(id, true); !errors.Is(gone, containers.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	if err != nil {
		return err
	}
	return code
}
