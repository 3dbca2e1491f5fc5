// Package quiet makes Go's runtime less busy in programs that live for milliseconds.
// To import it is enough.
//
// The runtime of every Go program has a thread, called sysmon, that looks after
// the others: it takes the processor from a goroutine that is in a system call,
// or runs for long. It sleeps 20 µs at a time until it has found nothing to do
// for a while, which is longer than minict takes to start a container. Each time
// it wakes up, some processor has to switch to it and back; together that was a
// tenth of a run.
//
// And it keeps a profile of what is allocated, if there is anything in the program
// that could ask for it: each half a megabyte it looks who is calling, for which it
// reads tables that nothing else needs. That was a hundredth of a run.
package quiet

import (
	"runtime"
	"syscall"
) // and nothing else: so it is initialized before almost all others

// slack is how much later than asked the thread may wake up. As long as that, a
// goroutine may wait for a processor that another one has taken into a system
// call, if there is no other.
const slack = "1000000" // 1 ms, in ns

// The thread may wake up later than it asks for by its timer slack (prctl(2),
// PR_SET_TIMERSLACK), which /proc has for each thread. Where that can't be set,
// for want of /proc or of CAP_SYS_NICE, nothing is lost.
func init() {
	runtime.MemProfileRate = 0
	thread, ok := first()
	if !ok {
		return
	}
	fd, err := syscall.Open("/proc/"+thread+"/timerslack_ns", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer syscall.Close(fd)
	syscall.Write(fd, []byte(slack))
}

// first is the id of the thread that this process made first, which the runtime
// does before it runs any of the program: /proc lists threads by their age.
func first() (id string, ok bool) {
	fd, err := syscall.Open("/proc/self/task", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", false
	}
	defer syscall.Close(fd)
	var buf [512]byte
	n, err := syscall.Getdents(fd, buf[:])
	if err != nil {
		return "", false
	}
	_, _, names := syscall.ParseDirent(buf[:n], 2, nil)
	if len(names) < 2 {
		return "", false
	}
	return names[1], true
}
