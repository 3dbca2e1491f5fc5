package runtime

import (
	"encoding/binary"
	"fmt"
	"syscall"

	goruntime "runtime"

	"golang.org/x/sys/unix"
)

// rtnetlink is a socket to the kernel's routing, rtnetlink(7): of the network
// namespace that the thread was in which opened it.
type rtnetlink struct {
	fd  int
	seq uint32
}

func openNetlink() (*rtnetlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return &rtnetlink{fd: fd}, nil
}

// openNetlinkOf opens one in the network namespace of a process.
func openNetlinkOf(pidfd int) (s *rtnetlink, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		goruntime.LockOSThread() // and never unlock it: the thread ends, and is not taken back
		if err = unix.Setns(pidfd, unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter the container's network namespace: %w", err)
			return
		}
		s, err = openNetlink()
	}()
	<-done
	return s, err
}

func (s *rtnetlink) close() { unix.Close(s.fd) }

// call sends a request and gives the kernel's answer: the messages of a dump,
// or nothing but an error.
func (s *rtnetlink) call(kind uint16, flags int, body []byte) ([]syscall.NetlinkMessage, error) {
	s.seq++
	request := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	binary.NativeEndian.PutUint32(request[0:], uint32(cap(request)))
	binary.NativeEndian.PutUint16(request[4:], kind)
	binary.NativeEndian.PutUint16(request[6:], uint16(unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags))
	binary.NativeEndian.PutUint32(request[8:], s.seq)
	if err := unix.Sendto(s.fd, append(request, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	var all []syscall.NetlinkMessage
	for buf := make([]byte, 1<<16); ; {
		n, _, err := unix.Recvfrom(s.fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		messages, err := syscall.ParseNetlinkMessage(append([]byte(nil), buf[:n]...))
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return all, nil
			case unix.NLMSG_ERROR:
				return all, netlinkError(m.Data)
			}
			all = append(all, m)
		}
	}
}

// netlinkError reads struct nlmsgerr; 0 is an acknowledgement.
func netlinkError(data []byte) error {
	if len(data) < 4 {
		return unix.EBADMSG
	}
	if errno := int32(binary.NativeEndian.Uint32(data)); errno != 0 {
		return unix.Errno(-errno)
	}
	return nil
}

// attribute is struct rtattr with its data.
func attribute(kind uint16, data []byte) []byte {
	a := make([]byte, unix.SizeofRtAttr, unix.SizeofRtAttr+len(data)+3)
	binary.NativeEndian.PutUint16(a[0:], uint16(unix.SizeofRtAttr+len(data)))
	binary.NativeEndian.PutUint16(a[2:], kind)
	a = append(a, data...)
	for len(a)%unix.RTA_ALIGNTO != 0 {
		a = append(a, 0)
	}
	return a
}

func word(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
