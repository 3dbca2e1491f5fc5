// Package thread gives a piece of work a thread of its own, for what belongs to
// threads and can't be put back: namespaces that were joined, a root directory.
package thread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Run does something on a thread that ends with it, and waits for that. It is not
// the first thread of the process: Go could not end that one, and as long as it is
// there the kernel shows what it has as the process's, in /proc/PID.
func Run(do func() error) error { return <-Start(do) }

// Start is Run without the wait: the error comes when there is one, or nil.
func Start(do func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: so the thread ends
		if unix.Gettid() != unix.Getpid() {
			done <- do()
			return
		}
		// As long as this goroutine waits here, nobody else gets its thread.
		err := Run(do)
		runtime.UnlockOSThread()
		done <- err
	}()
	return done
}
