package attach

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"minict/container/embed"
	"minict/container/wire"
)

// Monitor is a monitor that was started by this process.
type Monitor struct {
	// Program is the monitor's own program, O_PATH, on a mount that nobody
	// can write through: the input "init". It is closed by Close.
	Program *os.File

	pid  int
	sock int // -1 since Start
}

// environment is all that a monitor gets to know of its caller's: nothing. It
// tells Go's runtime to make do with one processor and to collect garbage only
// if there ever is any to speak of.
var environment = []string{"GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=16MiB"}

// Spawn starts a monitor, which gets ready and waits. Its program is kept in
// stateDir/bin. It takes well below a millisecond; do it before anything slow.
func Spawn(stateDir string) (*Monitor, error) {
	program, err := OpenProgram(stateDir, embed.Monitor())
	if err != nil {
		return nil, fmt.Errorf("start monitor: %w", err)
	}
	m := &Monitor{Program: program, sock: -1}
	if err := m.spawn(); err != nil {
		program.Close()
		return nil, fmt.Errorf("start monitor: %w", err)
	}
	return m, nil
}

func (m *Monitor) spawn() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(null)
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(ends[1])
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   environment,
		Files: []uintptr{uintptr(null), uintptr(null), uintptr(null), uintptr(ends[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	// Before it executes the program, the child moves the descriptors that it
	// is given, and one of Go's own, to the numbers behind the highest.
	behind := max(null, ends[1]) + 2*len(attr.Files)
	program, err := unix.FcntlInt(m.Program.Fd(), unix.F_DUPFD_CLOEXEC, behind)
	if err != nil {
		unix.Close(ends[0])
		return err
	}
	defer unix.Close(program)
	path := fmt.Sprintf("/proc/self/fd/%d", program)
	m.pid, err = forkBlocked(path, []string{"minict-monitor"}, attr)
	if err != nil {
		unix.Close(ends[0])
		return err
	}
	m.sock = ends[0]
	return nil
}

// forkBlocked starts a program with all signals blocked: a signal mask is kept
// through execve(2), and a Go program that was started with one gives it to all
// of its threads, but for a few signals that it has to see to itself.
func forkBlocked(path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return 0, err
	}
	pid, err = syscall.ForkExec(path, argv, attr)
	if restore := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err == nil {
		err = restore
	}
	return pid, err
}

// Start makes the monitor start a container, and returns when its program runs.
// The error is a *Failure if that failed; then everything is undone already,
// and the monitor ends: see Wait.
func (m *Monitor) Start(c Container) (*Session, error) {
	msg, fds, err := c.start()
	if err != nil {
		return nil, err
	}
	s := &Session{fd: m.sock}
	m.sock = -1
	return s.start(c.Plan, msg.Append(nil), []int{int(c.Lock.Fd())}, fds)
}

// start is the message, and the descriptors that are inputs, and those to keep.
func (c *Container) start() (*wire.Start, []int, error) {
	inputs, fds, err := c.inputs()
	kept, keptFDs := toKeep(c.Held, c.Resolver)
	fds = append(fds, keptFDs...)
	msg := &wire.Start{
		Flags: c.flags(), Inputs: inputs, Kept: kept, RunDir: c.RunDir, LogDir: c.LogDir, LogMax: c.LogMax,
		ExitDir: c.ExitDir, Cgroup: c.Cgroup, OOMFile: c.OOMFile, OOMKey: c.OOMKey,
		StopSignal: uint8(c.StopSignal), StopTimeout: c.StopTimeout, Remove: c.Remove,
	}
	if c.RemoveAtEnd {
		msg.Removal |= wire.RemoveAtEnd
	}
	if c.RemoveOnFailure {
		msg.Removal |= wire.RemoveOnFailure
	}
	return msg, fds, err
}

// Wait waits for the end of the monitor: after that nothing of it, or of a
// container that it removed, can be seen any more.
func (m *Monitor) Wait() error {
	for {
		_, err := unix.Wait4(m.pid, nil, 0, nil)
		if err != unix.EINTR {
			return err
		}
	}
}

// Kill kills the monitor, and with it what it may have started.
func (m *Monitor) Kill() error { return unix.Kill(m.pid, unix.SIGKILL) }

// Close forgets the monitor: one that has started a container goes on, any
// other ends.
func (m *Monitor) Close() error {
	err := m.Program.Close()
	if m.sock >= 0 {
		unix.Close(m.sock)
		m.sock = -1
		err = m.Wait()
	}
	return err
}
