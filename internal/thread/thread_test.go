package thread

import (
	"errors"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// However many there are, none of them is the first thread, and what one has
// done to its thread is nobody else's.
func TestRun(t *testing.T) {
	before, err := os.Readlink("/proc/self/ns/uts")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() {
			err := Run(func() error {
				if unix.Gettid() == unix.Getpid() {
					t.Error("the first thread")
				}
				here, err := os.Readlink("/proc/thread-self/ns/uts")
				if err == nil && here != before {
					t.Errorf("a thread in %s, not %s", here, before)
				}
				return errors.Join(err, unix.Unshare(unix.CLONE_NEWUTS), os.ErrClosed)
			})
			if !errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EPERM) {
				t.Errorf("got %v", err)
			}
		})
	}
	wait.Wait()
	after, err := os.Readlink("/proc/self/ns/uts")
	if err != nil || after != before {
		t.Errorf("the process is in %s, not %s: %v", after, before, err)
	}
}
