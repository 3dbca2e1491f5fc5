package netlink

import (
	"golang.org/x/sys/unix"
)

// Socket is one to the kernel, of the network namespace that the thread was in
// which opened it. It is for one goroutine at a time.
type Socket struct {
	fd  int
	seq uint32 // of the last message that was sent
	buf []byte
}

// answerSize is the least that the kernel takes for a part of a dump; other
// answers are smaller.
const answerSize = 8 << 10

// Open opens a socket of a protocol: NETLINK_ROUTE, NETLINK_NETFILTER.
// EPROTONOSUPPORT says that the kernel has not that part.
func Open(protocol int) (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, err
	}
	return &Socket{fd: fd, buf: make([]byte, answerSize)}, nil
}

// Close closes it.
func (s *Socket) Close() error { return unix.Close(s.fd) }

// Leave closes it, and has the kernel take its time for that when nobody waits:
// not even the end of this process, which else has to close what it has open. The
// socket is sent into a queue together with the only other thing that leads to the
// queue, so that nothing leads there any more. The kernel looks for such queues,
// and since Linux 6.9 it clears them in a thread of its own; before, it does that
// here, as Close would.
func (s *Socket) Leave() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return s.Close()
	}
	in, out := pair[0], pair[1]
	err = unix.Sendmsg(in, []byte{0}, unix.UnixRights(out, s.fd), nil, 0)
	for _, fd := range []int{s.fd, out, in} {
		if e := unix.Close(fd); err == nil {
			err = e
		}
	}
	return err
}

// Error says which message of a request the kernel refused, and why.
type Error struct {
	Index int // from 0
	Errno unix.Errno
}

func (e *Error) Error() string { return e.Errno.Error() }
func (e *Error) Unwrap() error { return e.Errno }

// Do sends a request and waits until the kernel has done all of it: even if
// it refuses one of several messages, it goes on with the next ones. Each, if
// not nil, gets what the kernel answers: its kind and its body, which is only
// for the time of the call. The error is an *Error of the first that was
// refused, or that of a system call.
//
// Only the last message asks for an acknowledgement. The kernel tells of a
// refused one unasked. A list (NLM_F_DUMP) that others have changed while it was
// made is asked for again; if they never stop, the error is EAGAIN.
func (s *Socket) Do(r *Request, each func(kind uint16, body []byte)) error {
	if r.count == 0 {
		return nil
	}
	r.finish()
	if !dumps(r.buf) {
		return s.once(r, each)
	}
	type answer struct {
		kind uint16
		body []byte
	}
	const tries = 100
	for range tries {
		var list []answer
		err := s.once(r, func(kind uint16, body []byte) {
			list = append(list, answer{kind, append([]byte(nil), body...)})
		})
		if err == errChanged {
			continue
		}
		for _, a := range list {
			if each != nil {
				each(a.kind, a.body)
			}
		}
		return err
	}
	return unix.EAGAIN
}

// dumps says whether a request, of one message, asks for a list.
func dumps(b []byte) bool { return get16(b[6:])&unix.NLM_F_DUMP == unix.NLM_F_DUMP }

// errChanged says that a list was changed while it was made.
const errChanged = unix.ERESTART

// once is Do without another try.
func (s *Socket) once(r *Request, each func(kind uint16, body []byte)) error {
	first, last := s.number(r)
	if err := s.send(r.buf); err != nil {
		return err
	}
	return s.receive(first, last, get16(r.buf[4:]) == batchBegin, each)
}

// number numbers the messages. The last is the one that is acknowledged.
func (s *Socket) number(r *Request) (first, last uint32) {
	acknowledged := r.ack
	if acknowledged == 0 {
		acknowledged = r.start
	}
	first = s.seq + 1
	for at := 0; at < len(r.buf); at += int(get32(r.buf[at:])) {
		s.seq++
		put32(r.buf[at+8:], s.seq)
		if at == acknowledged {
			last = s.seq
		}
	}
	if !dumps(r.buf[acknowledged:]) {
		put16(r.buf[acknowledged+6:], get16(r.buf[acknowledged+6:])|unix.NLM_F_ACK)
	}
	return first, last
}

// send sends what can be larger than the kernel lets others send at once: who
// may change networks may ask for more.
func (s *Socket) send(b []byte) error {
	for enlarged := false; ; {
		// The address is the kernel's if there is none.
		_, err := unix.SendmsgN(s.fd, b, nil, nil, 0)
		switch {
		case err == unix.EINTR:
		case err == unix.EMSGSIZE && !enlarged:
			enlarged = true
			if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(b)); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

func (s *Socket) receive(first, last uint32, batch bool, each func(kind uint16, body []byte)) (failed error) {
	changed := false
	for {
		n, _, err := unix.Recvfrom(s.fd, s.buf, unix.MSG_TRUNC)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n > len(s.buf) {
			err = unix.EMSGSIZE
		}
		if err != nil {
			return err
		}
		for h, body := range messages(s.buf[:n]) {
			seq := h.seq
			if int32(seq-first) < 0 || int32(last-seq) < 0 {
				continue // what an earlier request that went wrong has left
			}
			changed = changed || h.flags&unix.NLM_F_DUMP_INTR != 0
			switch h.kind {
			case unix.NLMSG_DONE:
				if errno := int32(GetWord(body)); errno < 0 && failed == nil {
					failed = &Error{int(seq - first), unix.Errno(-errno)}
				}
			case unix.NLMSG_ERROR:
				if errno := int32(GetWord(body)); errno != 0 && failed == nil {
					failed = &Error{int(seq - first), unix.Errno(-errno)}
				}
			default:
				if each != nil {
					each(h.kind, body)
				}
				continue
			}
			// A batch that is refused as a whole is answered by one
			// error, of its first message.
			if seq == last || batch && seq == first {
				if failed == nil && changed {
					failed = errChanged
				}
				return failed
			}
		}
	}
}

// header is what counts of struct nlmsghdr.
type header struct {
	kind  uint16
	flags uint16
	seq   uint32
}

// messages goes through the messages of one answer, as far as they are whole.
func messages(b []byte) func(yield func(header, []byte) bool) {
	return func(yield func(header, []byte) bool) {
		for len(b) >= unix.SizeofNlMsghdr {
			length := get32(b)
			if length < unix.SizeofNlMsghdr || uint64(length) > uint64(len(b)) {
				return
			}
			if !yield(header{get16(b[4:]), get16(b[6:]), get32(b[8:])}, b[unix.SizeofNlMsghdr:length]) {
				return
			}
			b = b[min((int(length)+3)&^3, len(b)):]
		}
	}
}
