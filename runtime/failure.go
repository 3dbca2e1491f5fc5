package runtime

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// StepError is a step of a plan that went wrong.
type StepError struct {
	Step  plan.Step  // none: the process could not be made
	Errno unix.Errno // 0: killed before it could report, or a plan without a report
	Exec  bool       // the step was execve of the user's program, or the look for it
}

// verbFind is the verb of the step that looks for the user's program.
const verbFind = "find"

// Failed makes the error for a step that a launcher reports by number.
func Failed(p *plan.Plan, step int, errno unix.Errno, exec bool) *StepError {
	e := &StepError{Errno: errno, Exec: exec}
	if step >= 0 && step < len(p.Steps) {
		e.Step = p.Steps[step]
		e.Exec = exec || e.Step.Verb == verbFind
	}
	return e
}

// Error is the one sentence that the user reads.
func (e *StepError) Error() string {
	switch {
	case e.Exec && (e.Errno == unix.ENOENT || e.Errno == unix.ENOTDIR):
		return "exec failed: " + e.Step.Object
	case e.Exec:
		return fmt.Sprintf("exec failed: %s: %v", e.Step.Object, e.Errno)
	case e.Step.Verb == "open namespace" && (e.Errno == unix.EINVAL || e.Errno == unix.ENOTTY):
		kind, file, _ := strings.Cut(e.Step.Object, " ")
		return fmt.Sprintf("join namespace %s: %s is no %s namespace", kind, file, kind)
	case e.Step == (plan.Step{}):
		return fmt.Sprintf("make the process, with its namespaces and in its cgroup: %v", e.Errno)
	case e.Errno == 0:
		return fmt.Sprintf("%s %s: killed during set-up; is the memory limit too low?", e.Step.Verb, e.Step.Object)
	}
	return fmt.Sprintf("%s %s: %v", e.Step.Verb, e.Step.Object, e.Errno)
}

// Unwrap gives the errno.
func (e *StepError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// ExitCode is what a command that failed so exits with: 127 if the program
// was not found, 126 if it was found and can't be executed, 2 if the
// container could not be set up.
func (e *StepError) ExitCode() int {
	switch {
	case !e.Exec:
		return 2
	case errors.Is(e.Errno, unix.ENOENT), errors.Is(e.Errno, unix.ENOTDIR):
		return 127
	default:
		return 126
	}
}
