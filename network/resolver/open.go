package resolver

import (
	"golang.org/x/sys/unix"

	"minict/internal/thread"
)

// Address is where a container finds its name server.
const Address = "127.0.0.11"

var addressBytes = [4]byte{127, 0, 0, 11}

// port is where the sockets really are. On port 53 they would keep the container
// from having a name server of its own there: who wants port 53 of all addresses
// can't have it while somebody has it of one. Nobody else wants this one (it was the
// Xerox clearinghouse's).
const port = 54

// Sockets are those of one name server. They are descriptors, close-on-exec.
type Sockets struct {
	Packets int // UDP
	Streams int // TCP, listening
}

// Close closes them.
func (s Sockets) Close() {
	unix.Close(s.Packets)
	unix.Close(s.Streams)
}

// ErrThere says that the namespace has a name server already.
var ErrThere error = &failure{"listen on " + Address, unix.EADDRINUSE}

// failure is an error of a system call.
type failure struct {
	doing string
	errno error
}

func (f *failure) Error() string { return "name server: " + f.doing + ": " + f.errno.Error() }
func (f *failure) Unwrap() error { return f.errno }

// Open makes the sockets in the network namespace that the calling thread is in,
// and sees to it that they are found at port 53. It sets the loopback device up,
// which may not have happened yet: without it the address is nobody's. The error is
// ErrThere if there is a name server already; it unwraps to EOPNOTSUPP,
// EPROTONOSUPPORT or ENOENT if the kernel has no nf_tables.
func Open() (s Sockets, err error) {
	if err := loopbackUp(); err != nil {
		return s, &failure{"set lo up", err}
	}
	if s.Packets, err = listening(unix.SOCK_DGRAM); err != nil {
		return s, err
	}
	if s.Streams, err = listening(unix.SOCK_STREAM); err != nil {
		unix.Close(s.Packets)
		return s, err
	}
	if err = redirect(); err != nil {
		s.Close()
	}
	return s, err
}

// OpenIn is Open in a network namespace that is open as fd, on a thread that is
// then gone.
func OpenIn(fd int) (s Sockets, err error) {
	err = thread.Run(func() (err error) {
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return &failure{"enter the network namespace", err}
		}
		s, err = Open()
		return err
	})
	return s, err
}

func listening(kind int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|socketFlags, 0)
	if err != nil {
		return -1, &failure{"open a socket", err}
	}
	err = unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: addressBytes})
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, maxStreams)
	}
	switch err {
	case nil:
		return fd, nil
	case unix.EADDRINUSE:
		err = ErrThere
	default:
		err = &failure{"listen on " + Address, err}
	}
	unix.Close(fd)
	return -1, err
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo); err != nil || lo.Uint16()&unix.IFF_UP != 0 {
		return err
	}
	lo.SetUint16(lo.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
