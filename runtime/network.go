package runtime

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/internal/thread"
)

// Network is a new network namespace that is being made.
type Network struct {
	done chan struct{}
	file *os.File
	err  error
}

// MakesNetwork says whether a container has a new network namespace that NewNetwork
// can make: one that belongs to a new user namespace is made in there.
func MakesNetwork(s *specs.Spec) bool {
	if s.Linux == nil {
		return false
	}
	made := false
	for _, ns := range s.Linux.Namespaces {
		switch {
		case ns.Type == specs.UserNamespace:
			return false
		case ns.Type == specs.NetworkNamespace:
			made = ns.Path == ""
		}
	}
	return made
}

// NewNetwork begins to make a network namespace with its loopback interface up, if
// that is permitted (LoopbackStaysDown), on a thread that ends with that: it takes
// the kernel half a millisecond, which another processor has while the caller goes
// on. What is to be done inside it, such as to open sockets, is done there too,
// before File gives it. Close it.
func NewNetwork(inside ...func() error) *Network {
	n := &Network{done: make(chan struct{})}
	thread.Start(func() error {
		defer close(n.done)
		n.err = n.make(inside)
		return nil
	})
	return n
}

func (n *Network) make(inside []func() error) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("new namespace network: %w", err)
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /proc/thread-self/ns/net: %w", err)
	}
	n.file = os.NewFile(uintptr(fd), "network namespace")
	if err := loopbackUp(); err != nil && err != unix.EPERM {
		return fmt.Errorf("bring up lo: %w", err)
	}
	for _, do := range inside {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// File waits for the namespace, and gives it as input InputNetwork. It stays
// the Network's.
func (n *Network) File() (*os.File, error) {
	<-n.done
	return n.file, n.err
}

// Close lets go of the namespace: it ends when nothing else has it.
func (n *Network) Close() error {
	if <-n.done; n.file == nil {
		return nil
	}
	return n.file.Close()
}

// loopbackUp brings up the interface lo of the calling thread's network namespace:
// it is there in each new one, but down.
func loopbackUp() error {
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(sock, unix.SIOCSIFFLAGS, lo)
}
