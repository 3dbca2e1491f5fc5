package monitor

import (
	"strconv"

	"golang.org/x/sys/unix"

	"minict/container/wire"
	"minict/internal/caught"
	"minict/runtime/plan"
)

// Here is a monitor that is part of a command which stays with the process
// that it started, and has nobody to leave it to: no program has to be started
// for it, nothing handed over, and nobody woken when the process has ended.
// Should the command be killed, the process is killed with it.
//
// The process dies with the thread that started it (PR_SET_PDEATHSIG): call
// Start, and then Wait, from a goroutine that is locked to its thread. Others
// may be near it once it runs: its plan has to go through an airlock, or through
// the init.
type Here struct {
	m     *monitor
	owner *client
}

// Start starts a container. The plan, the lock, which says that the container
// lives, and what was sent for it become its own: those inputs that are
// wire.InputSent, and then what is to be kept. Fd is one end
// of a socket, whose other end takes and sends messages as a monitor's does, but
// for the first answer and, if nobody has listened until then, the end. The
// last of what is to be removed, a container's directory, is kept in spareDir
// instead if it is as good as new; an empty one keeps none. If it fails, nothing
// is left but fd.
func Start(start *wire.Start, plan *plan.Loaded, lock int, sent []int, fd int, spareDir string) (*Here, *wire.Failed) {
	m := newMonitor()
	m.inside, m.start, m.lock, m.spareDir = true, start, lock, spareDir
	if spareDir != "" && start.Removal&wire.RemoveAtEnd != 0 {
		m.preparing, _ = prepare(start.Remove[len(start.Remove)-1]) // or keep will see it
	}
	h := &Here{m, &client{m: m, fd: fd, room: wire.StdinWindow}}
	failed := m.startFor(h.owner, sent, func(r request) (*process, *wire.Failed) {
		r.plan = plan
		return m.spawn(r)
	})
	if failed != nil {
		m.abandon()
		return nil, failed
	}
	return h, nil
}

// Started is what a monitor of its own would have answered.
func (h *Here) Started() wire.Started { return h.m.main.started() }

// Clocks are those of the plan, if wire.FlagTimed asked for them.
func (h *Here) Clocks() []uint64 {
	if h.m.main.flags&wire.FlagTimed == 0 {
		return nil
	}
	return h.m.main.program.Clocks()
}

// Wait stays with the process until it has ended, and leaves nothing of it.
// Listen is called before the first message to the other end of the socket:
// that of a process which is silent need not be listened to. Signals, if there
// are any, are passed on to the process; one that asks for an end
// (wire.Interrupts) and that it would not get, because it is PID 1 and has no
// handler for it, ends it all the same.
func (h *Here) Wait(listen func(), signals *caught.Signals) wire.Exited {
	h.owner.listen, h.m.signals = listen, signals
	h.m.holdIPC()
	exit := h.m.stay()
	if h.owner.listen != nil {
		h.m.drop(h.owner)
	}
	h.m.tell(exit)
	return exit
}

// Kill kills the process; Wait is still to be called.
func (h *Here) Kill() { unix.PidfdSendSignal(h.m.main.pidfd, unix.SIGKILL, nil, 0) }

// holdIPC keeps the container's IPC namespace until that has ended. A worker of
// the kernel frees it, and would wait for the same grace periods (RCU) as the end of
// the container's first process, for which somebody waits.
func (m *monitor) holdIPC() {
	path := "/proc/" + strconv.Itoa(m.main.pid) + "/ns/ipc"
	if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		m.held = append(m.held, fd)
	}
}
