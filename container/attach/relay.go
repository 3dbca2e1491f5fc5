package attach

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"minict/container/wire"
)

// Streams are where the input of a process comes from and where its output
// goes to: nil for nowhere. Whether they are terminals is of no interest here:
// the caller makes them raw.
type Streams struct {
	In       *os.File
	Out, Err *os.File
	// DetachKeys, from ParseKeys, end the attachment; nil for none.
	DetachKeys []byte
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
// closed when it returns. It is ErrGone if the monitor dies.
//
// Output that Out or Err can't take, because nobody reads it, is as lost as in
// a pipe: the process gets SIGPIPE, if it was started on this session.
func (s *Session) Relay(ctx context.Context, st Streams) (Exit, error) {
	panic("not yet")
}

// Wait waits for the end of the process and passes nothing on.
func (s *Session) Wait(ctx context.Context) (Exit, error) {
	return s.Relay(ctx, Streams{})
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
