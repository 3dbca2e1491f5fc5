// Package attach is the minict command's side of a container's monitor: it
// starts monitors and talks to them (package wire).
//
// To start a container:
//
//	m, err := attach.Spawn(state)         // early: it gets ready meanwhile
//	defer m.Close()                       // if Start isn't reached, it ends
//	s, err := m.Start(attach.Container{…})
//	…                                     // close Lock and your inputs
//	exit, err := s.Relay(ctx, streams)    // foreground; or s.Close()
//	err = m.Wait()                        // everything is cleaned up
//
// To run one more process in it, or to look on:
//
//	s, err := attach.Exec(runDir, attach.Process{…})
//	s, err := attach.Attach(runDir, attach.Wishes{…})
//	exit, err := s.Relay(ctx, streams)
//
// # Inputs
//
// A plan names the descriptors that it wants (plan.Plan.Inputs). Those called
// stdin, stdout, stderr and console are made by the monitor; all others have
// to be in Process.Inputs, and stay the caller's to close as soon as the call
// returns. The input "init" is Monitor.Program. The monitor closes its own
// inputs when the process runs, so a plan's Undo can't use them.
package attach

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"minict/container/wire"
	"minict/network/resolver"
	"minict/runtime/plan"
)

// ErrGone says that the monitor has ended without a word: it was killed. The
// container is gone with it, or as good as: the sweep cleans up.
var ErrGone = errors.New("the container's monitor is gone")

// Failure says what went wrong when a process was to be started. Nothing of
// it is left. If Step is not negative, package runtime makes the sentence:
// runtime.Failed(plan, f.Step, f.Errno, f.Exec).
type Failure struct {
	Step  int // index in plan.Plan.Steps, or -1
	Errno unix.Errno
	Exec  bool   // the step was execve of the user's program
	Doing string // what the monitor was doing, if Step is -1: "listen"
	// Clocks are the plan's, if Process.Timed.
	Clocks []uint64
}

func (f *Failure) Error() string {
	what := f.Doing
	if f.Step >= 0 {
		what = fmt.Sprintf("step %d", f.Step)
	}
	if f.Errno == 0 {
		return what + ": killed during set-up"
	}
	return what + ": " + f.Errno.Error()
}

// Unwrap gives the errno.
func (f *Failure) Unwrap() error {
	if f.Errno == 0 {
		return nil
	}
	return f.Errno
}

// Process is a process to be started: a container's first, or one more.
type Process struct {
	Plan   *plan.Plan
	Inputs map[string]*os.File // see above
	// Terminal says that the plan makes a terminal and sends its master
	// side to the input "console". What goes to stderr comes as stdout then.
	Terminal bool
	// Stdin gives it an input that can be written to; else it is /dev/null.
	Stdin bool
	// StdinOnce closes the input when a writer ends, or its connection
	// does; without it others can attach and go on writing. Not with a
	// terminal.
	StdinOnce bool
	// Output sends the output on this connection. It is set for all that
	// Relay is called for.
	Output bool
	// Timed asks for the time of each step, Session.Clocks.
	Timed bool
}

// Container is a container to be started. Directories are absolute paths.
type Container struct {
	Process
	// Lock is the file "lock" in RunDir, locked (package flock). The
	// monitor holds it as long as it lives; close it after Start.
	Lock *os.File
	// RunDir is STATE/containers/ID. The monitor writes the file "state"
	// into it and listens on "sock". At the end, or if the start fails, it
	// is removed with all that is in it, "lock" last.
	//
	//	state  {"pid":1,"startTime":2,"monitor":3,"started":"RFC 3339"}
	RunDir string
	// LogDir takes the files "log" and, when that has LogMax bytes (0: 16
	// MiB), "log.1", each line as Kubernetes' runtimes have it:
	// "2026-11-23T17:20:00.123456789Z stdout F text", P for a part of a line.
	// Empty for no log.
	LogDir string
	LogMax uint64
	// ExitDir takes the file "exit" when the container has ended; empty
	// for none. status is 128+signal for a signal; a start that failed
	// writes none.
	//
	//	exit   {"status":137,"signal":9,"oomKilled":true,"finished":"RFC 3339"}
	ExitDir string
	// Cgroup is the directory of the container's cgroup if its processes
	// have to be killed when the first one has ended: without a PID
	// namespace of its own. On cgroup v1 choose the freezer's, if there is
	// one.
	Cgroup string
	// OOMFile is a file with a line "OOMKey n" that counts kills for want of
	// memory: memory.events (v2), memory.oom_control (v1), "oom_kill".
	OOMFile, OOMKey string
	// StopSignal is passed on when somebody tells the monitor to end
	// (SIGTERM); it kills after StopTimeout milliseconds. 0 kills at once.
	StopSignal  unix.Signal
	StopTimeout uint32
	// Remove are paths of files and directory trees that the monitor
	// removes in this order when the container has ended (AtEnd), or if
	// it could not be started (OnFailure). RunDir comes after them by itself.
	Remove          []string
	RemoveAtEnd     bool
	RemoveOnFailure bool
	// Held are kept open until nothing is left of the container: sockets that
	// reserve its ports. They stay the caller's to close after Start.
	Held []*os.File
	// Resolver is the container's name server, see Keep; nil for none. It stays
	// the caller's to close after Start.
	Resolver *resolver.Sockets
	// SpareDir is where the last of Remove is kept for the next container if
	// it is as good as new: a directory with the empty ones upper and work.
	// Empty for nowhere. Only StartHere does so: who else has the root file
	// system open, and the two with it, a monitor can't know.
	SpareDir string
}

// Wishes say what an attachment is for.
type Wishes struct {
	Output bool // send output; without it there is only the end to wait for
	// Stdin: this connection may write to the input, and ends it if the
	// container's is of the kind that ends (StdinOnce).
	Stdin bool
}

// Exec starts one more process in the container whose run directory this is.
// The error is a *Failure if the start failed, fs.ErrNotExist or
// ECONNREFUSED if the container does not run.
func Exec(runDir string, p Process) (*Session, error) {
	s, err := dial(runDir)
	if err != nil {
		return nil, err
	}
	inputs, fds, err := p.inputs()
	if err != nil {
		s.Close()
		return nil, err
	}
	e := wire.Exec{Flags: p.flags(), Inputs: inputs}
	return s.start(p.Plan, e.Append(nil), nil, fds)
}

// Attach connects to the first process of the container whose run directory
// this is. Errors are as Exec's.
func Attach(runDir string, w Wishes) (*Session, error) {
	s, err := dial(runDir)
	if err != nil {
		return nil, err
	}
	var f wire.Flags
	if w.Output {
		f |= wire.FlagOutput
	}
	if w.Stdin {
		f |= wire.FlagStdin
	}
	err = s.send(wire.AppendAttach(nil, f))
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		err = ErrGone // it was about to end
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s.started()
}

func (p *Process) flags() (f wire.Flags) {
	for _, wish := range []struct {
		set  bool
		flag wire.Flags
	}{
		{p.Terminal, wire.FlagTerminal}, {p.Stdin, wire.FlagStdin}, {p.StdinOnce, wire.FlagStdinOnce},
		{p.Output, wire.FlagOutput}, {p.Timed, wire.FlagTimed},
	} {
		if wish.set {
			f |= wish.flag
		}
	}
	return f
}

// inputs says where the monitor gets the inputs of the plan from, and which
// descriptors have to be sent for that, in order.
func (p *Process) inputs() (list []wire.Input, fds []int, err error) {
	own := map[string]wire.Input{
		"stdin": wire.InputStdin, "stdout": wire.InputStdout, "stderr": wire.InputStderr, "console": wire.InputConsole,
	}
	if len(p.Plan.Inputs) > wire.MaxInputs {
		return nil, nil, fmt.Errorf("start process: %d descriptors are too many", len(p.Plan.Inputs))
	}
	for _, name := range p.Plan.Inputs {
		in, ok := own[name]
		if !ok {
			f := p.Inputs[name]
			if f == nil {
				return nil, nil, fmt.Errorf("start process: no descriptor for the plan's input %q", name)
			}
			fds = append(fds, int(f.Fd()))
		}
		list = append(list, in)
	}
	return list, fds, nil
}
