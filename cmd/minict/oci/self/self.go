// Package self keeps the program out of the reach of containers.
//
// What this process starts comes near a container as long as it is this
// program: a container's program may be a link to /proc/self/exe, or have it as
// its interpreter, and then the container holds this very file open, and can
// open it again to be written (CVE-2019-5736). So the program executes itself
// once more from a mount of its own, which is read-only and in no mount table.
//
// The second start costs as much as the first. Where an airlock does (package
// launch), there is none; where it is known to be needed, this package makes it
// early: it imports nothing but syscall, so it is initialized before almost all
// others, and the first start ends there.
package self

import (
	"strconv"
	"syscall"
	"unsafe"
)

// args are the program's arguments. Package os would give them, later.
//
//go:linkname args os.runtime_args
func args() []string

// A word may be something else than the command: then the program is started
// once more than it had to be. Of other commands it depends on what the container
// is like.
func init() {
	argv := args()
	if len(argv) == 0 || !called(argv[0]) && (len(argv) < 2 || argv[1] != "oci") {
		return
	}
	for _, word := range argv[1:] {
		if word == "exec" {
			_ = Protect() // the command calls it too, and tells what goes wrong
			return
		}
	}
}

// called says whether a path's last name is that of the runtime.
func called(path string) bool {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			path = path[i+1:]
			break
		}
	}
	return path == Name
}

// Name is the second name of the binary.
const Name = "minict-oci"

// Error says what could not be done.
type Error struct {
	Doing string
	Errno syscall.Errno
}

func (e *Error) Error() string { return "protect the program: " + e.Doing + ": " + e.Errno.Error() }
func (e *Error) Unwrap() error { return e.Errno }

// Protect returns when the program runs from where nobody can write to it, and
// until then executes itself from there.
func Protect() error {
	exe, err := syscall.Open(own, oPath|syscall.O_CLOEXEC, 0)
	if err != nil {
		return failed("open", err)
	}
	defer syscall.Close(exe)
	safe, err := unwritable(exe)
	if err != nil {
		return failed("look at its mount", err)
	}
	if safe {
		nameProcess()
		return nil
	}
	program, err := readOnlyMount(exe)
	if err == syscall.EPERM || err == syscall.ENOSYS || err == syscall.EINVAL {
		// Without the right to mount, an old kernel, or a program that is
		// in another mount namespace: a copy in memory.
		program, err = sealedCopy()
	}
	if err != nil {
		return failed("mount", err)
	}
	err = syscall.Exec("/proc/self/fd/"+strconv.Itoa(program), args(), syscall.Environ())
	syscall.Close(program)
	return failed("execute", err)
}

func failed(doing string, err error) error {
	if errno, ok := err.(syscall.Errno); ok && errno != 0 {
		return &Error{doing, errno}
	}
	return nil
}

const (
	own = "/proc/self/exe"

	oPath        = 0x200000 // O_PATH
	emptyPath    = 0x1000   // AT_EMPTY_PATH
	readOnly     = 1        // ST_RDONLY, MOUNT_ATTR_RDONLY
	mountFlags   = readOnly | 2 | 4
	cloneTree    = 1 | syscall.O_CLOEXEC // OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC
	sysOpenTree  = 428
	sysSetattr   = 442
	getSeals     = 1034          // F_GET_SEALS
	addSeals     = 1033          // F_ADD_SEALS
	allSeals     = 1 | 2 | 4 | 8 // F_SEAL_SEAL, _SHRINK, _GROW, _WRITE
	memfdFlags   = 1 | 2         // MFD_CLOEXEC, MFD_ALLOW_SEALING
	memfdExec    = 0x10          // MFD_EXEC
	mountAttrLen = 32
)

// nameProcess gives the process its name back, in place of the number of the
// descriptor that it was executed by. It is that of the first thread, on which this
// may not run any more: prctl(2) would name another. Without a name it works as well.
func nameProcess() {
	if comm, err := syscall.Open("/proc/self/comm", syscall.O_WRONLY|syscall.O_CLOEXEC, 0); err == nil {
		syscall.Write(comm, []byte(Name))
		syscall.Close(comm)
	}
}

// unwritable says whether nobody can write to the file by this descriptor.
func unwritable(exe int) (bool, error) {
	var fs syscall.Statfs_t
	if err := syscall.Fstatfs(exe, &fs); err != nil {
		return false, err
	}
	if fs.Flags&readOnly != 0 {
		return true, nil
	}
	file, err := syscall.Open(own, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return false, nil // may be executed and not be read
	}
	defer syscall.Close(file)
	have, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(file), getSeals, 0)
	return errno == 0 && have&allSeals == allSeals, nil
}

func readOnlyMount(exe int) (int, error) {
	empty := [1]byte{}
	mnt, _, errno := syscall.Syscall(sysOpenTree, uintptr(exe), uintptr(unsafe.Pointer(&empty[0])), cloneTree|emptyPath)
	if errno != 0 {
		return -1, errno
	}
	attr := [mountAttrLen / 8]uint64{mountFlags} // struct mount_attr: set, clear, propagation, namespace
	err := call(sysSetattr, mnt, uintptr(unsafe.Pointer(&empty[0])), emptyPath, uintptr(unsafe.Pointer(&attr[0])), mountAttrLen)
	if err != nil {
		syscall.Close(int(mnt))
		return -1, err
	}
	return int(mnt), nil
}

func call(nr, a, b, c, d, e uintptr) error {
	if _, _, errno := syscall.Syscall6(nr, a, b, c, d, e, 0); errno != 0 {
		return errno
	}
	return nil
}

func sealedCopy() (int, error) {
	from, err := syscall.Open(own, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer syscall.Close(from)
	name := append([]byte(Name), 0)
	fd, _, errno := syscall.Syscall(sysMemfdCreate, uintptr(unsafe.Pointer(&name[0])), memfdFlags|memfdExec, 0)
	if errno == syscall.EINVAL { // before Linux 6.3
		fd, _, errno = syscall.Syscall(sysMemfdCreate, uintptr(unsafe.Pointer(&name[0])), memfdFlags, 0)
	}
	if errno != 0 {
		return -1, errno
	}
	for {
		n, err := syscall.Sendfile(int(fd), from, nil, 1<<30)
		if err == syscall.EINTR || n > 0 {
			continue
		}
		if err == nil {
			err = call(syscall.SYS_FCNTL, fd, addSeals, allSeals, 0, 0)
		}
		if err != nil {
			syscall.Close(int(fd))
			return -1, err
		}
		return int(fd), nil
	}
}
