// Package fault makes errors of a kind: a sentinel that a caller decides on,
// with a text for the user that does without the sentinel's own.
package fault

import "fmt"

type fault struct {
	kind  error
	cause error
}

func (f *fault) Error() string   { return f.cause.Error() }
func (f *fault) Unwrap() []error { return []error{f.kind, f.cause} }

// Errorf is fmt.Errorf for an error that errors.Is finds to be of a kind, beside
// the causes that are wrapped with %w. Its text is that of the format alone.
func Errorf(kind error, format string, args ...any) error {
	return &fault{kind: kind, cause: fmt.Errorf(format, args...)}
}
