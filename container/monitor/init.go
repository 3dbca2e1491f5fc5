package monitor

import (
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Init is the life of the init that is PID 1 in a container: it starts the
// command, passes signals on to it, reaps whatever process was left behind,
// and ends with the command's exit status: 128+n if signal n killed it, 127 if
// it was not found, 126 if it can't be executed.
//
// A signal must reach no thread of the Go runtime, so all are blocked since
// before the program began. Where they are not, it begins again.
func Init(args []string) int {
	runtime.LockOSThread()
	if len(args) < 3 {
		return 2
	}
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old)
	if old.Val[0]&(1<<(unix.SIGTERM-1)) == 0 {
		unix.Exec("/proc/self/exe", args, syscall.Environ())
	}
	signals, err := unix.Signalfd(-1, &all, unix.SFD_CLOEXEC)
	if err != nil {
		return 2
	}
	command := args[2:]
	pid, errno := start(command)
	if errno != 0 {
		return complain(command[0], errno)
	}
	return tend(signals, pid)
}

// tend waits for signals until the command has ended.
func tend(signals, pid int) (code int) {
	for {
		var info unix.SignalfdSiginfo
		n, err := unix.Read(signals, (*[unsafe.Sizeof(info)]byte)(unsafe.Pointer(&info))[:])
		if err != nil || n < int(unsafe.Sizeof(info)) {
			continue
		}
		if signal := unix.Signal(info.Signo); signal != unix.SIGCHLD {
			unix.Kill(pid, signal)
			continue
		}
		// One SIGCHLD may stand for many.
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
	n, errno := fork(&c)
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
