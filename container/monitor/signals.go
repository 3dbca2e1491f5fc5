package monitor

import (
	"golang.org/x/sys/unix"

	"minict/container/wire"
	"minict/internal/caught"
)

// catch makes SIGTERM an event for the loop. All signals are blocked since
// before the program began (package attach), as far as Go's runtime lets them:
// those that it wants to see must not end the monitor. They are not ignored,
// which would be passed on to the container.
func (m *monitor) catch() (err error) {
	m.signals, err = caught.Catch(unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT)
	if err != nil {
		return err
	}
	var term unix.Sigset_t
	term.Val[0] = 1 << (unix.SIGTERM - 1)
	return unix.PthreadSigmask(unix.SIG_UNBLOCK, &term, nil)
}

// signalled waits for signals that this process gets.
type signalled monitor

func (s *signalled) watch() (int, int16) {
	if s.signals == nil {
		return -1, 0
	}
	return s.signals.FD(), unix.POLLIN
}

func (s *signalled) ready(int16) {
	for n := s.signals.Take(); n != 0; n = s.signals.Take() {
		(*monitor)(s).act(n)
	}
}

// act does what a signal asks for. A command passes it on, as if it had come
// from the keyboard of the container; a monitor of its own is told to end.
func (m *monitor) act(n unix.Signal) {
	switch {
	case m.inside && m.main.running():
		m.main.signal(n, wire.Interrupts(n))
	case !m.inside && n == unix.SIGTERM:
		m.terminate()
	}
}
