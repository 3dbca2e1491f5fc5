package monitor

import (
	"golang.org/x/sys/unix"

	"minict/container/wire"
)

// stdin is the monitor's end of an input, with what it has not taken yet.
type stdin struct {
	m       *monitor
	process *process
	fd      int // -1 without one
	buf     []byte
	parts   []part // whose the bytes in buf are, in order
	ending  bool   // close when buf is empty
}

// part is data of one client; nil is one that is gone.
type part struct {
	client *client
	len    int
}

func (in *stdin) watch() (fd int, events int16) {
	if len(in.buf) == 0 {
		// To hear that nobody reads any more is no use: only a write
		// asks for that.
		return -1, 0
	}
	return in.fd, unix.POLLOUT
}

// take takes data from a client that had room for it.
func (in *stdin) take(c *client, data []byte) {
	if in.fd < 0 || in.ending {
		in.m.credit(c, len(data)) // as /dev/null would take it
		return
	}
	in.buf = append(in.buf, data...)
	in.parts = append(in.parts, part{c, len(data)})
	in.ready(unix.POLLOUT)
}

// end closes the input when all that came before is written. A terminal has no
// end.
func (in *stdin) end() {
	if in.process.slave >= 0 {
		return
	}
	in.ending = true
	if len(in.buf) == 0 {
		in.close()
	}
}

// ready writes what the process takes.
func (in *stdin) ready(int16) {
	n, err := unix.Write(in.fd, in.buf)
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil {
		in.close()
		return
	}
	in.written(n)
	if in.ending && len(in.buf) == 0 {
		in.close()
	}
}

// written forgets bytes and gives their senders room for more.
func (in *stdin) written(n int) {
	in.buf = in.buf[:copy(in.buf, in.buf[n:])]
	for n > 0 {
		first := &in.parts[0]
		k := min(n, first.len)
		first.len -= k
		n -= k
		in.m.credit(first.client, k)
		if first.len == 0 {
			in.parts = in.parts[:copy(in.parts, in.parts[1:])]
		}
	}
	if len(in.buf) == 0 && cap(in.buf) > 4<<10 {
		in.buf, in.parts = nil, nil
	}
}

// forget makes the data of a client that is gone nobody's.
func (in *stdin) forget(c *client) {
	for i := range in.parts {
		if in.parts[i].client == c {
			in.parts[i].client = nil
		}
	}
}

func (in *stdin) close() {
	if in.fd < 0 {
		return
	}
	unix.Close(in.fd)
	in.fd = -1
	in.written(len(in.buf))
}

// credit gives a client room for n bytes more, now or together with the next.
func (m *monitor) credit(c *client, n int) {
	if c == nil {
		return
	}
	c.room += n
	c.unsaid += n
	if c.unsaid >= wire.StdinWindow/2 {
		m.send(c, wire.AppendWindow(nil, uint32(c.unsaid)))
		c.unsaid = 0
	}
}
