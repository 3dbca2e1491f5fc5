package attach

import (
	"fmt"

	"golang.org/x/sys/unix"

	"minict/container/wire"
)

// passSignals passes signals on to the process until stop is called.
func (s *Session) passSignals(st Streams) (stop func(), err error) {
	if st.Signals == nil {
		return func() {}, nil
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		polls := []unix.PollFd{{Fd: int32(wake), Events: unix.POLLIN}, {Fd: int32(st.Signals.FD()), Events: unix.POLLIN}}
		for polls[0].Revents == 0 {
			for n := st.Signals.Take(); n != 0; n = st.Signals.Take() {
				s.passSignal(n, st)
			}
			unix.Poll(polls, -1)
		}
	}()
	return func() {
		unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-done
		unix.Close(wake)
	}, nil
}

func (s *Session) passSignal(n unix.Signal, st Streams) {
	switch {
	case wire.Interrupts(n):
		s.Interrupt(n)
	case n != unix.SIGWINCH:
		s.Signal(n)
	case s.Terminal && st.Size != nil:
		if rows, cols, ok := st.Size(); ok {
			s.Resize(rows, cols)
		}
	}
}
