package container

import (
	"context"
	"errors"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"minict/container/attach"
	"minict/internal/caught"
)

// consoleSize is the size of a terminal in characters.
type consoleSize struct{ rows, cols uint16 }

func (s *consoleSize) box() *specs.Box {
	if s == nil || s.rows == 0 || s.cols == 0 {
		return nil
	}
	return &specs.Box{Height: uint(s.rows), Width: uint(s.cols)}
}

// sizeOf gives the size of the terminal behind a file, nil if there is none.
func sizeOf(f *os.File) *consoleSize {
	if f == nil {
		return nil
	}
	w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return nil
	}
	return &consoleSize{w.Row, w.Col}
}

// console gives the size of the user's terminal if the container gets one.
func (r RunOptions) console(tty bool) *consoleSize {
	if !tty || r.Streams == nil {
		return nil
	}
	return r.Streams.size()
}

func (s *Streams) size() *consoleSize {
	if size := sizeOf(s.Out); size != nil {
		return size
	}
	return sizeOf(s.In)
}

// signals takes the signals that are passed on to the container from here on,
// nil if there are none.
func (s *Streams) signals(tty bool) (*caught.Signals, error) {
	if s == nil || s.Signals == nil {
		return nil, nil
	}
	set, err := s.Signals()
	if err != nil {
		return nil, err
	}
	more := []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM}
	if tty {
		more = append(more, unix.SIGWINCH)
	}
	return set, set.Add(more...)
}

// relay connects streams to a session until its process has ended or the user
// has detached. It stays with a process that runs even if ctx is done.
func relay(ctx context.Context, session *attach.Session, s Streams, signals *caught.Signals) (attach.Exit, error) {
	streams := attach.Streams{In: s.In, Out: s.Out, Err: s.Err, Signals: signals, Size: s.rowsAndCols}
	if !session.Stdin {
		streams.In = nil
	}
	if session.Terminal {
		restore, err := s.raw()
		if err != nil {
			session.Close()
			return attach.Exit{}, err
		}
		defer restore()
		if streams.DetachKeys, err = attach.ParseKeys(s.DetachKeys); err != nil {
			session.Close()
			return attach.Exit{}, failf(ErrInvalid, "%w", err)
		}
	}
	exit, err := session.Relay(context.WithoutCancel(ctx), streams)
	if errors.Is(err, attach.ErrGone) {
		return attach.Exit{Code: lostStatus}, err
	}
	return exit, err
}

func (s Streams) rowsAndCols() (rows, cols uint16, ok bool) {
	size := s.size()
	if size == nil {
		return 0, 0, false
	}
	return size.rows, size.cols, true
}

// raw gives every key to the container: its own terminal is to act on them.
func (s Streams) raw() (restore func(), err error) {
	if s.In == nil || !term.IsTerminal(int(s.In.Fd())) {
		return func() {}, nil
	}
	fd := int(s.In.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	return func() { term.Restore(fd, before) }, nil
}
