package registry

import (
	"errors"
	"fmt"
)

// What a registry can answer, for who chooses a message or tries elsewhere.
var (
	// ErrUnknown: the registry is there and has no such repository, tag or blob.
	ErrUnknown = errors.New("not found")
	// ErrUnauthorized: the registry or its token server refused the credentials.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrUnreachable: no connection, or no answer in time.
	ErrUnreachable = errors.New("unreachable")
	// ErrRefused: the registry asked for something that this client doesn't
	// do, such as sending a password to a third host.
	ErrRefused = errors.New("refused")
	// ErrCorrupt: what came is not what its digest, size or type promised.
	ErrCorrupt = errors.New("corrupt")
)

// Because is an error of a kind that its text says in better words than the
// kind's own.
func Because(kind error, format string, args ...any) error {
	return &fault{kind, fmt.Sprintf(format, args...)}
}

type fault struct {
	kind error
	text string
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.kind }
