package monitor

import (
	"time"

	"golang.org/x/sys/unix"

	"minict/container/wire"
)

// watcher is something that the loop waits for.
type watcher interface {
	// watch says what to wait for, poll(2); nothing if fd is negative.
	watch() (fd int, events int16)
	// ready is called when it came. By then the watcher may be closed.
	ready(revents int16)
}

// acceptor waits for connections.
type acceptor monitor

func (a *acceptor) watch() (int, int16) { return a.listener, unix.POLLIN }
func (a *acceptor) ready(int16)         { (*monitor)(a).accept() }

func (p *process) watch() (int, int16) { return p.pidfd, unix.POLLIN }
func (p *process) ready(int16)         { p.in.m.ended(p) }

// turn waits until something happens and sees to it.
func (m *monitor) turn() {
	m.watched, m.polls = m.watched[:0], m.polls[:0]
	m.add((*signalled)(m))
	m.add((*acceptor)(m))
	m.add((*naming)(m))
	for _, c := range m.clients {
		m.add(c)
	}
	for _, p := range m.processes {
		m.add(&p.out[0])
		m.add(&p.out[1])
		m.add(&p.in)
		m.add(p)
	}
	wait, quiet := m.timeout()
	if m.poll(wait) == 0 && quiet {
		m.idle()
	}
	m.overdue()
	m.prune()
}

func (m *monitor) add(w watcher) {
	fd, events := w.watch()
	if fd >= 0 {
		m.watched = append(m.watched, w)
		m.polls = append(m.polls, unix.PollFd{Fd: int32(fd), Events: events})
	}
}

// poll waits for the watched, at most so many milliseconds, and gives the
// number of those that were ready.
func (m *monitor) poll(timeout int) int {
	var n int
	var err error
	if timeout < 0 && !m.inside {
		var errno unix.Errno
		if n, errno = doze(m.polls, &m.program); errno != 0 {
			return -1
		}
	} else if n, err = unix.Poll(m.polls, timeout); err != nil {
		return -1
	}
	for i := range m.polls {
		if m.polls[i].Revents != 0 {
			m.active = true
			m.watched[i].ready(m.polls[i].Revents)
		}
	}
	return n
}

// quietTime is how long nothing has to happen before the monitor counts as idle,
// in milliseconds.
const quietTime = 1000

// timeout is how long to wait, in milliseconds: until something is due, or until
// the monitor counts as idle. A command never does: what it could give back is
// little beside what it is.
func (m *monitor) timeout() (wait int, quiet bool) {
	wait = -1
	if m.active && !m.inside {
		wait = quietTime
	}
	if !m.killAt.IsZero() {
		wait = sooner(wait, max(0, int(time.Until(m.killAt)/time.Millisecond)+1))
	}
	if m.resolver != nil {
		wait = sooner(wait, m.resolver.Wait())
	}
	return wait, wait == quietTime
}

// sooner is the shorter of two times; a negative one has no end.
func sooner(a, b int) int {
	if a < 0 || b >= 0 && b < a {
		return b
	}
	return a
}

// overdue does what is due, whether or not something else has come.
func (m *monitor) overdue() {
	if !m.killAt.IsZero() && time.Now().After(m.killAt) {
		unix.PidfdSendSignal(m.main.pidfd, unix.SIGKILL, nil, 0)
		m.killAt = time.Now().Add(time.Minute)
	}
	if m.resolver != nil {
		m.resolver.Overdue()
	}
}

// terminate is what SIGTERM does: it stops the container, the second time at
// once.
func (m *monitor) terminate() {
	signal := unix.Signal(m.start.StopSignal)
	if signal == 0 || !m.killAt.IsZero() {
		signal = unix.SIGKILL
	}
	unix.PidfdSendSignal(m.main.pidfd, signal, nil, 0)
	m.killAt = time.Now().Add(time.Duration(m.start.StopTimeout) * time.Millisecond)
}

// ended sees to the end of a process. What it leaves in its pipes is passed on
// before; of the first process, everything else follows in finish.
func (m *monitor) ended(p *process) {
	if p.running() {
		p.wait()
	}
	p.out[0].drain()
	p.out[1].drain()
	p.hangUp()
	if p == m.main {
		return
	}
	m.release(p)
	for i, other := range m.processes {
		if other == p {
			m.processes = append(m.processes[:i:i], m.processes[i+1:]...)
		}
	}
	exit := wire.Exited{Status: uint32(p.status)}
	msg := exit.Append(nil)
	for _, c := range m.clients {
		if c.process == p {
			m.send(c, msg)
			c.closing = true
		}
	}
}

// lookers is how long, in milliseconds, somebody who looks on may take to read
// the rest when the container has ended.
const lookers = 1000

// flush sends what is kept for clients, when there is nothing else to do. The
// owner may take its time.
func (m *monitor) flush() {
	m.watched, m.polls = m.watched[:0], m.polls[:0]
	owned := false
	for _, c := range m.clients {
		m.add(c)
		owned = owned || c.owns()
	}
	timeout := lookers
	if owned {
		timeout = -1
	}
	if m.poll(timeout) != 0 {
		return
	}
	for _, c := range m.clients {
		m.drop(c)
	}
}
