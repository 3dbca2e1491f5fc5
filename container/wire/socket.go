package wire

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Send sends one message with descriptors on a socket. A message is sent as a
// whole or not at all; EAGAIN says that the socket, if it does not block, has
// no room for it now, EPIPE and ECONNRESET that nobody is there any more.
func Send(fd int, msg []byte, fds ...int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(fd, msg, oob, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// Receiver receives messages. It has the memory for them, once.
type Receiver struct {
	buf     [MaxMessage + 1]byte
	control [1 << 10]byte // MaxDescriptors and a header: 1,024 bytes
}

// Receive takes the next message from a socket, and the descriptors that came
// with it, close-on-exec. The message is good until the next call. It is empty
// at the end of the connection. A message that does not fit is ErrMessage.
func (r *Receiver) Receive(fd int) (msg []byte, fds []int, err error) {
	iov := unix.Iovec{Base: &r.buf[0]}
	iov.SetLen(len(r.buf))
	hdr := unix.Msghdr{Iov: &iov, Iovlen: 1, Control: &r.control[0]}
	hdr.SetControllen(len(r.control))
	var n uintptr
	var errno unix.Errno
	for {
		n, _, errno = unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&hdr)), unix.MSG_CMSG_CLOEXEC)
		if errno != unix.EINTR {
			break
		}
	}
	if errno != 0 {
		return nil, nil, errno
	}
	if hdr.Controllen > 0 {
		if fds, err = rights(r.control[:hdr.Controllen]); err != nil {
			return nil, nil, err
		}
	}
	if n > MaxMessage || hdr.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		CloseAll(fds)
		return nil, nil, ErrMessage
	}
	return r.buf[:n], fds, nil
}

// Memory is the memory for messages, for who wants to give its pages back
// between two of them.
func (r *Receiver) Memory() []byte { return r.buf[:] }

func rights(control []byte) ([]int, error) {
	list, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	var fds []int
	for i := range list {
		got, err := unix.ParseUnixRights(&list[i])
		if err != nil {
			CloseAll(fds)
			return nil, err
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

// CloseAll closes descriptors.
func CloseAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
