package main

import (
	"context"
	"sync"

	"golang.org/x/sys/unix"

	"minict/internal/caught"
)

// interrupts are the signals that ask this command to end, until a container
// takes them over. As a context they end what the command does.
type interrupts struct {
	context.Context
	signals *caught.Signals

	mu    sync.Mutex
	done  chan struct{} // nil until somebody waits for it
	err   error
	taken bool
	wake  int // eventfd that ends the wait when they are taken
}

// interruptContext catches SIGINT and its like.
func interruptContext(parent context.Context) (*interrupts, error) {
	signals, err := caught.Catch(unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	if err != nil {
		return nil, err
	}
	return &interrupts{Context: parent, signals: signals, wake: -1}, nil
}

// Done is closed when a signal has come. Only a command that waits for that
// gets a goroutine for it: those that start containers don't.
func (i *interrupts) Done() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.done != nil {
		return i.done
	}
	i.done = make(chan struct{})
	switch wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC); {
	case i.err != nil:
		close(i.done)
	case err != nil || i.taken:
		// No more signals will be seen here.
	default:
		i.wake = wake
		go i.watch()
	}
	return i.done
}

func (i *interrupts) watch() {
	polls := []unix.PollFd{{Fd: int32(i.wake), Events: unix.POLLIN}, {Fd: int32(i.signals.FD()), Events: unix.POLLIN}}
	for i.Err() == nil && polls[0].Revents == 0 {
		unix.Poll(polls, -1)
	}
}

// Err is context.Canceled when a signal has come.
func (i *interrupts) Err() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err == nil && !i.taken && i.signals.Take() != 0 {
		i.err = context.Canceled
		if i.done != nil {
			close(i.done)
		}
	}
	return i.err
}

// take gives the signals to a container.
func (i *interrupts) take() (*caught.Signals, error) {
	if err := i.Err(); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.taken = true
	if i.wake >= 0 {
		unix.Write(i.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	return i.signals, nil
}
