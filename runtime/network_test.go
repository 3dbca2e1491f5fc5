package runtime

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What is done inside a new network namespace is done there and nowhere else, and
// its error is that of the namespace.
func TestNewNetworkInside(t *testing.T) {
	var there, here unix.Stat_t
	n := NewNetwork(func() error { return unix.Stat("/proc/thread-self/ns/net", &there) })
	defer n.Close()
	f, err := n.File()
	if err != nil {
		t.Fatal(err)
	}
	var given unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &given); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat("/proc/self/ns/net", &here); err != nil {
		t.Fatal(err)
	}
	if there.Ino != given.Ino || there.Ino == here.Ino {
		t.Errorf("inside namespace %d; it is %d, the caller's is %d", there.Ino, given.Ino, here.Ino)
	}

	failing := NewNetwork(func() error { return os.ErrInvalid }, func() error { panic("after a failure") })
	defer failing.Close()
	if _, err := failing.File(); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
