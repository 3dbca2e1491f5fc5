package container

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"minict/container/attach"
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

// signals are those that this process got and that are meant for a container.
type signals struct {
	got chan os.Signal
}

// catchSignals catches the signals that people and programs send to a command
// that stands for a container. A signal that was ignored stays so.
func catchSignals(s *Streams) *signals {
	if s == nil || s.NoSignals {
		return nil
	}
	c := &signals{make(chan os.Signal, 16)}
	for _, n := range []os.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2,
		unix.SIGALRM, unix.SIGCONT, unix.SIGWINCH,
	} {
		if !signal.Ignored(n) {
			signal.Notify(c.got, n)
		}
	}
	return c
}

func (c *signals) stop() {
	if c != nil {
		signal.Stop(c.got)
	}
}

// pass passes signals on to the session's process, until stop is closed. With
// a terminal, the one that tells of a new size is about the terminal.
func (c *signals) pass(session *attach.Session, s Streams, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case got := <-c.got:
			n := got.(unix.Signal)
			switch {
			case n == unix.SIGWINCH && session.Terminal:
				if size := s.size(); size != nil {
					session.Resize(size.rows, size.cols)
				}
			case n == unix.SIGWINCH, n == unix.SIGCONT:
			case n == unix.SIGINT, n == unix.SIGTERM, n == unix.SIGHUP, n == unix.SIGQUIT:
				session.Interrupt(n)
			default:
				session.Signal(n)
			}
		}
	}
}

// relay connects streams to a session until its process has ended or the user
// has detached. It stays with a process that runs even if ctx is done.
func relay(ctx context.Context, session *attach.Session, s Streams, c *signals) (attach.Exit, error) {
	streams := attach.Streams{In: s.In, Out: s.Out, Err: s.Err}
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
	if c != nil {
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			c.pass(session, s, stop)
			close(done)
		}()
		defer func() {
			close(stop)
			<-done
			c.stop()
		}()
	}
	exit, err := session.Relay(context.WithoutCancel(ctx), streams)
	if errors.Is(err, attach.ErrGone) {
		return attach.Exit{Code: lostStatus}, err
	}
	return exit, err
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
