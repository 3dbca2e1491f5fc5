package attach

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"minict/container/wire"
	"minict/internal/caught"
)

// Streams are where the input of a process comes from and where its output
// goes to: nil for nowhere. Whether they are terminals is of no interest here:
// the caller makes them raw.
type Streams struct {
	In       *os.File
	Out, Err *os.File
	// DetachKeys, from ParseKeys, end the attachment; nil for none.
	DetachKeys []byte
	// Signals are passed on to the process, those that interrupt as if they
	// had come from its keyboard; nil for none. SIGWINCH means that Size gives another size
	// for its terminal.
	Signals *caught.Signals
	Size    func() (rows, cols uint16, ok bool)
}

// Exit is how a session came to its end.
type Exit struct {
	Code      int         // exit status, 128+n for signal n
	Signal    unix.Signal // that killed the process, or 0
	OOMKilled bool        // the container ran out of memory meanwhile
	Detached  bool        // by the keys: the process goes on
}

// Relay passes input and output on until the process has ended, or the user
// has detached, or ctx is done, whose error is then returned. The session is
// closed when it returns. It is ErrGone if the monitor dies. A process that was
// started by StartHere is stayed with until its end.
//
// If nobody reads Out or Err any more, the process gets SIGPIPE when it writes
// there, if it was started on this session. An output that can't take what is
// written for another reason is treated alike; that error is returned with the
// process's exit.
func (s *Session) Relay(ctx context.Context, st Streams) (Exit, error) {
	defer s.Close()
	if s.here != nil {
		return s.relayHere(st)
	}
	defer context.AfterFunc(ctx, s.hangUp)()
	quiet, err := s.passSignals(st)
	if err != nil {
		return Exit{}, err
	}
	defer quiet()
	r, err := s.relayTo(st)
	if err != nil {
		return Exit{}, err
	}
	defer r.stop()
	for {
		exit, err := r.next()
		switch {
		case err == errMore:
		case r.in != nil && r.in.detached.Load():
			return Exit{Detached: true}, nil
		case err != nil && ctx.Err() != nil:
			return Exit{}, ctx.Err()
		case err != nil:
			return Exit{}, err
		default:
			return exit, r.failed
		}
	}
}

// Wait waits for the end of the process and passes nothing on.
func (s *Session) Wait(ctx context.Context) (Exit, error) {
	return s.Relay(ctx, Streams{})
}

// hangUp makes receive find the end of the connection.
func (s *Session) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd >= 0 {
		unix.Shutdown(s.fd, unix.SHUT_RDWR)
	}
}

type relay struct {
	s      *Session
	in     *input      // nil without
	out    [2]*os.File // nil for nowhere
	failed error       // of writing to one of them
}

func (s *Session) relayTo(st Streams) (*relay, error) {
	r := &relay{s: s, out: [2]*os.File{st.Out, st.Err}}
	if st.In == nil || !s.Stdin {
		return r, nil
	}
	var err error
	r.in, err = s.input(st.In, st.DetachKeys)
	return r, err
}

func (r *relay) stop() {
	if r.in != nil {
		r.in.stop()
	}
}

// errMore says that there will be more messages.
var errMore = errors.New("go on")

// next sees to the next message.
func (r *relay) next() (Exit, error) {
	msg, err := r.s.receive()
	if err != nil {
		return Exit{}, err
	}
	switch t := wire.Type(msg[0]); t {
	case wire.TypeStdout, wire.TypeStderr:
		r.write(t, msg[1:])
	case wire.TypeWindow:
		room, err := wire.DecodeWindow(msg)
		if err != nil {
			return Exit{}, err
		}
		if r.in != nil {
			r.in.grow(int(room))
		}
	default:
		e, err := wire.DecodeExited(msg)
		return exitOf(e), err
	}
	return Exit{}, errMore
}

// write writes output. What can't be written is told to the monitor, once.
func (r *relay) write(t wire.Type, data []byte) {
	out := &r.out[t-wire.TypeStdout]
	if *out == nil {
		return
	}
	err := writeAll(int((*out).Fd()), data)
	if err == nil {
		return
	}
	if err != unix.EPIPE && r.failed == nil {
		r.failed = fmt.Errorf("write %s: %w", (*out).Name(), err)
	}
	*out = nil
	// If the monitor has gone, so has the process.
	r.s.send(wire.AppendHangup(nil, t))
}

// writeAll writes with the system call: os.File would end this program with
// SIGPIPE when nobody reads its standard output, and that is not its to decide.
func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		switch err {
		case nil:
			data = data[n:]
		case unix.EINTR:
		case unix.EAGAIN: // somebody else made it so that it doesn't block
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			unix.Poll(poll, -1)
		default:
			return err
		}
	}
	return nil
}

func exitOf(e wire.Exited) Exit {
	status := unix.WaitStatus(e.Status)
	x := Exit{Code: status.ExitStatus(), OOMKilled: e.OOMKilled}
	if status.Signaled() {
		x.Signal = status.Signal()
		x.Code = 128 + int(x.Signal)
	}
	return x
}
