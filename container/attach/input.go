package attach

import (
	"bytes"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"minict/container/wire"
)

// input sends what can be read from a file to the process, as far as the
// monitor has room for it.
type input struct {
	s        *Session
	from     *os.File
	keys     []byte // that detach
	held     []byte // read, and perhaps the beginning of the keys
	room     atomic.Int64
	stopped  atomic.Bool
	detached atomic.Bool
	wake     int // eventfd
	done     chan struct{}
}

func (s *Session) input(from *os.File, keys []byte) (*input, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	in := &input{s: s, from: from, keys: keys, wake: wake, done: make(chan struct{})}
	in.room.Store(wire.StdinWindow)
	go in.run()
	return in, nil
}

// grow lets it send n bytes more.
func (in *input) grow(n int) {
	in.room.Add(int64(n))
	in.rouse()
}

// stop ends it, and leaves what was not read to whoever reads next.
func (in *input) stop() {
	in.stopped.Store(true)
	in.rouse()
	<-in.done
	unix.Close(in.wake)
}

func (in *input) rouse() { unix.Write(in.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (in *input) run() {
	defer close(in.done)
	buf := make([]byte, 1+32<<10)
	buf[0] = byte(wire.TypeStdin)
	fd := int(in.from.Fd())
	for {
		ready := in.wait(fd)
		if in.stopped.Load() {
			return
		}
		max := min(int64(len(buf)-1), in.left())
		if max <= 0 || !ready {
			continue
		}
		n, err := unix.Read(fd, buf[1:1+max])
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil || n == 0 { // the end of a terminal is an error, EIO
			in.s.send([]byte{byte(wire.TypeStdinEOF)})
			return
		}
		if !in.pass(buf[:1+n]) {
			return
		}
	}
}

// left is how much may be read: what is held will be sent too, or never.
func (in *input) left() int64 { return in.room.Load() - int64(len(in.held)) }

// wait waits until there is something to be read, and room for it, and says
// whether there is: it also ends for stop, for more room, and by a signal.
func (in *input) wait(fd int) bool {
	polls := [2]unix.PollFd{{Fd: int32(in.wake), Events: unix.POLLIN}, {Fd: int32(fd), Events: unix.POLLIN}}
	list := polls[:]
	if in.left() <= 0 {
		list = polls[:1]
	}
	unix.Poll(list, -1)
	if polls[0].Revents != 0 {
		var count [8]byte
		unix.Read(in.wake, count[:])
	}
	return polls[1].Revents != 0
}

// pass sends data, which stands behind the type of the message; it gives false
// when there is nothing more to be sent, to anybody.
func (in *input) pass(msg []byte) bool {
	var detach bool
	if len(in.keys) > 0 {
		msg, detach = in.sift(msg)
	}
	if len(msg) > 1 {
		in.room.Add(int64(1 - len(msg)))
		if in.s.send(msg) != nil {
			return false
		}
	}
	if detach {
		in.detached.Store(true)
		in.s.hangUp()
	}
	return !detach
}

// sift takes out what may be the beginning of the keys, and says whether it
// turned out to be all of them.
func (in *input) sift(msg []byte) (rest []byte, detach bool) {
	rest = append(make([]byte, 0, len(msg)+len(in.keys)), msg[0])
	for _, b := range msg[1:] {
		in.held = append(in.held, b)
		for !bytes.HasPrefix(in.keys, in.held) {
			rest = append(rest, in.held[0])
			in.held = in.held[1:]
		}
		if len(in.held) == len(in.keys) {
			return rest, true
		}
	}
	return rest, false
}
