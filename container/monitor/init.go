package monitor

import (
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"minict/internal/caught"
)

// Init is the life of the init that is PID 1 in a container: it starts the
// command, passes signals on to it, reaps whatever process was left behind,
// and ends with the command's exit status: 128+n if signal n killed it, 127 if
// it was not found, 126 if it can't be executed.
func Init(args []string) (code int) {
	runtime.LockOSThread()
	setName("minict-init")
	if len(args) < 3 {
		return 2
	}
	list := []unix.Signal{unix.SIGCHLD}
	for n := range unix.Signal(65) {
		if forwarded(n) {
			list = append(list, n)
		}
	}
	signals, err := caught.Catch(list...)
	if err != nil {
		return 2
	}
	argv := args[2:]
	pid, errno := start(argv)
	if errno != 0 {
		return complain(argv[0], errno)
	}
	return tend(pid, signals)
}

// forwarded says whether a signal is passed on: not those that tell of a
// mistake of the init's own, not those that job control stops it with, nor the
// one that Go's runtime sends itself.
func forwarded(s unix.Signal) bool {
	switch s {
	case 0, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSYS, unix.SIGSTKFLT,
		unix.SIGKILL, unix.SIGSTOP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCHLD, unix.SIGURG, unix.SIGPROF, 32, 33, 34:
		return false
	}
	return true
}

// tend waits for signals until the command has ended.
func tend(pid int, signals *caught.Signals) (code int) {
	for {
		// One SIGCHLD may stand for many, and for some before the first.
		for {
			var status unix.WaitStatus
			ended, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
			if err != nil || ended == 0 {
				break
			}
			if ended == pid && status.Signaled() {
				return 128 + int(status.Signal())
			}
			if ended == pid {
				return status.ExitStatus()
			}
		}
		switch n := signals.Take(); n {
		case 0:
			unix.Poll([]unix.PollFd{{Fd: int32(signals.FD()), Events: unix.POLLIN}}, -1)
		case unix.SIGCHLD:
		default:
			unix.Kill(pid, n)
		}
	}
}

func complain(name string, errno unix.Errno) (code int) {
	text, code := ": "+errno.Error(), 126
	if errno == unix.ENOENT || errno == unix.ENOTDIR {
		text, code = "", 127
	}
	unix.Write(2, []byte("minict: exec failed: "+name+text+"\n"))
	return code
}

// command is what a child needs to become the user's program, laid out before
// the fork: after it there is no Go runtime.
type command struct {
	files      **byte // candidates, ended by nil
	argv, envp **byte
	errno      unix.Errno
	pipe       [2]int
}

// start starts the command in a process group of its own, which it makes the
// terminal's foreground group if there is a terminal.
func start(args []string) (pid int, errno unix.Errno) {
	env := syscall.Environ()
	files := vector(candidates(args[0], env))
	argv, envp := vector(args), vector(env)
	c := command{files: &files[0], argv: &argv[0], envp: &envp[0]}
	if err := unix.Pipe2(c.pipe[:], unix.O_CLOEXEC); err != nil {
		return 0, unix.EIO
	}
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old)
	n, errno := fork(&c)
	unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	runtime.KeepAlive(files)
	unix.Close(c.pipe[1])
	if errno != 0 {
		return 0, errno
	}
	var answer [4]byte // the errno, or nothing when execve closed the pipe
	if got, _ := unix.Read(c.pipe[0], answer[:]); got == len(answer) {
		unix.Wait4(int(n), nil, 0, nil)
		return 0, unix.Errno(*(*uint32)(unsafe.Pointer(&answer)))
	}
	unix.Close(c.pipe[0])
	return int(n), 0
}

// candidates are the files that a command may mean, as execvp(3) has it.
func candidates(name string, env []string) (files []string) {
	if strings.Contains(name, "/") || name == "" {
		return []string{name}
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			search = value
		}
	}
	for dir := range strings.SplitSeq(search, ":") {
		if dir == "" {
			dir = "."
		}
		files = append(files, dir+"/"+name)
	}
	return files
}

func vector(list []string) []*byte {
	v := make([]*byte, 0, len(list)+1)
	for _, s := range list {
		if p, err := unix.BytePtrFromString(s); err == nil {
			v = append(v, p)
		}
	}
	return append(v, nil)
}

// fork makes the child with clone(2), because the default seccomp filter has
// no clone3(2). In the child it does not return.
//
//go:noinline
//go:norace
func fork(c *command) (pid uintptr, errno unix.Errno) {
	pid, _, errno = unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		c.child()
	}
	return pid, errno
}

// child becomes the program. Signals stay blocked until it has none of Go's
// handlers any more; a background process may take the terminal while SIGTTOU
// is blocked.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (c *command) child() {
	var zero [4]uint64 // struct sigaction with SIG_DFL, an empty signal set
	pid, _, _ := unix.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
	group := int32(pid)
	unix.RawSyscall(unix.SYS_SETPGID, 0, 0, 0)
	unix.RawSyscall(unix.SYS_IOCTL, 0, unix.TIOCSPGRP, uintptr(unsafe.Pointer(&group)))
	for n := uintptr(1); n <= 64; n++ {
		unix.RawSyscall6(unix.SYS_RT_SIGACTION, n, uintptr(unsafe.Pointer(&zero)), 0, 8, 0, 0)
	}
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&zero)), 0, 8, 0, 0)
	for file := c.files; *file != nil; file = (**byte)(unsafe.Add(unsafe.Pointer(file), unsafe.Sizeof(*file))) {
		_, _, errno := unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(*file)), uintptr(unsafe.Pointer(c.argv)), uintptr(unsafe.Pointer(c.envp)))
		// What can't be executed counts more than what is not there.
		if c.errno == 0 || errno != unix.ENOENT && errno != unix.ENOTDIR {
			c.errno = errno
		}
		if errno != unix.ENOENT && errno != unix.ENOTDIR && errno != unix.EACCES {
			break
		}
	}
	answer := uint32(c.errno)
	unix.RawSyscall(unix.SYS_WRITE, uintptr(c.pipe[1]), uintptr(unsafe.Pointer(&answer)), 4)
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
	}
}
