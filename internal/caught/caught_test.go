package caught

import (
	"errors"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func catch(t *testing.T, list ...unix.Signal) *Signals {
	t.Helper()
	s, err := Catch(list...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// wait waits until there is something to take.
func (s *Signals) wait(t *testing.T) unix.Signal {
	t.Helper()
	for {
		if n := s.Take(); n != 0 {
			return n
		}
		polls := []unix.PollFd{{Fd: int32(s.FD()), Events: unix.POLLIN}}
		if _, err := unix.Poll(polls, -1); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
}

func kill(t *testing.T, n unix.Signal) {
	t.Helper()
	if err := unix.Kill(unix.Getpid(), n); err != nil {
		t.Fatal(err)
	}
}

func TestEachSignalIsTakenOnce(t *testing.T) {
	s := catch(t, unix.SIGUSR1, unix.SIGTERM)
	if err := s.Add(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for _, n := range []unix.Signal{unix.SIGHUP, unix.SIGUSR1, unix.SIGTERM} {
		kill(t, n)
		if got := s.wait(t); got != n {
			t.Errorf("got %v, want %v", got, n)
		}
		if got := s.Take(); got != 0 {
			t.Errorf("and then %v", got)
		}
	}
}

// Signals that come while others are taken, on whatever thread, with stacks
// that grow and move, are neither lost nor do they break anything.
func TestManySignals(t *testing.T) {
	s := catch(t, unix.SIGUSR1, unix.SIGUSR2)
	var busy sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		busy.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					deep(200)
					runtime.GC()
				}
			}
		})
	}
	for i := range 2000 {
		n := unix.SIGUSR1
		if i%2 == 0 {
			n = unix.SIGUSR2
		}
		kill(t, n)
		if got := s.wait(t); got != n {
			t.Fatalf("round %d: got %v, want %v", i, got, n)
		}
	}
	close(stop)
	busy.Wait()
}

func deep(n int) int {
	var frame [256]byte
	if n == 0 {
		return int(frame[0])
	}
	return deep(n-1) + int(frame[n%256])
}

func TestOneAtATime(t *testing.T) {
	catch(t, unix.SIGUSR1)
	if _, err := Catch(unix.SIGUSR2); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
}

// After Stop a signal does what it did before, here and in new programs.
func TestStop(t *testing.T) {
	var before, after action
	if err := sigaction(unix.SIGUSR1, nil, &before); err != nil {
		t.Fatal(err)
	}
	s, err := Catch(unix.SIGUSR1)
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("/bin/sh", "-c", "kill -USR1 $$; exit 0").Run(); err == nil {
		t.Error("a new program does not end by a signal that is caught here")
	}
	s.Stop()
	if err := sigaction(unix.SIGUSR1, nil, &after); err != nil || before != after {
		t.Errorf("%+v, was %+v", after, before)
	}
}

func TestIgnoredSignalsStaySo(t *testing.T) {
	var before action
	ignore := action{handler: ignored}
	if err := sigaction(unix.SIGUSR2, &ignore, &before); err != nil {
		t.Fatal(err)
	}
	defer sigaction(unix.SIGUSR2, &before, nil)
	s := catch(t, unix.SIGUSR2, unix.SIGUSR1)
	kill(t, unix.SIGUSR2)
	kill(t, unix.SIGUSR1)
	if got := s.wait(t); got != unix.SIGUSR1 {
		t.Errorf("got %v", got)
	}
	if got := s.Take(); got != 0 {
		t.Errorf("and then %v", got)
	}
}
