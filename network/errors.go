package network

import (
	"errors"

	"minict/internal/fault"
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

func failf(kind error, format string, args ...any) error {
	return fault.Errorf(kind, format, args...)
}

func invalidf(format string, args ...any) error { return failf(ErrInvalid, format, args...) }
