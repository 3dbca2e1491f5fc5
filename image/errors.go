package image

import (
	"errors"

	"minict/internal/fault"
)

// What can be wrong with an image, for who has to choose a message or an exit
// code. Errors of this package and those below it wrap one of them where the
// reason is known, and are one line that names the object.
var (
	// ErrReference: the user's reference or ID is not one.
	ErrReference = errors.New("invalid reference")
	// ErrUnknown: neither the store nor the registry has the image.
	ErrUnknown = errors.New("not found")
	// ErrAmbiguous: the start of an ID fits more than one image.
	ErrAmbiguous = errors.New("ambiguous image ID")
	// ErrUnauthorized: the registry or its token server refused the credentials.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrUnreachable: no connection to the registry, or no answer in time.
	ErrUnreachable = errors.New("unreachable")
	// ErrRefused: the registry asked for something that this client doesn't
	// do, such as sending a password to a third host.
	ErrRefused = errors.New("refused")
	// ErrPlatform: the image is there, but not for this platform.
	ErrPlatform = errors.New("no such platform")
	// ErrCorrupt: the bytes are not what their digest, size or type promised,
	// or are no image.
	ErrCorrupt = errors.New("corrupt")
	// ErrConflict: the image is in use, so that it can't be removed.
	ErrConflict = errors.New("conflict")
)

// Because is an error of a kind that its text says in better words than the
// kind's own.
func Because(kind error, format string, args ...any) error {
	return fault.Errorf(kind, format, args...)
}
