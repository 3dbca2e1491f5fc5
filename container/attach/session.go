package attach

import (
	"fmt"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"minict/container/monitor"
	"minict/container/wire"
	"minict/runtime/plan"
)

// Session is a connection to a process of a container. Resize and Signal may
// be called by any goroutine, at any time.
type Session struct {
	Pid       int      // as this process sees it
	StartTime uint64   // field 22 of /proc/PID/stat
	Terminal  bool     // it has a terminal
	Stdin     bool     // its input can be written to
	Clocks    []uint64 // of the plan's steps, if Process.Timed: see launch.Program

	recv wire.Receiver
	mu   sync.Mutex    // held to send, and to close
	fd   int           // -1 when closed
	here *monitor.Here // nil if the monitor is another process
}

// dial connects to the socket in a run directory. Its path may be longer than
// what a socket address takes, 107 bytes: it goes through the directory's
// descriptor.
func dial(runDir string) (*Session, error) {
	path := filepath.Join(runDir, wire.SocketName)
	dir, err := unix.Open(runDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	addr := &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, wire.SocketName)}
	if err := unix.Connect(fd, addr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	return &Session{fd: fd}, nil
}

// start sends a message that starts a process with the plan, what else is
// wanted, and the inputs, and waits for the answer.
func (s *Session) start(p *plan.Plan, msg []byte, fixed, inputs []int) (*Session, error) {
	err := s.sendStart(p, msg, fixed, inputs)
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("start process: %w", err)
	}
	return s.started()
}

func (s *Session) sendStart(p *plan.Plan, msg []byte, fixed, inputs []int) error {
	mem, err := planFile(p)
	if err != nil {
		return err
	}
	defer unix.Close(mem)
	return s.sendWith(msg, append([]int{mem}, fixed...), inputs)
}

// sendWith sends a message with descriptors: the fixed ones travel with itself,
// the others before it as far as they have to.
func (s *Session) sendWith(msg []byte, fixed, others []int) error {
	for len(fixed)+len(others) > wire.MaxDescriptors {
		n := min(len(others), wire.MaxDescriptors)
		if err := s.send([]byte{byte(wire.TypeDescriptors)}, others[:n]...); err != nil {
			return err
		}
		others = others[n:]
	}
	return s.send(msg, append(fixed, others...)...)
}

// planFile puts a plan into memory that can be handed over.
func planFile(p *plan.Plan) (fd int, err error) {
	if fd, err = unix.MemfdCreate("plan", unix.MFD_CLOEXEC); err != nil {
		return -1, err
	}
	for rest := p.Encode(); len(rest) > 0; {
		n, err := unix.Write(fd, rest)
		if err != nil {
			unix.Close(fd)
			return -1, err
		}
		rest = rest[n:]
	}
	return fd, nil
}

// started waits for the answer to Start, Exec or Attach. If there is none, or
// it is a Failure, the session is closed.
func (s *Session) started() (*Session, error) {
	for {
		done, err := s.answer()
		if err != nil {
			s.Close()
			return nil, err
		}
		if done {
			return s, nil
		}
	}
}

func (s *Session) answer() (done bool, err error) {
	msg, err := s.receive()
	if err != nil {
		return false, err
	}
	switch wire.Type(msg[0]) {
	case wire.TypeClocks:
		s.Clocks, err = wire.DecodeClocks(msg)
		return false, err
	case wire.TypeFailed:
		f, err := wire.DecodeFailed(msg)
		if err != nil {
			return false, err
		}
		return false, failureOf(f, s.Clocks)
	default:
		a, err := wire.DecodeStarted(msg)
		s.set(a)
		return true, err
	}
}

func failureOf(f wire.Failed, clocks []uint64) *Failure {
	return &Failure{int(int32(f.Step)), unix.Errno(f.Errno), f.Exec, f.Doing, clocks}
}

func (s *Session) set(a wire.Started) {
	s.Pid, s.StartTime = int(a.Pid), a.StartTime
	s.Terminal, s.Stdin = a.Flags&wire.FlagTerminal != 0, a.Flags&wire.FlagStdin != 0
}

// receive waits for the next message. The end of the connection is ErrGone.
//
// A socket that is closed with something in it that was not read tells its
// peer so first (ECONNRESET), and only then gives what it had sent: so that is
// no reason to stop reading.
func (s *Session) receive() ([]byte, error) {
	for {
		msg, fds, err := s.recv.Receive(s.fd)
		wire.CloseAll(fds) // nobody sends any
		if err == unix.ECONNRESET {
			continue
		}
		if err == nil && len(msg) == 0 {
			return nil, ErrGone
		}
		return msg, err
	}
}

func (s *Session) send(msg []byte, fds ...int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return wire.Send(s.fd, msg, fds...)
}

// Resize tells the process that its terminal has another size.
func (s *Session) Resize(rows, cols uint16) error {
	return s.send(wire.AppendResize(nil, rows, cols))
}

// Signal sends a signal to the process.
func (s *Session) Signal(sig unix.Signal) error {
	return s.send(wire.AppendSignal(nil, uint8(sig), false))
}

// Interrupt sends a signal, such as SIGINT from the keyboard, that has to end
// the process if the signal's default action is to end one. The kernel would
// drop it if the process is PID 1 and does not handle it; the monitor kills it
// then, and the end is reported as the end by that signal.
func (s *Session) Interrupt(sig unix.Signal) error {
	return s.send(wire.AppendSignal(nil, uint8(sig), true))
}

// Close ends the connection; the process goes on. It must not be called while
// Relay runs: end that by its context.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return nil
	}
	err := unix.Close(s.fd)
	s.fd = -1
	return err
}
