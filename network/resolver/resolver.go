// Package resolver is the name server of one container. It is at 127.0.0.11,
// port 53, UDP and TCP, in the container's network namespace, and answers what
// the container asks about others on its networks; anything else it forwards to
// the host's name servers. docs/resolver.md tells how that comes about.
//
// It is part of the container's monitor: a state machine without goroutines, for
// which the monitor waits on one descriptor (FD) and until one time (Wait). It is
// asked by the container, which may be hostile: each thing that it can have many of
// has a number that is the most, and each thing that it can wait for has a time.
// What is asked while there is no more room is refused, not kept.
//
// Its memory is there once, and nothing is allocated for a question: see
// container/monitor about why. It imports neither fmt, os nor net.
package resolver

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MemorySize is how much memory New wants to be given, in bytes.
const MemorySize = 64 << 10

// Server answers one container. Its sockets do not block.
type Server struct {
	dir      int // the container's run directory
	epoll    int
	packets  int // UDP
	listener int // TCP
	hostFile string

	mem  memory
	path path
	id   [idSize + 1]byte

	query   query
	known   bool // by find: there is such a name
	found   []byte
	reverse address // what findName looks for
	turn    int     // with which of several addresses an answer begins

	begun   time.Time
	due     int64 // when the first thing is due, at the earliest; 0 for nothing
	window  int64 // the one that is counted in
	counted int   // datagrams of this window
	deaf    bool  // there were too many

	queries []forwarded // that are being forwarded; nil before the first
	asked   int         // how many of them there are
	streams []stream    // TCP connections; nil before the first
	open    int         // how many of them there are
	buffers []byte      // of the connections, one after the other

	from   unix.RawSockaddrInet4
	length uint32 // of from
	events [maxEvents]unix.EpollEvent
}

// New takes over the two sockets of a container, unless it fails. The memory is used
// during Ready and Overdue alone: it may be anything's meanwhile.
func New(runDir string, sockets Sockets, memory []byte) (*Server, error) {
	dir, err := unix.Open(runDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	s := &Server{
		dir: dir, packets: sockets.Packets, listener: sockets.Streams,
		hostFile: hostFile, mem: divide(memory[:MemorySize]), begun: time.Now(),
	}
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		closeFD(dir)
		return nil, err
	}
	errno := s.watch(s.packets, unix.EPOLL_CTL_ADD, unix.EPOLLIN, packetEvent, 0)
	if errno == 0 {
		errno = s.watch(s.listener, unix.EPOLL_CTL_ADD, unix.EPOLLIN, acceptEvent, 0)
	}
	if errno != 0 {
		closeFD(s.epoll)
		closeFD(dir)
		return nil, errno
	}
	return s, nil
}

// Close ends all of it.
func (s *Server) Close() {
	for i := range s.queries {
		s.forget(&s.queries[i])
	}
	for i := range s.streams {
		s.hangUp(&s.streams[i])
	}
	for _, fd := range []int{s.packets, s.listener, s.epoll, s.dir} {
		closeFD(fd)
	}
	if s.buffers != nil {
		unix.Munmap(s.buffers)
	}
}

// FD is readable when there is something for Ready to do.
func (s *Server) FD() int { return s.epoll }

// Wait is how long it may take until Overdue is to be called, in milliseconds; -1
// for ever.
func (s *Server) Wait() int {
	if s.due == 0 {
		return -1
	}
	return int(max(0, s.due-s.now())/1e6) + 1
}

// second is a second, in what now counts in.
const second = int64(time.Second)

// now is the time since the beginning in nanoseconds, and never 0.
func (s *Server) now() int64 { return int64(time.Since(s.begun)) + 1 }

// wake sees to it that Ready is called at some time.
func (s *Server) wake(at int64) {
	if s.due == 0 || at < s.due {
		s.due = at
	}
}

// settle is called when something has come to its end. With the last of it goes
// the time that was waited for: who waits without an end needs the least memory.
func (s *Server) settle() {
	if s.asked == 0 && s.open == 0 && !s.deaf {
		s.due = 0
	}
}

// What an event is about. Its number is in Fd, and its kind in Pad: both are the
// caller's to use, epoll_ctl(2).
const (
	packetEvent = iota
	acceptEvent
	serverEvent // an answer to s.queries[n]
	clientEvent // s.streams[n], the container's side
	remoteEvent // and the server's
)

const maxEvents = 16

func (s *Server) watch(fd, how int, events uint32, kind, n int) unix.Errno {
	e := unix.EpollEvent{Events: events, Fd: int32(n), Pad: int32(kind)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(s.epoll), uintptr(how), uintptr(fd), uintptr(unsafe.Pointer(&e)), 0, 0)
	return errno
}

// Ready sees to what has come. It takes a moment: what it
// does not get done then is still there the next time. An event may be about
// something that an earlier one has ended, whose place may be taken again: the
// descriptors there say that they have nothing.
func (s *Server) Ready() {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.epoll), uintptr(unsafe.Pointer(&s.events[0])), maxEvents, 0, 0, 0)
	if errno != 0 {
		n = 0
	}
	for _, e := range s.events[:n] {
		switch e.Pad {
		case packetEvent:
			s.receive()
		case acceptEvent:
			s.accept()
		case serverEvent:
			s.answered(&s.queries[e.Fd])
		case clientEvent:
			s.streams[e.Fd].clientReady(s)
		case remoteEvent:
			s.streams[e.Fd].remoteReady(s)
		}
	}
}

// Overdue ends what has taken too long. If nothing has, it costs nothing.
func (s *Server) Overdue() {
	if s.due == 0 {
		return
	}
	if now := s.now(); now >= s.due {
		s.expire(now)
	}
}

// expire ends what has taken too long.
func (s *Server) expire(now int64) {
	s.due = 0
	if s.deaf {
		s.listen(now)
	}
	for i := range s.queries {
		if q := &s.queries[i]; q.due != 0 && now >= q.due {
			s.tryNext(q, now, true)
		} else if q.due != 0 {
			s.wake(q.due)
		}
	}
	for i := range s.streams {
		if c := &s.streams[i]; c.due != 0 && now >= c.due {
			c.late(s, now)
		} else if c.due != 0 {
			s.wake(c.due)
		}
	}
}

// Limits of what is read from the container over UDP: 10,000 datagrams in a
// second, which take a third of it. Who asks faster is not heard for the rest of
// the window. What comes meanwhile waits in the socket, and the kernel drops what
// does not fit there: nobody has to work for that.
const (
	maxBatch     = 32          // datagrams at a time
	window       = second / 20 // is counted in
	maxPerWindow = 500         // datagrams
)

// receive answers datagrams.
func (s *Server) receive() {
	now := s.now()
	if this := now / window; this != s.window {
		s.window, s.counted = this, 0
	}
	for range maxBatch {
		if s.counted == maxPerWindow {
			s.deaf = true
			s.watch(s.packets, unix.EPOLL_CTL_MOD, 0, packetEvent, 0)
			s.wake((s.window + 1) * window)
			return
		}
		s.length = uint32(unsafe.Sizeof(s.from))
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.packets), address0(s.mem.message), uintptr(len(s.mem.message)),
			0, uintptr(unsafe.Pointer(&s.from)), uintptr(unsafe.Pointer(&s.length)))
		if errno != 0 {
			return
		}
		s.counted++
		if out := s.answer(s.mem.message, int(n), false); out != nil {
			s.send(out)
		} else if s.query.end > headerSize {
			s.forward(s.mem.message[:n], now)
		}
	}
}

// listen begins to hear datagrams again.
func (s *Server) listen(now int64) {
	if end := (s.window + 1) * window; now < end {
		s.wake(end)
		return
	}
	s.deaf = false
	s.watch(s.packets, unix.EPOLL_CTL_MOD, unix.EPOLLIN, packetEvent, 0)
}

// send sends an answer to where the last datagram came from. If that can't take
// it, it is lost, as datagrams are.
func (s *Server) send(msg []byte) {
	unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.packets), address0(msg), uintptr(len(msg)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&s.from)), unsafe.Sizeof(s.from))
}

// answer gives the answer to a query, which is in the first n bytes of mem, if
// it is known here or to be had nowhere: it is made in mem. Otherwise it gives
// nothing, and s.query says where the question ends, unless it is none at all.
func (s *Server) answer(mem []byte, n int, reliable bool) []byte {
	q := &s.query
	rcode, ok := q.parse(mem[:n])
	if !ok {
		q.end = 0
		return nil
	}
	limit := q.size
	if reliable {
		limit = len(mem)
	}
	a := q.answer(mem, limit, rcode)
	switch {
	case rcode != 0:
	case q.class != classIN || !q.plain || q.length == 0:
		return nil
	case s.find(q):
		s.addAddresses(&a, q.kind)
	case q.kind == typePTR && s.findName(q):
		a.add(typePTR, s.found)
	default:
		return nil
	}
	return a.finish()
}

// addAddresses adds what find has found, each time beginning with another one. A
// name that has no addresses of one kind is still a name: who asks for that kind
// gets none, and not that there is no such name.
func (s *Server) addAddresses(a *answer, kind uint16) {
	count := s.addFrom(nil, kind, 0, maxFound)
	if count == 0 {
		return
	}
	s.turn++
	first := s.turn % count
	s.addFrom(a, kind, first, count)
	s.addFrom(a, kind, 0, first)
}

// addFrom adds the addresses of one kind from one to before another, nothing if
// a is nil, and gives the number of all of that kind.
func (s *Server) addFrom(a *answer, kind uint16, from, to int) (count int) {
	for rest := s.found; len(rest) > 0; rest = rest[foundSize:] {
		size := int(rest[0])
		its := uint16(typeA)
		if size == 16 {
			its = typeAAAA
		}
		if kind != its && kind != typeANY {
			continue
		}
		if a != nil && count >= from && count < to {
			a.add(its, rest[1:1+size])
		}
		count++
	}
	return count
}

// refuse gives an answer to the query in mem that says nothing but why there is
// none.
func (s *Server) refuse(mem []byte, rcode uint8) []byte {
	a := s.query.answer(mem, len(mem), rcode)
	return a.finish()
}

// Idle gives back memory that was needed to get here. It is called when nothing
// has come for a while.
func (s *Server) Idle() {
	if s.asked == 0 && s.queries != nil {
		drop(unsafe.Slice((*byte)(unsafe.Pointer(&s.queries[0])), unsafe.Sizeof(s.queries[0])*uintptr(len(s.queries))))
	}
	if s.open == 0 && s.buffers != nil {
		drop(s.buffers)
	}
}

// drop gives back the whole pages of a memory, which are zero after that.
func drop(mem []byte) {
	page := uintptr(unix.Getpagesize())
	first := address0(mem)
	begin, end := (first+page-1)&^(page-1), (first+uintptr(len(mem)))&^(page-1)
	if begin < end {
		unix.RawSyscall(unix.SYS_MADVISE, begin, end-begin, unix.MADV_DONTNEED)
	}
}
