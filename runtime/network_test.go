package runtime

import (
	"errors"
	"fmt"
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

	lo := NewNetwork(func() error {
		addr := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
		sock, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(sock)
		// Where nobody listens, loopback refuses; without it the network is unreachable.
		if err := unix.Connect(sock, addr); !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("connect: %w", err)
		}
		return nil
	})
	defer lo.Close()
	if _, err := lo.File(); err != nil {
		t.Error(err)
	}

	failing := NewNetwork(func() error { return os.ErrInvalid }, func() error { panic("after a failure") })
	defer failing.Close()
	if _, err := failing.File(); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
