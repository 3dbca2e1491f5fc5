// Package monitor is what runs as a container's monitor: the parent of its
// first process, one small program per container and the only part of minict
// that stays. It carries out the plan, passes input and output on, keeps the
// log, writes the state and exit files, and cleans up. docs/monitor.md tells
// why there is one. The package also has the init that is PID 1 in a container
// whose user asks for it.
//
// A monitor is alone with its container for days, so it is made small: it
// imports neither fmt nor os, does everything in one loop around poll(2), and
// allocates nothing while it passes data on.
package monitor

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"minict/container/wire"
	"minict/internal/caught"
	"minict/network/resolver"
	"minict/runtime/launch"
)

// monitor is the state of one. There are no other goroutines, so nothing is
// locked.
type monitor struct {
	recv wire.Receiver
	data [wire.MaxMessage]byte // a message with output that is being passed on
	log  logFile

	start  *wire.Start
	runDir int // O_PATH
	lock   int // says that the container lives, as long as it is open

	main      *process
	processes []*process
	clients   []*client
	listener  int
	signals   *caught.Signals // nil: none
	oomKills  uint64
	oomScore  string // of the processes it starts; empty while its own is the same

	watched []watcher
	polls   []unix.PollFd
	active  bool       // since the last time it went idle
	program [2]segment // what can be dropped meanwhile
	killAt  time.Time

	held     []int            // kept open until the end
	resolver *resolver.Server // nil for none

	unfinished bool          // something could not be undone
	inside     bool          // it is part of a command, see Here
	preparing  *launch.Aside // see prepare; nil for none
	spareDir   string        // takes the last of start.Remove, see keep; empty for none
}

func newMonitor() *monitor {
	return &monitor{active: true, runDir: -1, lock: -1, listener: -1, log: logFile{fd: -1, dir: -1}}
}

// Main is the life of a monitor, from its first message to the container's
// end. It runs on the main thread, which it keeps: the container dies with the
// thread that forked it (PR_SET_PDEATHSIG).
func Main() {
	runtime.LockOSThread()
	unix.CloseRange(wire.MonitorFD+1, ^uint(0)>>32, 0) // what the command had inherited
	unix.Umask(0o077)
	allowFiles()
	setName("minict-monitor")
	m := newMonitor()
	m.program = readOnly()
	owner := &client{m: m, fd: wire.MonitorFD, room: wire.StdinWindow}
	if m.catch() != nil {
		return
	}
	fds := m.await(owner)
	if m.start == nil {
		return
	}
	if failed := m.begin(owner, fds); failed != nil {
		m.abandon()
		wire.Send(owner.fd, failed.Append(nil))
		return
	}
	m.tell(m.stay())
}

// setName sets what ps shows: the name of the file would be a number.
func setName(name string) {
	if p, err := unix.BytePtrFromString(name); err == nil {
		unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(p)), 0, 0, 0)
	}
}

// await waits for Start. If the command ends before, there is none.
func (m *monitor) await(owner *client) (fds []int) {
	for {
		msg, got, err := m.recv.Receive(owner.fd)
		if err != nil || len(msg) == 0 {
			return nil
		}
		if wire.Type(msg[0]) == wire.TypeDescriptors {
			owner.early = append(owner.early, got...)
			continue
		}
		if m.start, err = wire.DecodeStart(msg); err != nil {
			m.start = nil
		}
		return got
	}
}

// begin starts the container.
func (m *monitor) begin(owner *client, fds []int) *wire.Failed {
	fixed, sent, ok := split(fds, owner.early, 2)
	owner.early = nil
	if !ok {
		return failure("receive descriptors", unix.EBADMSG)
	}
	m.lock = fixed[1]
	failed := m.startFor(owner, sent, func(r request) (*process, *wire.Failed) { return m.spawnFile(fixed[0], r) })
	if failed == nil {
		m.answer(owner)
	}
	return failed
}

// startFor starts the container, by spawn, for who waits for its end. What was
// sent for it are the inputs of its plan, and then what is to be kept.
func (m *monitor) startFor(owner *client, sent []int, spawn func(request) (*process, *wire.Failed)) *wire.Failed {
	owner.output = m.start.Flags&wire.FlagOutput != 0
	owner.input = m.start.Flags&wire.FlagStdin != 0
	inputs, failed := m.takeKept(sent)
	if failed == nil {
		failed = m.open()
	}
	if failed == nil {
		if err := unix.SetNonblock(owner.fd, true); err != nil {
			failed = failure("begin", err)
		}
	}
	if failed != nil {
		wire.CloseAll(inputs)
		return failed
	}
	p, failed := spawn(request{flags: m.start.Flags, inputs: m.start.Inputs, sent: inputs, owner: owner})
	if failed != nil {
		return failed
	}
	m.main, owner.process = p, p
	if failed := m.publish(); failed != nil {
		m.kill(p)
		return failed
	}
	m.clients = append(m.clients, owner)
	return nil
}

// failure is what goes wrong outside of a plan.
func failure(doing string, err error) *wire.Failed {
	errno, ok := err.(unix.Errno)
	if !ok {
		errno = unix.EBADMSG
	}
	return &wire.Failed{Step: wire.NoStep, Errno: uint32(errno), Doing: doing}
}

// open opens what the container needs on the host before it begins.
func (m *monitor) open() *wire.Failed {
	var err error
	const dir = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	if m.runDir, err = unix.Open(m.start.RunDir, dir, 0); err != nil {
		return failure("open "+m.start.RunDir, err)
	}
	if m.start.LogDir != "" {
		if err := m.log.open(m.start.LogDir, m.start.LogMax); err != nil {
			return failure("open log in "+m.start.LogDir, err)
		}
	}
	return nil
}

// publish lets others find the container.
func (m *monitor) publish() *wire.Failed {
	if err := m.listen(); err != nil {
		return failure("listen on "+m.start.RunDir+"/"+wire.SocketName, err)
	}
	if err := m.writeState(); err != nil {
		return failure("write "+m.start.RunDir+"/state", err)
	}
	return nil
}

// abandon leaves nothing of a container that could not be started.
func (m *monitor) abandon() {
	if m.main != nil {
		m.release(m.main)
	}
	m.disconnect()
	m.cleanUp(wire.RemoveOnFailure)
}

// stay sees to the container until its first process has ended, and then leaves
// nothing of it.
func (m *monitor) stay() wire.Exited {
	for m.main.running() {
		m.turn()
	}
	exit := wire.Exited{Status: uint32(m.main.status), OOMKilled: m.countOOM() > m.oomKills}
	if m.start.Cgroup != "" {
		killCgroup(m.start.Cgroup)
	}
	for _, p := range append([]*process(nil), m.processes...) {
		if p != m.main {
			unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0)
			m.ended(p)
		}
	}
	m.release(m.main)
	m.disconnect()
	if m.start.ExitDir != "" && m.start.Removal&wire.RemoveAtEnd == 0 {
		m.writeExit(exit)
	}
	m.cleanUp(wire.RemoveAtEnd)
	return exit
}

// tell tells of the container's end, after all of its output.
func (m *monitor) tell(exit wire.Exited) {
	msg := exit.Append(nil)
	for _, c := range m.clients {
		if c.process == m.main {
			m.send(c, msg)
		}
		c.closing = true
	}
	for m.prune(); len(m.clients) > 0; m.prune() {
		m.flush()
	}
}
