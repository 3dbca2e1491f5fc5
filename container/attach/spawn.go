package attach

import "os"

// Monitor is a monitor that was started by this process.
type Monitor struct {
	// Program is the monitor's own program, O_PATH, on a mount that nobody
	// can write through: the input "init". It is closed by Close.
	Program *os.File

	pid  int
	sock int
}

// Spawn starts a monitor, which gets ready and waits. Its program is kept in
// stateDir/bin. It takes well below a millisecond; do it before anything slow.
func Spawn(stateDir string) (*Monitor, error) { panic("not yet") }

// Start makes the monitor start a container, and returns when its program runs.
// The error is a *Failure if that failed; then everything is undone already,
// and the monitor ends: see Wait.
func (m *Monitor) Start(c Container) (*Session, error) { panic("not yet") }

// Wait waits for the end of the monitor: after that nothing of it, or of a
// container that it removed, can be seen any more.
func (m *Monitor) Wait() error { panic("not yet") }

// Close forgets the monitor: one that has started a container goes on, any
// other ends.
func (m *Monitor) Close() error { panic("not yet") }
