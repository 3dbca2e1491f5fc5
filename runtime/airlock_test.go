package runtime

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// Nobody can write to the program.
func TestAirlockIsSealed(t *testing.T) {
	program, err := NewAirlock()
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if _, err := program.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("write: %v", err)
	}
	if err := program.Truncate(0); !errors.Is(err, unix.EPERM) {
		t.Errorf("truncate: %v", err)
	}
}
