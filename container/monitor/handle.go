package monitor

import (
	"golang.org/x/sys/unix"

	"minict/container/wire"
)

// handle does what a message asks for. If it gives false, the message made no
// sense, and the connection ends.
func (m *monitor) handle(c *client, msg []byte, fds []int) bool {
	switch wire.Type(msg[0]) {
	case wire.TypeDescriptors:
		c.early = append(c.early, fds...)
		return c.process == nil && len(c.early) <= wire.MaxInputs
	case wire.TypeExec:
		return m.exec(c, msg, fds)
	case wire.TypeKeep:
		return m.keepMore(c, msg, fds)
	}
	wire.CloseAll(fds)
	if wire.Type(msg[0]) == wire.TypeAttach {
		return m.attach(c, msg)
	}
	p := c.process
	if p == nil || c.closing {
		return p != nil // what comes too late is nobody's fault
	}
	switch wire.Type(msg[0]) {
	case wire.TypeStdin:
		n := len(msg) - 1
		if n > c.room {
			return false
		}
		c.room -= n
		p.in.take(c, msg[1:])
		return true
	case wire.TypeStdinEOF:
		if p.flags&wire.FlagStdinOnce != 0 {
			p.in.end()
		}
		return len(msg) == 1
	case wire.TypeResize:
		rows, cols, err := wire.DecodeResize(msg)
		if err == nil && p.slave >= 0 {
			unix.IoctlSetWinsize(p.out[0].fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
		}
		return err == nil
	case wire.TypeSignal:
		signal, interrupt, err := wire.DecodeSignal(msg)
		if err == nil && p.running() {
			p.signal(unix.Signal(signal), interrupt)
		}
		return err == nil
	case wire.TypeHangup:
		kind, err := wire.DecodeHangup(msg)
		if err == nil {
			p.hangup(c, int(kind-wire.TypeStdout))
		}
		return err == nil
	}
	return false
}

// exec starts one more process.
func (m *monitor) exec(c *client, msg []byte, fds []int) bool {
	e, err := wire.DecodeExec(msg)
	fixed, inputs, ok := split(fds, c.early, 1)
	c.early = nil
	if !ok {
		return false
	}
	if err != nil || c.process != nil || c.closing {
		wire.CloseAll(fixed)
		wire.CloseAll(inputs)
		return false
	}
	c.output = e.Flags&wire.FlagOutput != 0
	c.input = e.Flags&wire.FlagStdin != 0
	p, failed := m.spawnFile(fixed[0], request{flags: e.Flags, inputs: e.Inputs, sent: inputs, owner: c})
	if failed != nil {
		m.send(c, failed.Append(nil))
		c.closing = true
		return true
	}
	c.process = p
	m.answer(c)
	return true
}

// attach lets a client look on, and write if it likes.
func (m *monitor) attach(c *client, msg []byte) bool {
	f, err := wire.DecodeAttach(msg)
	if err != nil || c.process != nil || c.closing {
		return false
	}
	c.process = m.main
	c.output = f&wire.FlagOutput != 0
	c.input = f&wire.FlagStdin != 0
	m.answer(c)
	return true
}

// hangup takes an output away from a client that can't get rid of it. If that
// is the owner, nobody reads a pipe any more; a terminal stays.
func (p *process) hangup(c *client, output int) {
	c.hung[output] = true
	if p.owner == c && p.slave < 0 {
		p.out[output].close()
	}
}
