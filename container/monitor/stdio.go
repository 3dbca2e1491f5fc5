package monitor

import (
	"golang.org/x/sys/unix"

	"minict/container/wire"
)

// connect makes the inputs of the plan: those that were sent, and the
// container's ends of pipes, or of the socket that the terminal comes
// through, of which console is the other end. All of them are to be closed.
func (p *process) connect(r request, console *int) (fds []int, err error) {
	sent := r.sent
	defer func() { wire.CloseAll(sent) }()
	for _, in := range r.inputs {
		fd := -1
		switch {
		case in == wire.InputSent && len(sent) == 0:
			err = unix.EBADMSG
		case in == wire.InputSent:
			fd, sent = sent[0], sent[1:]
		case in == wire.InputConsole:
			fd, err = pair(console)
		case p.flags&wire.FlagTerminal != 0, in == wire.InputStdin && p.flags&wire.FlagStdin == 0:
			fd, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		case in == wire.InputStdin:
			fd, err = pipe(&p.in.fd, 1)
		default:
			fd, err = pipe(&p.out[in-wire.InputStdout].fd, 0)
		}
		if err != nil {
			return fds, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// pipe keeps end mine, which must not block, and gives the other.
func pipe(own *int, mine int) (other int, err error) {
	if *own >= 0 {
		return -1, unix.EBADMSG // the plan names it twice
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return -1, err
	}
	*own = ends[mine]
	return ends[1-mine], unix.SetNonblock(*own, true)
}

func pair(own *int) (other int, err error) {
	if *own >= 0 {
		return -1, unix.EBADMSG
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	*own = ends[0]
	return ends[1], err
}

// takeTerminal receives the master side of the terminal that the plan made.
// The slave side is opened too: without it the end of the last process that
// has it open would hang it up, though another may open it again.
func (p *process) takeTerminal(m *monitor, console int) error {
	if err := unix.SetNonblock(console, true); err != nil {
		return err
	}
	_, fds, err := m.recv.Receive(console)
	if err != nil {
		return err
	}
	if len(fds) != 1 {
		wire.CloseAll(fds)
		return unix.EBADMSG
	}
	p.out[0].fd = fds[0]
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return err
	}
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fds[0]), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return errno
	}
	p.slave = int(peer)
	if p.flags&wire.FlagStdin != 0 {
		p.in.fd, err = unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 0)
	}
	return err
}

// hangUp closes the monitor's ends of everything.
func (p *process) hangUp() {
	for i := range p.out {
		p.out[i].close()
	}
	p.in.close()
	if p.slave >= 0 {
		unix.Close(p.slave)
		p.slave = -1
	}
}

// stream is the monitor's end of an output.
type stream struct {
	m       *monitor
	process *process
	kind    wire.Type // TypeStdout or TypeStderr
	fd      int
}

// watch waits with the owner: nothing is read that it can't take.
func (s *stream) watch() (fd int, events int16) {
	if o := s.process.owner; o != nil && o.queued > 0 {
		return -1, 0
	}
	return s.fd, unix.POLLIN
}

func (s *stream) ready(int16) { s.pass(wire.MaxData) }

// pass reads up to max bytes and passes them on: to the log and to who is
// attached. It gives 0 if there is nothing, for now or for ever.
func (s *stream) pass(max int) int {
	buf := s.m.data[:1+min(max, wire.MaxData)]
	n, err := unix.Read(s.fd, buf[1:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return 0
	}
	if err != nil || n == 0 {
		s.close()
		return 0
	}
	buf[0] = byte(s.kind)
	if s.process == s.m.main {
		s.m.log.write(s.kind, buf[1:1+n])
	}
	for _, c := range s.m.clients {
		if c.process == s.process && c.output && !c.hung[s.kind-wire.TypeStdout] {
			s.m.send(c, buf[:1+n])
		}
	}
	return n
}

// maxRest is the most that can be left in a pipe: the largest size that a
// process without CAP_SYS_RESOURCE can give one.
const maxRest = 1 << 20

// drain passes on what is left when the process has ended. Others may have
// the stream open still, and go on writing: what they write from now on is
// nobody's, so the end of the stream is not waited for.
func (s *stream) drain() {
	if s.fd < 0 {
		return
	}
	left := maxRest // of a terminal: until it has no more
	if s.process.slave < 0 {
		n, err := unix.IoctlGetInt(s.fd, unix.TIOCINQ)
		if err != nil {
			n = 0
		}
		left = min(n, left)
	}
	for left > 0 {
		n := s.pass(left)
		if n == 0 {
			break
		}
		left -= n
	}
	s.close()
}

func (s *stream) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}
