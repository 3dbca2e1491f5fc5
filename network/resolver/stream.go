package resolver

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Limits of TCP connections. A client may ask several questions over one
// (RFC 7766), which are answered one after the other.
const (
	maxStreams = 16
	streamSize = 2 + 1<<16   // bytes: the largest message, and its length before it
	idleTime   = 10 * second // until the next question, or until an answer is taken
	remoteTime = 3 * second  // for a server: to be connected to, and to answer
)

// stream is a TCP connection of a client, and the one to a server on which its
// query is forwarded. One that is zero is free.
type stream struct {
	due    int64 // when it has taken too long
	client int32 // 0 for none
	remote int32
	phase  phase
	tries  int16
	rcode  uint8
	edns   bool
	id     uint16
	back   uint16
	end    uint16
	length uint16             // of the query
	at     int                // how much of buf has been read or written
	size   int                // how much there is to be
	msg    [2 + maxQuery]byte // the query
}

type phase uint8

const (
	asking    phase = iota // the query is being read
	dialing                // a server is connected to
	waiting                // its answer is being read
	answering              // an answer is being written
)

func (s *Server) streamIndex(c *stream) int {
	return int((uintptr(unsafe.Pointer(c)) - uintptr(unsafe.Pointer(&s.streams[0]))) / unsafe.Sizeof(*c))
}

// buffer is where a connection has its message.
func (s *Server) buffer(c *stream) []byte {
	i := s.streamIndex(c)
	return s.buffers[i*streamSize : (i+1)*streamSize : (i+1)*streamSize]
}

// accept takes a connection. If there is no more room, one that is idle goes,
// or the new one.
func (s *Server) accept() {
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(s.listener), 0, 0, socketFlags, 0, 0)
	if errno != 0 {
		return
	}
	fd := int(n)
	c := s.room()
	if c == nil || s.watch(fd, unix.EPOLL_CTL_ADD, unix.EPOLLIN, clientEvent, s.streamIndex(c)) != 0 {
		closeFD(fd)
		return
	}
	*c = stream{client: int32(fd), size: 2, due: s.now() + idleTime}
	s.wake(c.due)
	s.open++
}

// room gives a place for a connection, nil if there is none.
func (s *Server) room() *stream {
	if s.buffers == nil {
		const how, kind = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
		var err error
		if s.buffers, err = unix.Mmap(-1, 0, maxStreams*streamSize, how, kind); err != nil {
			s.buffers = nil
			return nil
		}
		s.streams = make([]stream, maxStreams)
	}
	var idle *stream
	for i := range s.streams {
		c := &s.streams[i]
		if c.client == 0 {
			return c
		}
		if c.phase == asking && c.at == 0 && (idle == nil || c.due < idle.due) {
			idle = c
		}
	}
	if idle != nil {
		s.hangUp(idle)
	}
	return idle
}

// hangUp ends a connection.
func (s *Server) hangUp(c *stream) {
	if c.client == 0 {
		return
	}
	c.closeRemote()
	closeFD(int(c.client))
	*c = stream{}
	s.open--
	s.settle()
}

func (c *stream) closeRemote() {
	if c.remote != 0 {
		closeFD(int(c.remote))
		c.remote = 0
	}
}

// clientReady reads a query, or writes an answer.
func (c *stream) clientReady(s *Server) {
	switch c.phase {
	case asking:
		c.read(s)
	case answering:
		c.write(s)
	default:
		s.hangUp(c) // nothing is waited for but that it is broken
	}
}

// read reads a query: its length, and then as much.
func (c *stream) read(s *Server) {
	buf := s.buffer(c)
	whole, broken := c.fill(int(c.client), buf)
	if broken || whole && c.size <= 2+headerSize {
		s.hangUp(c)
		return
	}
	if !whole {
		return
	}
	n := c.size - 2
	if out := s.answer(buf[2:], n, true); out != nil {
		c.reply(s, len(out))
		return
	}
	if s.query.end == 0 {
		s.hangUp(c)
		return
	}
	if rcode := s.refusal(buf[2 : 2+n]); rcode != 0 {
		c.reply(s, len(s.refuse(buf[2:], rcode)))
		return
	}
	c.tries, c.rcode, c.edns, c.end = 0, rcodeServer, s.query.edns, uint16(s.query.end)
	c.back, c.length = be.Uint16(buf[2:]), uint16(n)
	copy(c.msg[:], buf[:2+n])
	c.expect(s, 0)
	c.try(s, s.now())
}

// fill reads as much as is still missing in buf: first the length of a message,
// and then that. It says whether it is whole, and whether the other side has ended
// it.
func (c *stream) fill(fd int, buf []byte) (whole, broken bool) {
	for {
		n, errno := read(fd, buf[c.at:c.size])
		switch {
		case errno == unix.EAGAIN || errno == unix.EINTR:
			return false, false
		case errno != 0 || n == 0:
			return false, true
		}
		if c.at += n; c.at < c.size {
			continue
		}
		if c.size > 2 {
			return true, false
		}
		c.size = 2 + int(be.Uint16(buf))
		if c.size == 2 {
			return false, true
		}
	}
}

// expect says what is waited for of the client.
func (c *stream) expect(s *Server, events uint32) {
	s.watch(int(c.client), unix.EPOLL_CTL_MOD, events, clientEvent, s.streamIndex(c))
}

// reply begins to write an answer of n bytes, which is in the buffer.
func (c *stream) reply(s *Server, n int) {
	be.PutUint16(s.buffer(c), uint16(n))
	c.closeRemote()
	c.phase, c.at, c.size, c.due = answering, 0, 2+n, s.now()+idleTime
	s.wake(c.due)
	c.write(s)
}

func (c *stream) write(s *Server) {
	buf := s.buffer(c)
	for c.at < c.size {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(c.client), address0(buf[c.at:]), uintptr(c.size-c.at), unix.MSG_NOSIGNAL, 0, 0)
		if errno == unix.EAGAIN {
			c.expect(s, unix.EPOLLOUT)
			return
		}
		if errno != 0 {
			s.hangUp(c)
			return
		}
		c.at += int(n)
	}
	c.phase, c.at, c.size, c.due = asking, 0, 2, s.now()+idleTime
	s.wake(c.due)
	c.expect(s, unix.EPOLLIN)
}

// try connects to the server whose turn it is, or tells the client that nobody
// has answered.
func (c *stream) try(s *Server, now int64) {
	u := s.upstream()
	for ; u.n > 0 && int(c.tries) < u.n; c.tries++ {
		fd := u.list[c.tries].connect(unix.SOCK_STREAM)
		if fd < 0 {
			continue
		}
		if s.watch(fd, unix.EPOLL_CTL_ADD, unix.EPOLLOUT, remoteEvent, s.streamIndex(c)) != 0 {
			closeFD(fd)
			continue
		}
		c.remote, c.phase, c.due = int32(fd), dialing, now+remoteTime
		s.wake(c.due)
		return
	}
	buf := s.buffer(c)
	copy(buf, c.msg[:2+c.length])
	be.PutUint16(buf[2:], c.back)
	s.query.end, s.query.edns = int(c.end), c.edns
	c.reply(s, len(s.refuse(buf[2:], c.rcode)))
}

func (c *stream) tryNext(s *Server, now int64) {
	c.closeRemote()
	c.tries++
	c.try(s, now)
}

// remoteReady sends the query to a server that is connected by now, or reads its
// answer.
func (c *stream) remoteReady(s *Server) {
	switch c.phase {
	case dialing:
		c.id = s.random()
		be.PutUint16(c.msg[2:], c.id)
		if !write(int(c.remote), c.msg[:2+c.length]) ||
			s.watch(int(c.remote), unix.EPOLL_CTL_MOD, unix.EPOLLIN, remoteEvent, s.streamIndex(c)) != 0 {
			c.tryNext(s, s.now())
			return
		}
		c.phase, c.at, c.size = waiting, 0, 2
	case waiting:
		buf := s.buffer(c)
		whole, broken := c.fill(int(c.remote), buf)
		if !whole && !broken {
			return
		}
		msg := buf[2:max(2, c.size)]
		if broken || !matches(msg, c.msg[2:2+c.length], c.id) {
			c.tryNext(s, s.now())
			return
		}
		if failed(msg) && int(c.tries)+1 < s.upstream().n {
			c.rcode = rcodeOf(msg)
			c.tryNext(s, s.now())
			return
		}
		be.PutUint16(msg, c.back)
		c.reply(s, len(msg))
	}
}

// late ends what has taken too long: a server's turn, or the connection.
func (c *stream) late(s *Server, now int64) {
	if c.phase == dialing || c.phase == waiting {
		c.tryNext(s, now)
		return
	}
	s.hangUp(c)
}
