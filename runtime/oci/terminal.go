package oci

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"minict/runtime"
)

// terminal is where the master side of the terminal arrives that a plan opens in
// the container: a socket, or -1 for none.
type terminal int

// addTerminal adds the other end of that socket.
func (in *inputs) addTerminal() (terminal, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socketpair", err)
	}
	in.keep("", pair[0])
	in.keep(runtime.InputConsole, pair[1])
	return terminal(pair[0]), nil
}

// pass hands what has arrived to who wants it.
func (t terminal) pass(to func(*os.File) error) error {
	if t < 0 || to == nil {
		return nil
	}
	fd, err := receive(int(t))
	if err != nil {
		return fmt.Errorf("receive terminal: %w", err)
	}
	return to(os.NewFile(uintptr(fd), "/dev/ptmx"))
}

// receive takes one descriptor that has come already.
func receive(sock int) (int, error) {
	control := make([]byte, unix.CmsgSpace(4))
	var n int
	err := retry(func() (err error) {
		_, n, _, _, err = unix.Recvmsg(sock, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		return err
	})
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return -1, err
	}
	if len(messages) != 1 {
		return -1, errors.New("no descriptor came")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// patience is how long an engine's socket may take to accept.
const patience = 5 * time.Second

// Dial connects to a socket on which an engine waits for a descriptor.
func Dial(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err == nil {
		err = connect(fd, path)
	}
	if err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "connect", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// connect takes a path of any length: an address has room for 107 bytes only.
func connect(fd int, path string) error {
	const longest = 107
	if len(path) > longest {
		at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(at)
		path = fmt.Sprintf("/proc/self/fd/%d", at)
	}
	return retry(func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) })
}

// Send hands a descriptor over, with a name that says what it is.
func Send(sock *os.File, name string, fd int) error {
	rights := unix.UnixRights(fd)
	err := retry(func() error {
		return unix.Sendmsg(int(sock.Fd()), []byte(name), rights, nil, unix.MSG_NOSIGNAL)
	})
	if err != nil {
		return &os.PathError{Op: "send a descriptor to", Path: sock.Name(), Err: err}
	}
	return nil
}
