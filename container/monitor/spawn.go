package monitor

import (
	"runtime"

	"golang.org/x/sys/unix"

	"minict/container/wire"
	"minict/runtime/launch"
	"minict/runtime/plan"
)

// maxPlan is the size of the largest plan, in bytes; they have about 2^15.
const maxPlan = 1 << 26

// request is what a process is started of. The descriptors in it are closed.
type request struct {
	plan   *plan.Loaded
	mapped []byte // the file that it is in, see mapPlan; nil if it is ordinary memory
	flags  wire.Flags
	inputs []wire.Input
	sent   []int // for those that are wire.InputSent
	owner  *client
}

// process is a process of the container that the monitor is the parent of.
type process struct {
	pid   int
	pidfd int // -1 when it was waited for
	// startTime makes the id unique, see there.
	startTime uint64
	status    unix.WaitStatus
	flags     wire.Flags
	owner     *client // that it waits for, nil when that is gone
	fatal     unix.Signal
	out       [2]stream // stdout and stderr
	in        stdin
	slave     int // keeps the terminal from hanging up, -1 without one

	program *launch.Program
	mem     []byte // the plan, mapped from its file; nil if it is ordinary memory
	// forgotten says that mem is as it was in the file, but for these
	// results of its Host phase: see forgetPlan.
	forgotten bool
	results   []uint32
}

func (p *process) running() bool { return p.pidfd >= 0 }

// split divides descriptors that came with a message into the n that it
// always has and inputs, of which some came before.
func split(fds, early []int, n int) (fixed, inputs []int, ok bool) {
	if len(fds) < n {
		wire.CloseAll(fds)
		wire.CloseAll(early)
		return nil, nil, false
	}
	return fds[:n], append(early, fds[n:]...), true
}

// spawnFile is spawn with a plan that comes in a file.
func (m *monitor) spawnFile(fd int, r request) (*process, *wire.Failed) {
	var err error
	if r.mapped, err = mapPlan(fd); err == nil {
		r.plan, err = plan.Load(r.mapped)
	}
	if err != nil {
		if r.mapped != nil {
			unix.Munmap(r.mapped)
		}
		wire.CloseAll(r.sent)
		return nil, failure("read plan", err)
	}
	return m.spawn(r)
}

// spawn starts a process. Blocking is right: nothing else is to be done for a
// container that is not there, and joining one takes no longer.
func (m *monitor) spawn(r request) (*process, *wire.Failed) {
	p := &process{pidfd: -1, slave: -1, flags: r.flags, owner: r.owner, mem: r.mapped}
	for i := range p.out {
		p.out[i] = stream{fd: -1, m: m, process: p, kind: wire.TypeStdout + wire.Type(i)}
	}
	p.in = stdin{fd: -1, m: m, process: p}
	console := -1
	fds, err := p.connect(r, &console)
	defer func() {
		wire.CloseAll(fds)
		if console >= 0 {
			unix.Close(console)
		}
	}()
	var failed *wire.Failed
	if err != nil {
		failed = failure("make pipes", err)
	} else if failed = p.load(r, fds); failed == nil {
		failed = m.carryOut(p, console)
	}
	r.owner.clocks(p)
	if failed != nil {
		p.hangUp()
		m.release(p)
		return nil, failed
	}
	m.processes = append(m.processes, p)
	return p, nil
}

// mapPlan maps the file of a plan, and closes it.
func mapPlan(fd int) ([]byte, error) {
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Size <= 0 || st.Size > maxPlan {
		return nil, unix.EFBIG
	}
	const prot = unix.PROT_READ | unix.PROT_WRITE
	return unix.Mmap(fd, 0, int(st.Size), prot, unix.MAP_PRIVATE)
}

// load readies the plan.
func (p *process) load(r request, inputs []int) *wire.Failed {
	var err error
	if p.program, err = launch.New(r.plan, inputs, r.flags&wire.FlagTimed != 0); err != nil {
		return failure("read plan", err)
	}
	return nil
}

// carryOut makes the process of its plan.
func (m *monitor) carryOut(p *process, console int) *wire.Failed {
	if err := p.program.Run(plan.Host); err != nil {
		return stepFailure(err)
	}
	if m.main == nil {
		m.oomKills = m.countOOM()
	}
	m.lendOOMScore()
	child, err := p.program.Start(nil)
	m.lowerOOMScore()
	if err != nil {
		return stepFailure(err)
	}
	p.pid, p.pidfd = child.Pid, child.Pidfd
	p.startTime = startTime(p.pid)
	if console >= 0 {
		if err := p.takeTerminal(m, console); err != nil {
			m.kill(p)
			return failure("receive terminal", err)
		}
	}
	return nil
}

func stepFailure(err error) *wire.Failed {
	f, ok := err.(*launch.Failure)
	switch {
	case !ok:
		return failure("fork", err)
	case f.Step == launch.NoStep:
		return failure("fork", f.Errno)
	}
	return &wire.Failed{Step: uint32(f.Step), Errno: uint32(f.Errno), Exec: f.Exec}
}

// release undoes the plan of a process and forgets it. What it can't undo is
// left to the sweep.
func (m *monitor) release(p *process) {
	if p.program != nil {
		p.recallPlan()
		if p.program.Run(plan.Undo) != nil {
			m.unfinished = true
		}
		p.program.Close()
		p.program = nil
	}
	if p.mem != nil {
		runtime.KeepAlive(p)
		unix.Munmap(p.mem)
		p.mem = nil
	}
}

// kill ends a process and waits for its end.
func (m *monitor) kill(p *process) {
	unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0)
	p.wait()
}

// wait takes the status of a process that has ended, or waits for that.
func (p *process) wait() {
	for {
		_, err := unix.Wait4(p.pid, &p.status, unix.WALL, nil)
		if err != unix.EINTR {
			break
		}
	}
	unix.Close(p.pidfd)
	p.pidfd = -1
	if p.fatal != 0 && p.status.Signaled() && p.status.Signal() == unix.SIGKILL {
		p.status = unix.WaitStatus(p.fatal)
	}
}
