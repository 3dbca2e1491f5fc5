package container

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// State is what a container is doing.
type State string

const (
	Created State = "created" // never started
	Running State = "running"
	Paused  State = "paused"
	Exited  State = "exited"
	Dead    State = "dead" // what is kept of it can't be read: it can only be removed
)

// living is the file "state" in a run directory: the monitor writes it when
// the container's program runs.
type living struct {
	Pid       int       `json:"pid"` // of the first process, as the host sees it
	StartTime uint64    `json:"startTime"`
	Monitor   int       `json:"monitor"` // its pid
	Started   time.Time `json:"started"`
}

// ending is the file "exit": how the last run ended. The monitor writes it,
// or, if a start failed, who tried it, with the error.
type ending struct {
	Status    int       `json:"status"` // 128+n for signal n
	Signal    int       `json:"signal,omitempty"`
	OOMKilled bool      `json:"oomKilled,omitempty"`
	Finished  time.Time `json:"finished"`
	Error     string    `json:"error,omitempty"`
}

// condition is what can be seen of a container at a moment.
type condition struct {
	state   State
	living  living // if it runs
	ending  ending // if it has ended
	started time.Time
}

// lostStatus is the exit status of a container whose end nobody saw: its
// monitor was killed, or the machine went down.
const lostStatus = 255

func (m *Manager) exitPath(id string) string    { return filepath.Join(m.durableDir(id), "exit") }
func (m *Manager) startedPath(id string) string { return filepath.Join(m.durableDir(id), "started") }
func (m *Manager) pausedPath(id string) string  { return filepath.Join(m.runDir(id), "paused") }

// condition looks at a container. What is written in its files counts only
// together with the lock, which a monitor holds as long as it lives.
func (m *Manager) condition(id string) (condition, error) {
	var c condition
	if m.alive(id) {
		err := readJSON(filepath.Join(m.runDir(id), "state"), &c.living)
		if err == nil {
			c.state, c.started = Running, c.living.Started
			if _, err := os.Lstat(m.pausedPath(id)); err == nil {
				c.state = Paused
			}
			return c, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
		// It is being made, started or removed.
	}
	if st, err := os.Lstat(m.startedPath(id)); err == nil {
		c.started = st.ModTime()
	}
	err := readJSON(m.exitPath(id), &c.ending)
	switch {
	case err == nil:
		c.state = Exited
	case !errors.Is(err, fs.ErrNotExist):
		return c, err
	case c.started.IsZero():
		c.state = Created
	default:
		c.state = Exited
		c.ending = ending{Status: lostStatus, Finished: c.started, Error: "its monitor was killed, or the machine went down"}
	}
	return c, nil
}

// markStarted notes that the container was started, and forgets how it ended
// before: if nobody can note how it ends this time, that has to show. The
// file is empty, its time counts.
func (m *Manager) markStarted(id string) error {
	for _, path := range []string{m.exitPath(id), m.startedPath(id)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.WriteFile(m.startedPath(id), nil, 0o600)
}

// running gives what a container's monitor says of it: ErrNotRunning if there
// is nothing.
func (m *Manager) running(ref string) (*Config, condition, error) {
	id, err := m.Lookup(ref)
	if err != nil {
		return nil, condition{}, err
	}
	c, err := m.config(id)
	if err != nil {
		return nil, condition{}, err
	}
	now, err := m.condition(id)
	if err == nil && now.state != Running && now.state != Paused {
		err = failf(ErrNotRunning, "container %s is not running", ref)
	}
	return c, now, err
}
