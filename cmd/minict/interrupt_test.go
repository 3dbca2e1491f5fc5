package main

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"
)

func interruptible(t *testing.T) *interrupts {
	t.Helper()
	i, err := interruptContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.signals.Stop)
	return i
}

func interrupt(t *testing.T) {
	t.Helper()
	if err := unix.Kill(unix.Getpid(), unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func TestInterruptEndsTheContext(t *testing.T) {
	for name, wait := range map[string]func(*interrupts){
		"waited for": func(i *interrupts) { <-i.Done() },
		"looked at": func(i *interrupts) {
			for i.Err() == nil { // which thread gets the signal, and when, is the kernel's to say
			}
			<-i.Done()
		},
		"by a context below": func(i *interrupts) {
			below, cancel := context.WithCancel(i)
			defer cancel()
			<-below.Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := interruptible(t)
			if err := i.Err(); err != nil {
				t.Fatal(err)
			}
			interrupt(t)
			wait(i)
			if i.Err() != context.Canceled {
				t.Error(i.Err())
			}
		})
	}
}

// A signal that comes when a container has taken them over is the container's,
// though somebody waited for one before.
func TestTakenInterruptsAreTheContainers(t *testing.T) {
	i := interruptible(t)
	i.Done()
	signals, err := i.take()
	if err != nil {
		t.Fatal(err)
	}
	interrupt(t)
	come := []unix.PollFd{{Fd: int32(signals.FD()), Events: unix.POLLIN}}
	for come[0].Revents == 0 {
		unix.Poll(come, -1)
	}
	if err := i.Err(); err != nil {
		t.Error(err)
	}
	if got := signals.Take(); got != unix.SIGHUP {
		t.Errorf("the container gets %v", got)
	}
	select {
	case <-i.Done():
		t.Error("done")
	default:
	}
}

// One that came before ends the command: no container is started any more.
func TestInterruptBeforeTheContainerRuns(t *testing.T) {
	i := interruptible(t)
	interrupt(t)
	for i.Err() == nil {
	}
	if _, err := i.take(); err != context.Canceled {
		t.Error(err)
	}
}
