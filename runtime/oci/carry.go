package oci

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime"
	"minict/runtime/launch"
	"minict/runtime/plan"
)

// carryOut carries out a plan with the descriptors that it names. What the
// plan's Host phase made is undone if it fails.
func carryOut(p *plan.Plan, in *inputs, at launch.Pause) (*launch.Child, error) {
	fds := make([]int, len(p.Inputs))
	for i, name := range p.Inputs {
		fd, ok := in.fds[name]
		if !ok {
			return nil, fmt.Errorf("the plan wants %s: %w", name, launch.ErrInputs)
		}
		fds[i] = fd
	}
	prog, err := launch.New(p.Ready(), fds, false)
	if err != nil {
		return nil, err
	}
	defer prog.Close()
	err = prog.Run(plan.Host)
	var child *launch.Child
	if err == nil {
		child, err = prog.Start(at)
	}
	if err != nil {
		return nil, undone(p, prog, err)
	}
	return child, nil
}

// undone undoes what a plan's Host phase has made, and tells which step failed.
func undone(p *plan.Plan, prog *launch.Program, err error) error {
	var f *launch.Failure
	if errors.As(err, &f) {
		err = stepError(p, f)
	}
	if undo := prog.Run(plan.Undo); undo != nil {
		err = fmt.Errorf("%w (and it could not be undone: %w)", err, undo)
	}
	return err
}

func stepError(p *plan.Plan, f *launch.Failure) error {
	e := runtime.Failed(p, f.Step, f.Errno, f.Exec)
	if e.Exec || e.Step.Verb == "exec" {
		return execError(e.Step.Object, e.Errno)
	}
	return e
}

// execError tells why a program could not be executed, in the words by which
// engines know that their user has named it wrongly.
func execError(name string, errno unix.Errno) error {
	if errno == unix.ENOENT && !strings.Contains(name, "/") {
		return fmt.Errorf("exec: %q: executable file not found in $PATH", name)
	}
	return fmt.Errorf("exec: %q: %w", name, errno)
}

// Streams are the standard streams of a process.
type Streams struct{ In, Out, Err *os.File }

// inputs are descriptors for a plan, by their names, some of which it owns.
type inputs struct {
	fds map[string]int
	own []int
}

// inputs gives what a process's plan wants handed: the streams, and a socket for
// its terminal.
func (s Streams) inputs(p *specs.Process) (*inputs, terminal, error) {
	in, err := s.copies()
	if err != nil || !p.Terminal {
		return in, -1, err
	}
	t, err := in.addTerminal()
	if err != nil {
		in.close()
	}
	return in, t, err
}

// copies gives the streams as inputs, away from the numbers that a plan fills.
func (s Streams) copies() (*inputs, error) {
	in := &inputs{fds: make(map[string]int)}
	const behind = 3
	for name, f := range map[string]*os.File{
		runtime.InputStdin: s.In, runtime.InputStdout: s.Out, runtime.InputStderr: s.Err,
	} {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, behind)
		if err != nil {
			in.close()
			return nil, fmt.Errorf("%s is not open: %w", name, err)
		}
		in.keep(name, fd)
	}
	return in, nil
}

// keep adds a descriptor that close closes.
func (in *inputs) keep(name string, fd int) {
	in.fds[name] = fd
	in.own = append(in.own, fd)
}

func (in *inputs) close() {
	for _, fd := range in.own {
		unix.Close(fd)
	}
}
