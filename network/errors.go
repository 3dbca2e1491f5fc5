package network

import (
	"errors"
	"fmt"
)

// What kind of error it is. Test with errors.Is; the text of the error that
// wraps a kind is a whole line without it.
var (
	ErrInvalid     = errors.New("invalid request")          // asked wrongly
	ErrNotFound    = errors.New("no such network")          //
	ErrExists      = errors.New("network exists")           //
	ErrInUse       = errors.New("network is in use")        // a container lives on it
	ErrTaken       = errors.New("address is taken")         // by another container, or a port by anybody
	ErrExhausted   = errors.New("no address is free")       // or no bridge port
	ErrUnavailable = errors.New("networks can't be set up") // no privilege, or a part that the kernel has not
)

// fault is an error with a kind: its text is the user's line, its kind is for
// errors.Is, its cause for both.
type fault struct {
	kind  error
	text  string
	cause error
}

func (f *fault) Error() string   { return f.text }
func (f *fault) Unwrap() []error { return []error{f.kind, f.cause} }

// failf is fmt.Errorf for an error of a kind. Causes are wrapped with %w.
func failf(kind error, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &fault{kind: kind, text: err.Error(), cause: err}
}

func invalidf(format string, args ...any) error { return failf(ErrInvalid, format, args...) }
