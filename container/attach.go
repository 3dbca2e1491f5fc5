package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"minict/container/attach"
)

// Attach connects streams to a running container: ErrNotRunning if it isn't.
// The detach keys end the attachment and nothing else.
func (m *Manager) Attach(ctx context.Context, ref string, s Streams) (Ended, error) {
	c, now, err := m.running(ref)
	if err != nil {
		return Ended{}, err
	}
	if now.state == Paused {
		return Ended{}, failf(ErrNotRunning, "container %s is paused: unpause it first", ref)
	}
	signals, err := s.signals(c.TTY)
	if err != nil {
		return Ended{}, err
	}
	session, err := attach.Attach(m.runDir(c.ID), attach.Wishes{Output: true})
	if err != nil {
		if isGone(err) {
			err = failf(ErrNotRunning, "container %s is not running", ref)
		}
		return Ended{}, err
	}
	if size := s.size(); size != nil && session.Terminal {
		session.Resize(size.rows, size.cols)
	}
	ended := Ended{ID: c.ID}
	exit, err := relay(ctx, session, s, signals)
	ended.Exit, ended.Detached = exit.Code, exit.Detached
	if err != nil {
		err = fmt.Errorf("container %s: %w", ref, err)
	}
	return ended, err
}

// isGone says whether an error means that there is no monitor to talk to.
func isGone(err error) bool {
	if f := (*attach.Failure)(nil); errors.As(err, &f) {
		return false // it answered
	}
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, attach.ErrGone)
}

// Wait waits for the end of a container and gives its exit status. For one
// that does not run, the status is that of its last run.
func (m *Manager) Wait(ctx context.Context, ref string) (exit int, err error) {
	id, err := m.Lookup(ref)
	if err != nil {
		return 0, err
	}
	session, err := attach.Attach(m.runDir(id), attach.Wishes{})
	if err == nil {
		// The monitor tells: of a container that is then removed, it is
		// the only one who can.
		end, err := session.Wait(ctx)
		if !errors.Is(err, attach.ErrGone) {
			return end.Code, err
		}
	} else if !isGone(err) {
		return 0, fmt.Errorf("wait for %s: %w", ref, err)
	}
	if err := m.waitEnd(ctx, id); err != nil {
		return 0, err
	}
	now, err := m.condition(id)
	return now.ending.Status, err
}
