package image

import (
	"errors"

	"minict/image/registry"
)

// What can be wrong with an image, for who has to choose a message or an exit
// code. Errors of this package wrap one of them where the reason is known and
// are one line that names the object.
var (
	// ErrReference: the user's reference or ID is not one.
	ErrReference = errors.New("invalid reference")
	// ErrUnknown: neither the store nor the registry has the image.
	ErrUnknown = registry.ErrUnknown
	// ErrAmbiguous: the start of an ID fits more than one image.
	ErrAmbiguous = errors.New("ambiguous image ID")
	// ErrUnauthorized: the registry refused the credentials.
	ErrUnauthorized = registry.ErrUnauthorized
	// ErrUnreachable: no answer came from the registry.
	ErrUnreachable = registry.ErrUnreachable
	// ErrPlatform: the image is there, but not for this platform.
	ErrPlatform = errors.New("no such platform")
	// ErrCorrupt: the bytes are not those that their digest promised, or are
	// no image.
	ErrCorrupt = registry.ErrCorrupt
	// ErrConflict: the image is in use, so that it can't be removed.
	ErrConflict = errors.New("conflict")
)
