package oci

import (
	"minict/cmd/minict/oci/self"
	containers "minict/runtime/oci"
)

func (a *app) create(f *flags) func([]string) error {
	var c createFlags
	c.register(f)
	return func(args []string) error {
		_, err := a.createDetached(&c, args[0])
		return err
	}
}

// createDetached creates a container that lives on without this process.
func (a *app) createDetached(c *createFlags, id string) (*containers.Container, error) {
	r, err := a.runtime()
	if err != nil {
		return nil, err
	}
	opt, err := c.options(containers.Streams(a.Streams), true)
	if err != nil {
		return nil, err
	}
	s, err := c.dial()
	defer s.close()
	if err != nil {
		return nil, err
	}
	opt.Terminal = s.sendTerminal
	opt.Created = func(pid, pidfd int) error { return c.tell(s, pid, pidfd) }
	made, _, _, err := r.Create(id, opt)
	return made, err
}

func (a *app) start(*flags) func([]string) error {
	return func(args []string) error {
		c, err := a.container(args[0])
		if err != nil {
			return err
		}
		if c.HooksInside() {
			if err := self.Protect(); err != nil {
				return err
			}
		}
		return c.Start()
	}
}
