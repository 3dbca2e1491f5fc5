package monitor

import (
	_ "unsafe" // for go:linkname

	"golang.org/x/sys/unix"
)

// Go's runtime has a handler for every signal, and never blocks those that end
// a process. To get them all the same, without package os and its weight, these
// two are taken from where package os/signal takes them.

// enable makes the runtime keep a signal for receive, which ends nothing then.
//
//go:linkname enable os/signal.signal_enable
func enable(signal uint32)

// receive waits for the next signal that was enabled.
//
//go:linkname receive os/signal.signal_recv
func receive() uint32

// catch makes SIGTERM an event for the loop, and lets no other signal end the
// monitor. Ignoring those would be passed on to the container.
func (m *monitor) catch() (err error) {
	if m.signals, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM} {
		enable(uint32(s))
	}
	go func(fd int) {
		for {
			if unix.Signal(receive()) == unix.SIGTERM {
				unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
			}
		}
	}(m.signals)
	return nil
}
