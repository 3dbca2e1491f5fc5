// Package caught catches signals, and keeps them until somebody looks.
//
// Package os/signal does that too, with two goroutines and the threads under
// them: each signal that is to be caught is handed back and forth between two
// threads, which takes as long as a system call takes two hundred times. Here
// one system call sets a handler of a few instructions (handler_*.s). It notes
// the signal and writes to an eventfd(2), so that signals can be waited for
// together with whatever else poll(2) waits for.
package caught

import (
	"errors"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the handler uses: a signal may come at any instant, on any thread.
var (
	pending uint64 // a bit for each signal, that of signal 1 first
	wakeFD  int32  // eventfd
	one     = uint64(1)
)

// ErrBusy says that signals are caught already: there is one set at a time in
// a process.
var ErrBusy = errors.New("signals are caught already")

var busy atomic.Bool

// Signals are those that are caught.
type Signals struct {
	before [numbers]action // what was to be done about each
	caught uint64
	fd     int
}

const numbers = 65

// action is struct kernel_sigaction, rt_sigaction(2).
type action struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

const (
	ignored    = 1          // SIG_IGN
	onStack    = 0x08000000 // SA_ONSTACK: a goroutine's own stack is too small
	restart    = 0x10000000 // SA_RESTART
	restorerOK = 0x04000000 // SA_RESTORER
)

// Catch catches signals. Those that this process was started with as ignored,
// as by nohup(1), stay so.
func Catch(list ...unix.Signal) (*Signals, error) {
	if !busy.CompareAndSwap(false, true) {
		return nil, ErrBusy
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		busy.Store(false)
		return nil, err
	}
	s := &Signals{fd: fd}
	atomic.StoreInt32(&wakeFD, int32(fd))
	atomic.StoreUint64(&pending, 0)
	if err := s.Add(list...); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// Add catches more signals.
func (s *Signals) Add(list ...unix.Signal) error {
	h, r := addresses()
	for _, n := range list {
		var old action
		if err := sigaction(n, nil, &old); err != nil {
			return err
		}
		if old.handler == ignored || s.caught&bit(n) != 0 {
			continue
		}
		new := action{handler: h, flags: onStack | restart | restorerOK, restorer: r, mask: ^uint64(0)}
		if err := sigaction(n, &new, nil); err != nil {
			return err
		}
		s.before[n] = old
		s.caught |= bit(n)
	}
	return nil
}

// FD is readable when there is something to take. It is not to be closed.
func (s *Signals) FD() int { return s.fd }

// Take gives a signal that has come and was not taken yet, 0 if there is none.
// One that has come several times is given once.
func (s *Signals) Take() unix.Signal {
	if n := next(); n != 0 {
		return n
	}
	// Only now: one that comes after the look is seen by the descriptor.
	var count [8]byte
	unix.Read(s.fd, count[:])
	return next()
}

func next() unix.Signal {
	for {
		all := atomic.LoadUint64(&pending)
		if all == 0 {
			return 0
		}
		n := bits.TrailingZeros64(all)
		if atomic.CompareAndSwapUint64(&pending, all, all&^(1<<n)) {
			return unix.Signal(n + 1)
		}
	}
}

// Stop lets the signals do again what they did before.
func (s *Signals) Stop() {
	for n := unix.Signal(1); n < numbers; n++ {
		if s.caught&bit(n) != 0 {
			sigaction(n, &s.before[n], nil)
		}
	}
	s.caught = 0
	atomic.StoreInt32(&wakeFD, -1)
	unix.Close(s.fd)
	busy.Store(false)
}

func bit(n unix.Signal) uint64 { return 1 << (n - 1) }

func sigaction(n unix.Signal, new, old *action) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(new)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// addresses gives where the handler begins, and what it returns to.
func addresses() (handler, restorer uintptr)
