package launch

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// What a plan's child and others have to say to each other while it is being
// set up:
//
//	pause   a byte on the link, its number; the launcher answers with a byte
//	airlock a byte on the link, its errno, with the upper bit set
//	gate    the link closes; a byte on the gate opens it. An airlock pauses before
//	failure in the report's memory, or after the gate as afterGate, or, where an
//	        airlock waits at the gate, as that says it
//
// An end of the link that is closed tells each side that the other is gone.

// pause is plan.Pause.
//
//go:nosplit
//go:norace
func (m *machine) pause() unix.Errno {
	m.word = byte(m.args[0])
	var errno unix.Errno
	if message := m.args[1]; message != 0 {
		_, _, errno = rawSyscall6(unix.SYS_SENDMSG, m.link, message, unix.MSG_NOSIGNAL, 0, 0, 0)
	} else {
		_, _, errno = rawSyscall6(unix.SYS_SENDTO, m.link, uintptr(unsafe.Pointer(&m.word)), 1, unix.MSG_NOSIGNAL, 0, 0)
	}
	if errno != 0 {
		return unix.ECONNRESET
	}
	return m.await(m.link)
}

// await waits for a byte.
//
//go:nosplit
//go:norace
func (m *machine) await(fd uintptr) unix.Errno {
	for {
		n, _, errno := rawSyscall6(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&m.word)), 1, 0, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno == 0 && n == 0:
			return unix.ECONNRESET
		default:
			return errno
		}
	}
}

// gate is plan.Gate.
//
//go:nosplit
//go:norace
func (m *machine) gate() unix.Errno {
	gate := m.args[0]
	m.started = m.args[1]
	if _, _, errno := rawSyscall6(unix.SYS_FCNTL, m.started, unix.F_SETFD, unix.FD_CLOEXEC, 0, 0, 0); errno != 0 {
		return errno
	}
	m.report.Ready = 1
	rawSyscall6(unix.SYS_CLOSE, m.link, 0, 0, 0, 0, 0)
	errno := m.await(gate)
	rawSyscall6(unix.SYS_CLOSE, gate, 0, 0, 0, 0, 0)
	return errno
}

// afterGate is what is written to the descriptor started of plan.Gate.
type afterGate struct {
	Step, Errno, Exec uint32
}

// fail tells of a failure those who wait for it.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (m *machine) fail(number uintptr, errno unix.Errno) {
	if m.started == 0 {
		m.report.Errno = uint32(errno)
		m.report.Failed = uint32(number)
		return
	}
	op := m.op(number - 1)
	m.after = afterGate{Step: uint32(op.Step), Errno: uint32(errno)}
	if isExec(op) {
		m.after.Exec = 1
	}
	rawSyscall6(unix.SYS_WRITE, m.started, uintptr(unsafe.Pointer(&m.after)), unsafe.Sizeof(m.after), 0, 0, 0)
}

// Started waits until a child that waited at its gate has become its program,
// after the byte that opened it. The descriptor is the other end of the one
// that the child writes to. The error is a *Failure if a step went wrong. A
// child that is killed meanwhile is not told from one that runs: its end is.
func Started(fd int) error {
	var after afterGate
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&after)), unsafe.Sizeof(after))
	n, err := read(fd, raw)
	switch {
	case err != nil:
		return err
	case n == 0:
		return nil
	case n == 1 && raw[0]&failedInAirlock != 0:
		return &Failure{Step: NoStep, Errno: unix.Errno(raw[0] &^ failedInAirlock), Exec: true}
	case n != len(raw): // it is written at once, and so read
		return unix.EBADMSG
	}
	return &Failure{Step: int(after.Step), Errno: unix.Errno(after.Errno), Exec: after.Exec != 0}
}

// attend acts on the child's pauses until its end of the link closes.
func (p *Program) attend(link int, c *Child, pause Pause) error {
	var oob [32]byte // of one descriptor, unix.CmsgSpace(4)
	for {
		var number [1]byte
		n, space, err := receive(link, number[:], oob[:])
		if n == 0 || err == unix.ECONNRESET {
			return nil
		}
		if err != nil {
			return err
		}
		if number[0]&failedInAirlock != 0 {
			p.m.report.Errno = uint32(number[0] &^ failedInAirlock)
			p.m.report.Failed = uint32(len(p.loaded.Ops[plan.Child]))
			continue
		}
		if pause == nil {
			return ErrPause
		}
		if err := p.follow(c); err != nil {
			return err
		}
		c.Sent = descriptor(oob[:space])
		err = pause(uint32(number[0]), c)
		if c.Sent >= 0 {
			unix.Close(c.Sent)
			c.Sent = -1
		}
		if err != nil {
			return err
		}
		// If the child is gone, that is what the link says next.
		_, err = unix.SendmsgN(link, number[:], nil, nil, unix.MSG_NOSIGNAL)
		if err != nil && err != unix.EPIPE && err != unix.ECONNRESET {
			return err
		}
	}
}

// follow goes on with the process that has taken over from the child by a
// plan.Fork, if there is one.
func (p *Program) follow(c *Child) error {
	next := int(p.m.report.Pid)
	if next == 0 || next == c.Pid {
		return nil
	}
	pidfd, err := unix.PidfdOpen(next, 0)
	if err != nil {
		unix.Kill(next, unix.SIGKILL) // nobody has waited for it: the number is still its own
		reap(next)
		return err
	}
	c.bury()
	c.Pid, c.Pidfd = next, pidfd
	return nil
}

// kill ends the child.
func (c *Child) kill() {
	unix.PidfdSendSignal(c.Pidfd, unix.SIGKILL, nil, 0)
	c.bury()
}

// bury waits for the child's end.
func (c *Child) bury() {
	unix.Close(c.Pidfd)
	reap(c.Pid)
}

func reap(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// receive is recvmsg(2), for as long as no message came.
func receive(fd int, p, oob []byte) (n, space int, err error) {
	for {
		n, space, _, _, err = unix.Recvmsg(fd, p, oob, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			return n, space, err
		}
	}
}

func read(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// descriptor gives the one that came with a message, or -1.
func descriptor(control []byte) int {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(messages) == 0 {
		return -1
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return -1
	}
	return fds[0]
}
