package resolver

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Limits of what is forwarded.
const (
	maxQueries  = 256              // over UDP at a time; each has a socket
	maxQuery    = 512              // bytes; a longer one is refused
	maxTries    = 3                // for each, on another server each time if there are several
	patience    = 15 * second / 10 // for a try: three are over when glibc asks again, after 5 s
	domainPort  = 53
	socketFlags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
)

// forwarded is a query that was forwarded over UDP. One that is zero is free.
//
// A forged answer has to come from the server's address (the socket is
// connected), to the socket's port (the kernel chooses one at random), with an id
// that is random too, and with the question: RFC 5452. Each try has another port
// and another id.
type forwarded struct {
	due    int64 // when to try the next server
	client unix.RawSockaddrInet4
	fd     int32 // 0 for none
	tries  int16
	rcode  uint8 // why a server did not answer
	edns   bool
	id     uint16 // that it was sent with
	back   uint16 // the client's
	size   uint16 // what the client can take
	end    uint16 // of the question
	length uint16
	msg    [maxQuery]byte
}

// forward sends the query that was read last, msg, to a server.
func (s *Server) forward(msg []byte, now int64) {
	if rcode := s.refusal(msg); rcode != 0 {
		s.send(s.refuse(s.mem.message, rcode))
		return
	}
	if s.queries == nil {
		s.queries = make([]forwarded, maxQueries)
	}
	var free *forwarded
	back := be.Uint16(msg)
	for i := range s.queries {
		q := &s.queries[i]
		if q.due == 0 {
			free = q
		} else if q.back == back && q.client == s.from && string(q.msg[headerSize:q.end]) == string(msg[headerSize:s.query.end]) {
			return // asked again by somebody impatient
		}
	}
	if free == nil {
		s.send(s.refuse(s.mem.message, rcodeServer))
		return
	}
	*free = forwarded{
		client: s.from, back: back, edns: s.query.edns, rcode: rcodeServer,
		size: uint16(s.query.size), end: uint16(s.query.end), length: uint16(len(msg)),
	}
	copy(free.msg[:], msg)
	s.asked++
	s.try(free, now)
}

// refusal says why a query is not forwarded, 0 if it is.
//
// Where nothing is forwarded there is no other name. "No such name" is the one
// answer that everybody takes at once: musl waits for a better one than
// "refused" and the like until its time is over. The name may be there in the
// next moment, and nobody keeps this answer (RFC 2308, section 5: it comes without a
// SOA record).
func (s *Server) refusal(msg []byte) uint8 {
	switch u := s.upstream(); {
	case u.refused:
		return rcodeName
	case u.n == 0:
		return rcodeServer
	case len(msg) > maxQuery:
		return rcodeRefused
	}
	return 0
}

// try sends a query to the server whose turn it is, or ends it.
func (s *Server) try(q *forwarded, now int64) {
	u := s.upstream()
	for ; u.n > 0 && q.tries < maxTries; q.tries++ {
		q.id = s.random()
		be.PutUint16(q.msg[:], q.id)
		fd := u.list[int(q.tries)%u.n].connect(unix.SOCK_DGRAM)
		if fd < 0 {
			continue
		}
		if !write(fd, q.msg[:q.length]) || s.watch(fd, unix.EPOLL_CTL_ADD, unix.EPOLLIN, serverEvent, s.index(q)) != 0 {
			closeFD(fd)
			continue
		}
		q.fd, q.due = int32(fd), now+patience
		s.wake(q.due)
		return
	}
	s.giveUp(q)
}

// tryNext is try, after a server that has failed: it has not answered in time
// (late), or it has, but for an answer. Who has said that it has none is not
// asked again.
func (s *Server) tryNext(q *forwarded, now int64, late bool) {
	q.close()
	q.tries++
	if !late && int(q.tries) >= s.upstream().n {
		q.tries = maxTries
	}
	s.try(q, now)
}

func (s *Server) index(q *forwarded) int {
	return int((uintptr(unsafe.Pointer(q)) - uintptr(unsafe.Pointer(&s.queries[0]))) / unsafe.Sizeof(*q))
}

// answered reads what came from a server, and passes it on if it is the answer.
func (s *Server) answered(q *forwarded) {
	for range maxBatch {
		if q.fd == 0 {
			return
		}
		n, errno := read(int(q.fd), s.mem.message)
		switch {
		case errno == unix.EAGAIN || errno == unix.EINTR:
			return
		case errno != 0: // nobody listens there (ICMP)
			s.tryNext(q, s.now(), false)
			return
		}
		msg := s.mem.message[:n]
		if !matches(msg, q.msg[:q.length], q.id) {
			continue // a forgery, or something very late
		}
		if failed(msg) && int(q.tries)+1 < s.upstream().n {
			q.rcode = rcodeOf(msg)
			s.tryNext(q, s.now(), false)
			return
		}
		if n > int(q.size) {
			msg = cut(msg)
		}
		be.PutUint16(msg, q.back)
		s.from = q.client
		s.send(msg)
		s.forget(q)
	}
}

// failed says whether an answer says that the server has none, so that another
// may be asked, as glibc does.
func failed(msg []byte) bool {
	rcode := rcodeOf(msg)
	return rcode == rcodeServer || rcode == rcodeRefused || rcode == rcodeNotImpl
}

// giveUp tells the client that nobody has answered.
func (s *Server) giveUp(q *forwarded) {
	be.PutUint16(q.msg[:], q.back)
	s.query.end, s.query.edns = int(q.end), q.edns
	copy(s.mem.message, q.msg[:q.length])
	s.from = q.client
	s.send(s.refuse(s.mem.message, q.rcode))
	s.forget(q)
}

// forget ends a query.
func (s *Server) forget(q *forwarded) {
	if q.due == 0 && q.length == 0 {
		return
	}
	q.close()
	*q = forwarded{}
	s.asked--
	s.settle()
}

func (q *forwarded) close() {
	if q.fd != 0 {
		closeFD(int(q.fd))
		q.fd = 0
	}
}

// connect makes a socket that talks to a server alone; -1 if that can't be. It
// may not be connected yet.
func (v *server) connect(kind int) int {
	family := unix.AF_INET
	if v.size == 16 {
		family = unix.AF_INET6
	}
	n, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family), uintptr(kind|socketFlags), 0)
	if errno != 0 {
		return -1
	}
	const port = domainPort<<8 | domainPort>>8 // in network order, on any of our machines: see the test
	fd := int(n)
	if v.size == 16 {
		to := unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: v.ip, Scope_id: v.zone}
		_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, n, uintptr(unsafe.Pointer(&to)), unsafe.Sizeof(to))
	} else {
		to := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: [4]byte(v.ip[:4])}
		_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, n, uintptr(unsafe.Pointer(&to)), unsafe.Sizeof(to))
	}
	if errno != 0 && errno != unix.EINPROGRESS {
		closeFD(fd)
		return -1
	}
	return fd
}

// write sends all of a message, or says that it could not.
func write(fd int, msg []byte) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), address0(msg), uintptr(len(msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return errno == 0 && int(n) == len(msg)
}

// random gives an id that nobody can guess.
func (s *Server) random() uint16 {
	var b [2]byte
	unix.RawSyscall(unix.SYS_GETRANDOM, uintptr(unsafe.Pointer(&b)), uintptr(len(b)), 0)
	return uint16(b[0])<<8 | uint16(b[1])
}
