package monitor

import (
	"golang.org/x/sys/unix"

	"minict/container/wire"
)

const (
	maxClients = 128
	maxQueue   = 1 << 20 // bytes that somebody who looks on may be behind
	maxQueues  = 8 << 20 // and all of them together
)

// client is a connection.
type client struct {
	m       *monitor
	fd      int // -1 when it was closed
	process *process
	early   []int   // descriptors that came before the message that is about them
	output  bool    // gets output
	input   bool    // may write to the input, which ends with it if it is to
	hung    [2]bool // wants no more of stdout, stderr
	queue   [][]byte
	queued  int // bytes in queue
	room    int // bytes of Stdin that it may still send
	unsaid  int // of these, what it has not been told of
	closing bool
	listen  func() // called before it is sent its first message
}

func (c *client) watch() (fd int, events int16) {
	if c.queued > 0 {
		return c.fd, unix.POLLIN | unix.POLLOUT
	}
	return c.fd, unix.POLLIN
}

func (c *client) ready(revents int16) {
	if revents&unix.POLLOUT != 0 {
		c.write()
	}
	if revents&^unix.POLLOUT == 0 || c.fd < 0 {
		return
	}
	msg, fds, err := c.m.recv.Receive(c.fd)
	if err == unix.EAGAIN {
		return
	}
	if err != nil || len(msg) == 0 || !c.m.handle(c, msg, fds) {
		c.m.drop(c)
	}
}

// send sends a message, or keeps it until there is room. Who does not own the
// process may fall behind only so far.
func (m *monitor) send(c *client, msg []byte) {
	if c.fd < 0 {
		return
	}
	if c.listen != nil {
		c.listen()
		c.listen = nil
	}
	if c.queued == 0 {
		err := wire.Send(c.fd, msg)
		if err == nil {
			return
		}
		if err != unix.EAGAIN {
			m.drop(c)
			return
		}
	}
	if !c.owns() && (c.queued+len(msg) > maxQueue || m.queued()+len(msg) > maxQueues) {
		m.drop(c)
		return
	}
	c.queue = append(c.queue, append([]byte(nil), msg...))
	c.queued += len(msg)
}

// owns says whether a process waits for this client.
func (c *client) owns() bool { return c.process != nil && c.process.owner == c }

// queued is what is kept for all clients, in bytes.
func (m *monitor) queued() (sum int) {
	for _, c := range m.clients {
		sum += c.queued
	}
	return sum
}

// write sends what is kept.
func (c *client) write() {
	for len(c.queue) > 0 {
		err := wire.Send(c.fd, c.queue[0])
		if err == unix.EAGAIN {
			return
		}
		if err != nil {
			c.m.drop(c)
			return
		}
		c.queued -= len(c.queue[0])
		c.queue[0] = nil
		c.queue = c.queue[1:]
	}
	c.queue = nil
}

// drop ends a connection. The process goes on; its input ends if it was to.
func (m *monitor) drop(c *client) {
	if c.fd < 0 {
		return
	}
	unix.Close(c.fd)
	wire.CloseAll(c.early)
	c.fd, c.early, c.queue, c.queued = -1, nil, nil, 0
	p := c.process
	if p == nil {
		return
	}
	if p.owner == c {
		p.owner = nil
	}
	p.in.forget(c)
	if p.flags&wire.FlagStdinOnce != 0 && c.input {
		p.in.end()
	}
}

// prune forgets connections that are closed, and closes those that have
// nothing to send any more.
func (m *monitor) prune() {
	kept := m.clients[:0]
	for _, c := range m.clients {
		if c.closing && c.queued == 0 {
			m.drop(c)
		}
		if c.fd >= 0 {
			kept = append(kept, c)
		}
	}
	clear(m.clients[len(kept):])
	m.clients = kept
}

// answer tells a client about the process that it belongs to.
func (m *monitor) answer(c *client) {
	s := c.process.started()
	m.send(c, s.Append(nil))
}

func (p *process) started() wire.Started {
	f := p.flags & wire.FlagTerminal
	if p.in.fd >= 0 {
		f |= wire.FlagStdin
	}
	return wire.Started{Pid: uint32(p.pid), StartTime: p.startTime, Flags: f}
}

// clocks tells the owner when the steps of the plan began, if it asked. One in
// the same process takes them itself.
func (c *client) clocks(p *process) {
	if c.m.inside {
		return
	}
	if p.flags&wire.FlagTimed != 0 && p.program != nil {
		wire.Send(c.fd, wire.AppendClocks(nil, p.program.Clocks()))
	}
}

// listen makes the socket in the run directory. Its path may be longer than a
// socket address: it goes through the directory's descriptor.
func (m *monitor) listen() (err error) {
	const kind = unix.SOCK_SEQPACKET | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	if m.listener, err = unix.Socket(unix.AF_UNIX, kind, 0); err != nil {
		return err
	}
	addr := &unix.SockaddrUnix{Name: "/proc/self/fd/" + itoa(m.runDir) + "/" + wire.SocketName}
	if err := unix.Bind(m.listener, addr); err != nil {
		return err
	}
	return unix.Listen(m.listener, maxClients)
}

// accept takes a connection, from root and from who runs the monitor.
func (m *monitor) accept() {
	fd, _, err := unix.Accept4(m.listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || peer.Uid != 0 && int(peer.Uid) != unix.Getuid() || len(m.clients) >= maxClients {
		unix.Close(fd)
		return
	}
	m.clients = append(m.clients, &client{m: m, fd: fd, room: wire.StdinWindow})
}
