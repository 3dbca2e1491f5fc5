package oci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"minict/internal/caught"
	containers "minict/runtime/oci"
)

// foreground is what a command does for a process that it stays with: signals
// and, where one side is a terminal, what is read and written go through it.
type foreground struct {
	Streams
	signals *caught.Signals
	master  *os.File         // of the process's terminal, or nil
	state   *term.State      // of our own, if it was changed
	theirs  [3]*os.File      // ends of pipes, for the process
	outputs [3]chan struct{} // closed when what was written there is through
	ours    [3]*os.File      // the other ends
}

// forwarded are the signals that people send to a program.
var forwarded = []unix.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGCONT,
}

// catch begins to catch signals: those that come before the process is there
// wait for it.
func (fg *foreground) catch() (err error) {
	if fg.signals, err = caught.Catch(forwarded...); err != nil {
		err = fmt.Errorf("catch signals: %w", err)
	}
	return err
}

// streams gives the process what we have, but no terminal: whoever holds one
// open can put words into its user's mouth (TIOCSTI, TIOCLINUX).
func (fg *foreground) streams() (containers.Streams, error) {
	own := [3]*os.File{fg.In, fg.Out, fg.Err}
	for i, f := range own {
		if !term.IsTerminal(int(f.Fd())) {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return containers.Streams{}, err
		}
		fg.theirs[i], fg.ours[i] = w, r
		if i == 0 {
			fg.theirs[i], fg.ours[i] = r, w
		}
		own[i] = fg.theirs[i]
	}
	return containers.Streams{In: own[0], Out: own[1], Err: own[2]}, nil
}

// takeTerminal is handed the terminal of the process.
func (fg *foreground) takeTerminal(master *os.File) error {
	fg.master = master
	return nil
}

// size makes the process's terminal as large as ours.
func (fg *foreground) size(p *specs.Process) {
	if ws, err := unix.IoctlGetWinsize(int(fg.In.Fd()), unix.TIOCGWINSZ); err == nil && p.ConsoleSize == nil {
		p.ConsoleSize = &specs.Box{Height: uint(ws.Row), Width: uint(ws.Col)}
	}
}

// wait passes on what there is to be passed on until the process has ended, and
// gives its exit status, 128+n after signal n.
func (fg *foreground) wait(pid, pidfd int) (status, error) {
	if err := fg.relay(); err != nil {
		return 0, err
	}
	if err := fg.forward(pidfd); err != nil {
		return 0, err
	}
	ended, err := containers.Wait(pid, pidfd)
	if err != nil {
		return 0, err
	}
	fg.drain()
	if ended.Signaled() {
		return status(128 + int(ended.Signal())), nil
	}
	return status(ended.ExitStatus()), nil
}

// forward sends the signals that we get on to the process, until it has ended.
func (fg *foreground) forward(pidfd int) error {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}, {Fd: int32(fg.signals.FD()), Events: unix.POLLIN}}
	for fds[0].Revents == 0 {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for the process: %w", err)
		}
		for s := fg.signals.Take(); s != 0; s = fg.signals.Take() {
			if s == unix.SIGWINCH {
				fg.resize()
				continue
			}
			unix.PidfdSendSignal(pidfd, s, nil, 0)
		}
	}
	return nil
}

func (fg *foreground) resize() {
	if fg.master == nil {
		return
	}
	if ws, err := unix.IoctlGetWinsize(int(fg.In.Fd()), unix.TIOCGWINSZ); err == nil {
		unix.IoctlSetWinsize(int(fg.master.Fd()), unix.TIOCSWINSZ, ws)
	}
}

// relay begins to copy.
func (fg *foreground) relay() (err error) {
	if fg.master != nil {
		if term.IsTerminal(int(fg.In.Fd())) {
			if fg.state, err = term.MakeRaw(int(fg.In.Fd())); err != nil {
				return err
			}
			if err := fg.signals.Add(unix.SIGWINCH); err != nil {
				return fmt.Errorf("catch signals: %w", err)
			}
			fg.resize() // it may have changed meanwhile
		}
		go io.Copy(fg.master, fg.In)
		fg.copy(1, fg.Out, fg.master)
		return nil
	}
	for i, f := range fg.theirs {
		if f == nil {
			continue
		}
		f.Close()
		switch i {
		case 0:
			go func() {
				io.Copy(fg.ours[0], fg.In)
				fg.ours[0].Close()
			}()
		case 1:
			fg.copy(1, fg.Out, fg.ours[1])
		case 2:
			fg.copy(2, fg.Err, fg.ours[2])
		}
	}
	return nil
}

func (fg *foreground) copy(i int, to, from *os.File) {
	fg.outputs[i] = make(chan struct{})
	go func() {
		io.Copy(to, from) // a terminal's master ends with EIO
		close(fg.outputs[i])
	}()
}

// drain waits until what was written is through. Somebody in the background may
// still hold the output open: he is not waited for.
func (fg *foreground) drain() {
	const grace = time.Second
	late := time.After(grace)
	for _, done := range fg.outputs {
		if done == nil {
			continue
		}
		select {
		case <-done:
		case <-late:
			return
		}
	}
}

// close gives our signals and our terminal back as they were.
func (fg *foreground) close() error {
	if fg.signals != nil {
		fg.signals.Stop()
	}
	if fg.state == nil {
		return nil
	}
	return errors.Join(term.Restore(int(fg.In.Fd()), fg.state))
}
