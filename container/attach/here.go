package attach

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"minict/container/monitor"
	"minict/container/wire"
)

// StartHere starts a container whose monitor is this process, and not one of
// its own: the container ends with this process. Call Relay or Wait next, from
// the same goroutine. The error is a *Failure if the start failed; everything is
// undone then.
func StartHere(c Container) (*Session, error) {
	start, fds, err := c.start()
	if err != nil {
		return nil, err
	}
	ends, given, err := prepare(append(fds, int(c.Lock.Fd())))
	if err != nil {
		return nil, fmt.Errorf("start process: %w", err)
	}
	sent, lock := given[:len(fds)], given[len(fds)]
	runtime.LockOSThread()
	h, failed := monitor.Start(start, c.Plan.Ready(), lock, sent, ends[1], c.SpareDir)
	if failed != nil {
		runtime.UnlockOSThread()
		wire.CloseAll(ends[:])
		return nil, failureOf(*failed, nil)
	}
	s := &Session{fd: ends[0], here: h, Clocks: h.Clocks()}
	s.set(h.Started())
	return s, nil
}

// prepare makes a connection, and copies of descriptors that are given away.
func prepare(fds []int) (ends [2]int, copies []int, err error) {
	if ends, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0); err != nil {
		return ends, nil, err
	}
	for _, fd := range fds {
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			wire.CloseAll(append(copies, ends[:]...))
			return ends, nil, err
		}
		copies = append(copies, own)
	}
	return ends, copies, nil
}

// relayHere is Relay for a process of this one. Output is passed on by another
// goroutine, which begins when there is some: many a command has none, and to
// wake somebody takes as long as to start the command.
func (s *Session) relayHere(st Streams) (Exit, error) {
	defer runtime.UnlockOSThread()
	r, err := s.relayTo(st)
	if err != nil {
		s.here.Kill()
		s.here.Wait(func() {}, nil)
		return Exit{}, err
	}
	defer r.stop()
	var written chan struct{}
	exit := exitOf(s.here.Wait(func() {
		written = make(chan struct{})
		go func() {
			defer close(written)
			for {
				if _, err := r.next(); err != errMore {
					return
				}
			}
		}()
	}, st.Signals))
	if written != nil {
		<-written
	}
	return exit, r.failed
}
