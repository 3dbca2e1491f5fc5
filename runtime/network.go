package runtime

import (
	"errors"
	"fmt"
	"os"
	goruntime "runtime"

	"golang.org/x/sys/unix"
)

// NewNetwork makes a network namespace with its loopback interface up, for
// Options.Network. It lives as long as it is open or a process is in it: it
// has no name in the file system that could stay behind.
//
// It takes longer to make than anything else of a container; with it made
// beforehand, other work can be done meanwhile.
func NewNetwork() (*os.File, error) {
	type result struct {
		ns  *os.File
		err error
	}
	made := make(chan result, 1)
	go func() {
		// The thread is of no other use any more: it ends with the goroutine,
		// which does not unlock it.
		goruntime.LockOSThread()
		ns, err := newNetwork()
		made <- result{ns, err}
	}()
	r := <-made
	if r.err != nil {
		return nil, fmt.Errorf("new namespace network: %w", r.err)
	}
	return r.ns, nil
}

// newNetwork moves the calling thread into a new network namespace.
func newNetwork() (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ns := os.NewFile(uintptr(fd), "network")
	if err := loopbackUp(); err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

// loopbackUp brings lo up in the calling thread's network namespace.
func loopbackUp() error {
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(sock, unix.SIOCSIFFLAGS, req)
}
