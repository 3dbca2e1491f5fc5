package container

import (
	"errors"

	"minict/internal/fault"
)

// What kind of error it is decides the exit code of a command. Test with
// errors.Is; the text of the error that wraps a kind is complete without it.
var (
	ErrInvalid     = errors.New("invalid request")          // asked wrongly: exit code 1
	ErrNotFound    = errors.New("no such container")        // exit code 1
	ErrNameTaken   = errors.New("name is taken")            // exit code 1
	ErrRunning     = errors.New("container is running")     // exit code 1
	ErrNotRunning  = errors.New("container is not running") // exit code 1
	ErrSetup       = errors.New("set-up failed")            // exit code 2
	ErrNoCommand   = errors.New("command not found")        // exit code 127
	ErrNotRunnable = errors.New("command not executable")   // exit code 126
)

func failf(kind error, format string, args ...any) error {
	return fault.Errorf(kind, format, args...)
}

func invalidf(format string, args ...any) error { return failf(ErrInvalid, format, args...) }
