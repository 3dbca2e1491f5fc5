package network

import (
	"context"
	"os"
)

// Create makes a network. Its bridge comes into being when a container first
// needs it. Errors: ErrInvalid, ErrExists (the name, or another network's
// subnet).
func (m *Manager) Create(ctx context.Context, o Options) (*Network, error) {
	return nil, failf(ErrUnavailable, "not there yet")
}

// Get gives a network, the predefined ones too ("default" is the default
// network). If there is none, the error is ErrNotFound; ErrInvalid if ref is
// the beginning of several ids.
func (m *Manager) Get(ref string) (*Network, error) {
	return nil, failf(ErrUnavailable, "not there yet")
}

// List gives all networks by name, the predefined ones too.
func (m *Manager) List() ([]*Network, error) { return nil, failf(ErrUnavailable, "not there yet") }

// Containers that are on a network are given by Users: those that live, by id.
func (m *Manager) Users(ref string) ([]Attached, error) {
	return nil, failf(ErrUnavailable, "not there yet")
}

// Remove removes a network with its bridge. Errors: ErrNotFound, ErrInvalid
// for a predefined one, ErrInUse (the text says who uses it).
func (m *Manager) Remove(ctx context.Context, ref string) error {
	return failf(ErrUnavailable, "not there yet")
}

// Prune removes the networks of users that no living container is on and that
// keep says false to (nil for none), and gives their names. The bridge of any
// network that nobody uses is taken down.
func (m *Manager) Prune(ctx context.Context, keep func(*Network) bool) ([]string, error) {
	return nil, failf(ErrUnavailable, "not there yet")
}

// Reload makes bridges, rules and published ports again from the files, for
// the containers that live.
func (m *Manager) Reload(ctx context.Context) error { return failf(ErrUnavailable, "not there yet") }

// Sweep removes leases and names of containers that do not live, and takes
// down the bridges that nobody uses. It looks at everything: what one dead
// container has left is for Release.
func (m *Manager) Sweep(ctx context.Context) error { return failf(ErrUnavailable, "not there yet") }

// Attach connects a container that is about to start, as all or nothing. It
// looks at the ports first, so that a taken one costs little. Errors:
// ErrInvalid, ErrNotFound, ErrTaken, ErrExhausted, ErrUnavailable.
func (m *Manager) Attach(ctx context.Context, r Request) (*Attached, error) {
	return nil, failf(ErrUnavailable, "not there yet")
}

// Connect adds the networks of r.Wishes to a living container; r.Ports means
// nothing, those it has stay.
func (m *Manager) Connect(ctx context.Context, r Request) (*Attached, error) {
	return nil, failf(ErrUnavailable, "not there yet")
}

// Disconnect takes a living container off a network. If it is not on it, the
// error is ErrNotFound.
func (m *Manager) Disconnect(ctx context.Context, runDir string, namespace *os.File, ref string) error {
	return failf(ErrUnavailable, "not there yet")
}

// Endpoints reads the file "endpoints" of a run directory: what a container is
// connected to. If it has none, the error is fs.ErrNotExist.
func Endpoints(runDir string) (*Attached, error) { return nil, failf(ErrUnavailable, "not there yet") }

// Release undoes what the kernel did not undo when a container ended: the
// caller has its claim. The monitor does the same with package release.
func (m *Manager) Release(runDir string) error { return failf(ErrUnavailable, "not there yet") }

// CheckName says whether a network may be named so: ErrInvalid if not.
func CheckName(name string) error { return failf(ErrUnavailable, "not there yet") }
