package security

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probeWord as the first argument makes this program one that runs in a
// container and tries what a shell can't.
const probeWord = "probe"

var probes = map[string]func(args []string) error{
	"syscalls": probeSyscalls,
	"handle":   probeHandle,
	"key":      probeKey,
	"terminal": probeTerminal,
	"ids":      probeIDs,
	"prowl":    probeProwl,
	"fork":     probeFork,
	"exchange": probeExchange,
}

func probe(args []string) int {
	if err := probes[args[0]](args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		return 1
	}
	return 0
}

// attempts are system calls that the default filter has to answer itself:
// without it, the kernel answers each of them otherwise.
var attempts = []struct {
	name string
	nr   uintptr
	args [3]uintptr
	want unix.Errno
}{
	{"io_uring_setup", unix.SYS_IO_URING_SETUP, [3]uintptr{}, unix.EPERM},
	{"AF_ALG socket", unix.SYS_SOCKET, [3]uintptr{unix.AF_ALG, unix.SOCK_SEQPACKET}, unix.EPERM},
	{"AF_VSOCK socket", unix.SYS_SOCKET, [3]uintptr{unix.AF_VSOCK, unix.SOCK_STREAM}, unix.EPERM},
	{"mount", unix.SYS_MOUNT, [3]uintptr{}, unix.EPERM},
	{"unshare", unix.SYS_UNSHARE, [3]uintptr{unix.CLONE_NEWUSER}, unix.EPERM},
	{"keyctl", unix.SYS_KEYCTL, [3]uintptr{}, unix.EPERM},
	{"bpf", unix.SYS_BPF, [3]uintptr{}, unix.EPERM},
	{"userfaultfd", unix.SYS_USERFAULTFD, [3]uintptr{}, unix.EPERM},
	{"clone3", unix.SYS_CLONE3, [3]uintptr{}, unix.ENOSYS},
	{"an unknown call", 9999, [3]uintptr{}, unix.ENOSYS},
}

func probeSyscalls([]string) error {
	for _, a := range attempts {
		_, _, errno := unix.Syscall(a.nr, a.args[0], a.args[1], a.args[2])
		if errno != a.want {
			fmt.Printf("%s: %v, want %v\n", a.name, errno, a.want)
		}
	}
	return nil
}

// probeHandle opens a file by its handle, as the exploit called Shocker did to
// get at the host's files.
func probeHandle([]string) error {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/bin/busybox", 0)
	if err != nil {
		handle = unix.NewFileHandle(1, make([]byte, 8))
	}
	dir, err := os.Open("/bin")
	if err != nil {
		return err
	}
	_, err = unix.OpenByHandleAt(int(dir.Fd()), handle, unix.O_RDONLY)
	fmt.Println(err)
	return nil
}

// probeKey looks for a key in the session keyring.
func probeKey(args []string) error {
	_, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", args[0], 0)
	fmt.Println(err)
	return nil
}

// probeTerminal pushes a character into the input of every terminal in reach.
func probeTerminal([]string) error {
	for _, name := range []string{"/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "/dev/tty", "/dev/console"} {
		file, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
		if err == nil {
			b := byte('!')
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, file.Fd(), unix.TIOCSTI, uintptr(unsafe.Pointer(&b))); errno == 0 {
				fmt.Println(name, "takes input")
			}
			file.Close()
		}
	}
	return nil
}

func probeIDs([]string) error {
	fmt.Println(os.Getuid(), os.Geteuid())
	return nil
}

// probeProwl looks, until its input ends, into every process that it does not
// know, and tries to write to its program. It tells of each success once.
func probeProwl([]string) error {
	fmt.Println("ready")
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	told := map[string]bool{}
	tell := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !told[text] {
			told[text] = true
			fmt.Println(text)
		}
	}
	for {
		select {
		case <-ended:
			return nil
		default:
		}
		dirs, err := os.ReadDir("/proc")
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			if _, err := strconv.Atoi(dir.Name()); err == nil {
				prowl("/proc/"+dir.Name(), tell)
			}
		}
	}
}

func prowl(dir string, tell func(string, ...any)) {
	exe, err := os.Readlink(dir + "/exe")
	if err != nil || ours(exe) {
		return
	}
	tell("sees program %s", exe)
	if program, err := os.Open(dir + "/exe"); err == nil {
		writable(program, tell)
		program.Close()
	}
	links, _ := filepath.Glob(dir + "/fd/*")
	for _, link := range append(links, dir+"/cwd", dir+"/root") {
		if place, err := os.Readlink(link); err == nil && strings.HasPrefix(place, "/") {
			tell("sees %s of %s", place, exe)
		}
	}
}

// ours says whether a program is one of the container's.
func ours(exe string) bool { return exe == "/probe" || exe == "/bin/busybox" }

// writable tries to change a program that was opened to be read. By now it may
// be another one.
func writable(program *os.File, tell func(string, ...any)) {
	self := fmt.Sprintf("/proc/self/fd/%d", program.Fd())
	exe, err := os.Readlink(self)
	if err != nil || ours(exe) {
		return
	}
	for _, flag := range []int{unix.O_WRONLY, unix.O_RDWR} {
		if fd, err := unix.Open(self, flag|unix.O_CLOEXEC, 0); err == nil {
			unix.Close(fd)
			tell("may write %s", exe)
		}
	}
	// As long as it runs it is busy, whoever asks: what counts is whether its
	// mount would let it be written afterwards.
	var fs unix.Statfs_t
	if unix.Fstatfs(int(program.Fd()), &fs) != nil || fs.Flags&unix.ST_RDONLY == 0 {
		tell("may write %s later", exe)
	}
	if os.Chmod(self, 0o777) == nil {
		tell("may change %s", exe)
	}
}

// probeFork forks until it is refused, and waits with all its children.
func probeFork([]string) error {
	for n := 0; ; n++ {
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno == 0 && pid == 0 {
			for {
				unix.RawSyscall(unix.SYS_PAUSE, 0, 0, 0)
			}
		}
		if errno != 0 {
			fmt.Printf("ready\n%v after %d\n", errno, n)
			io.Copy(io.Discard, os.Stdin)
			return nil
		}
	}
}

// probeExchange exchanges two names until its input ends.
func probeExchange(args []string) error {
	fmt.Println("ready")
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for {
		select {
		case <-ended:
			return nil
		default:
			if err := unix.Renameat2(unix.AT_FDCWD, args[0], unix.AT_FDCWD, args[1], unix.RENAME_EXCHANGE); err != nil {
				return err
			}
		}
	}
}
