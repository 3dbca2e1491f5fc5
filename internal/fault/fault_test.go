package fault

import (
	"errors"
	"io"
	"testing"
)

func TestErrorf(t *testing.T) {
	kind := errors.New("kind")
	err := Errorf(kind, "read %s: %w", "it", io.EOF)
	if err.Error() != "read it: EOF" {
		t.Errorf("text %q", err)
	}
	if !errors.Is(err, kind) || !errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v is not of its kind and its cause alone", err)
	}
}
