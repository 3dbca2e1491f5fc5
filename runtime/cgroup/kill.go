package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

// Kill kills all processes and waits until they are gone (zombies count as
// gone), as long as ctx lets it. It thaws what is frozen.
//
// The kernel does that with version 2, at once for the whole tree
// (cgroup.kill). Whoever is in a hierarchy of version 1 alone is killed one
// by one, frozen so that they can't fork away.
func (c *Cgroup) Kill(ctx context.Context) error {
	if d, ok := c.unified(); ok {
		if err := goneIsFine(writeFile(d.f, "cgroup.kill", "1")); err != nil {
			return fmt.Errorf("kill cgroup %s: %w", c.path, err)
		}
		if err := waitEvent(ctx, d.f, "populated", 0); err != nil {
			return fmt.Errorf("kill cgroup %s: %w", c.path, err)
		}
	}
	one := slices.DeleteFunc(slices.Clone(c.dirs), func(d dir) bool { return d.v2 })
	if len(one) == 0 {
		return nil
	}
	if err := c.killOneByOne(ctx, one); err != nil {
		return fmt.Errorf("kill cgroup %s: %w", c.path, err)
	}
	return nil
}

func (c *Cgroup) killOneByOne(ctx context.Context, dirs []dir) error {
	var again nap
	for {
		pids, err := processes(dirs)
		if err != nil || len(pids) == 0 {
			return err
		}
		freezer, frozen := c.find(Freezer)
		frozen = frozen && !freezer.v2
		if frozen { // half frozen is good enough: there is a next round
			frozen = writeFile(freezer.f, "freezer.state", "FROZEN") == nil
		}
		pidfds, err := killAll(dirs, pids)
		if frozen { // frozen ones die when they are thawed
			err = errors.Join(err, goneIsFine(writeFile(freezer.f, "freezer.state", "THAWED")))
		}
		err = errors.Join(err, awaitAll(ctx, pidfds))
		if err != nil {
			return err
		}
		if len(pidfds) == 0 { // somebody is between dying and gone
			if err := again.sleep(ctx); err != nil {
				return err
			}
		}
	}
}

// killAll kills those of the processes that are in the groups, and gives
// their pidfds. A process id may be a foreign process's by now: so the pidfd
// is opened first, and is used only if the id is listed after that too.
func killAll(dirs []dir, pids []int) (pidfds []int, err error) {
	opened := make(map[int]int, len(pids))
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			opened[pid] = fd
		}
	}
	still, err := processes(dirs)
	for pid, fd := range opened {
		_, in := slices.BinarySearch(still, pid)
		if !in || unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil {
			unix.Close(fd)
			continue
		}
		pidfds = append(pidfds, fd)
	}
	return pidfds, err
}

// awaitAll waits until the processes have ended, and closes their pidfds.
func awaitAll(ctx context.Context, pidfds []int) error {
	cancel, err := newCanceller(ctx)
	if err == nil {
		defer cancel.close()
	}
	for _, fd := range pidfds {
		if err == nil {
			err = waitFor(ctx, cancel, fd, unix.POLLIN)
		}
		unix.Close(fd)
	}
	return err
}

// Freeze stops all processes and waits until they stand.
func (c *Cgroup) Freeze(ctx context.Context) error {
	return c.freeze(ctx, "freeze", "1", 1, "FROZEN")
}

// Thaw lets them go on.
func (c *Cgroup) Thaw(ctx context.Context) error {
	return c.freeze(ctx, "thaw", "0", 0, "THAWED")
}

func (c *Cgroup) freeze(ctx context.Context, verb, value string, event uint64, state string) error {
	var err error
	if d, ok := c.unified(); ok {
		if err = writeFile(d.f, "cgroup.freeze", value); err == nil {
			err = waitEvent(ctx, d.f, "frozen", event)
		}
	} else if d, ok := c.find(Freezer); ok {
		err = freezeV1(ctx, d, state)
	} else {
		err = ErrUnavailable
	}
	if err != nil {
		return fmt.Errorf("%s cgroup %s: %w", verb, c.path, err)
	}
	return nil
}

// Freezer is the directory of the group whose files freeze it; "" if there is
// none.
func (c *Cgroup) Freezer() string {
	if d, ok := c.unified(); ok {
		return d.mount + c.path
	}
	if d, ok := c.find(Freezer); ok {
		return d.mount + c.path
	}
	return ""
}

// freezeV1 sets freezer.state until it stays. The kernel freezes who is there;
// a process that forks meanwhile, or sleeps where it can't be frozen, leaves
// the state at FREEZING, and only asking again goes on. Some have to be let
// run on before they can be frozen: so every 20th time all are thawed.
func freezeV1(ctx context.Context, d dir, state string) error {
	var pause nap
	for i := 1; ; i++ {
		if err := writeFile(d.f, "freezer.state", state); err != nil {
			return err
		}
		now, err := readFile(d.f, "freezer.state")
		if err != nil {
			return err
		}
		if string(now) == state+"\n" {
			return nil
		}
		if i%20 == 0 {
			if err := writeFile(d.f, "freezer.state", "THAWED"); err != nil {
				return err
			}
		}
		if err := pause.sleep(ctx); err != nil {
			return errors.Join(err, writeFile(d.f, "freezer.state", "THAWED"))
		}
	}
}

// Frozen says whether the group is frozen.
func (c *Cgroup) Frozen() (bool, error) {
	if d, ok := c.unified(); ok {
		data, err := readFile(d.f, "cgroup.events")
		n, _ := keyed(data, "frozen")
		return n == 1, err
	}
	d, ok := c.find(Freezer)
	if !ok {
		return false, nil
	}
	data, err := readFile(d.f, "freezer.state")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return string(data) == "FROZEN\n", err
}
