package monitor

import (
	"golang.org/x/sys/unix"

	"minict/container/wire"
	"minict/network/release"
	"minict/network/resolver"
)

// takeKept takes what is to be kept off the end of what was sent with Start, and
// gives the rest. If it fails, that is to be closed.
func (m *monitor) takeKept(sent []int) (inputs []int, failed *wire.Failed) {
	n := len(sent) - len(m.start.Kept)
	if n < 0 {
		return sent, failure("receive descriptors", unix.EBADMSG)
	}
	if err := m.keep(m.start.Kept, sent[n:]); err != nil {
		return sent[:n], failure("keep", err)
	}
	return sent[:n], nil
}

// keep makes descriptors its own, until the container has ended.
func (m *monitor) keep(kept []wire.Kept, fds []int) error {
	if len(kept) != len(fds) {
		wire.CloseAll(fds)
		return unix.EBADMSG
	}
	sockets := resolver.Sockets{Packets: -1, Streams: -1}
	for i, kind := range kept {
		switch kind {
		case wire.KeptPackets:
			sockets.Packets = fds[i]
		case wire.KeptStreams:
			sockets.Streams = fds[i]
		default:
			m.held = append(m.held, fds[i])
		}
	}
	if sockets.Packets < 0 && sockets.Streams < 0 {
		return nil
	}
	if sockets.Packets < 0 || sockets.Streams < 0 {
		m.held = append(m.held, max(sockets.Packets, sockets.Streams))
		return unix.EBADMSG
	}
	return m.serveNames(sockets)
}

// serveNames begins to serve the container with names.
func (m *monitor) serveNames(sockets resolver.Sockets) (err error) {
	if m.resolver != nil {
		sockets.Close()
		return unix.EEXIST
	}
	if m.resolver, err = resolver.New(m.start.RunDir, sockets, m.data[:]); err != nil {
		m.resolver = nil
		sockets.Close()
	}
	return err
}

// keepMore does what Keep asks for.
func (m *monitor) keepMore(c *client, msg []byte, fds []int) bool {
	list, err := wire.DecodeKeep(msg)
	fds = append(c.early, fds...)
	c.early = nil
	if err != nil || c.process != nil || c.closing {
		wire.CloseAll(fds)
		return false
	}
	var errno unix.Errno
	if err := m.keep(list, fds); err != nil {
		errno, _ = err.(unix.Errno)
	}
	m.send(c, wire.AppendKept(nil, uint32(errno)))
	c.closing = true
	return true
}

// disconnect lets go of the container's networks, when nobody is in it any more.
// What reserves its ports goes last: the next who has a port must not find it
// forwarded to this one.
func (m *monitor) disconnect() {
	if m.resolver != nil {
		m.resolver.Close()
		m.resolver = nil
	}
	if release.Run(m.start.RunDir) != nil {
		m.unfinished = true
	}
	wire.CloseAll(m.held)
	m.held = nil
}

// naming waits for the name server.
type naming monitor

func (n *naming) watch() (int, int16) {
	if n.resolver == nil {
		return -1, 0
	}
	return n.resolver.FD(), unix.POLLIN
}

func (n *naming) ready(int16) { n.resolver.Ready() }

// allowFiles lets the monitor have as many open files as its user may: each
// published port is one. What it starts has limits of its own.
func allowFiles() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil && limit.Cur < limit.Max {
		limit.Cur = limit.Max
		unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	}
}
