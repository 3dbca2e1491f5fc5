package registry

import "minict/image"

// What a registry can answer, for who chooses a message or tries elsewhere.
var (
	ErrUnknown      = image.ErrUnknown
	ErrUnauthorized = image.ErrUnauthorized
	ErrUnreachable  = image.ErrUnreachable
	ErrRefused      = image.ErrRefused
	ErrCorrupt      = image.ErrCorrupt
)

// because is an error of a kind, in better words than the kind's own.
func because(kind error, format string, args ...any) error {
	return image.Because(kind, format, args...)
}
