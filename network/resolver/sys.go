package resolver

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls that allocate nothing. A monitor collects no garbage before
// there are 16 MiB of it, and a container may ask for names as often as it likes.
// None of them waits, so that Go's runtime need not be told of them either.

// path is a path that is put together in place, with a zero byte at its end.
// One that is too long is not there.
type path struct {
	b [1024]byte
	n int
}

func (p *path) set(first string) *path {
	p.n = 0
	return p.add(first)
}

func (p *path) add(part string) *path {
	p.n += copy(p.b[p.n:len(p.b)-1], part)
	p.b[p.n] = 0
	return p
}

func (p *path) addBytes(part []byte) *path {
	p.n += copy(p.b[p.n:len(p.b)-1], part)
	p.b[p.n] = 0
	return p
}

func (p *path) addAddress(a *address) *path {
	var text [48]byte
	return p.addBytes(appendAddress(text[:0], a))
}

func (p *path) pointer() uintptr { return uintptr(unsafe.Pointer(&p.b[0])) }

// open opens a path to be read, relative to a directory; -1 if that fails.
func (p *path) open(dir, flags int) int {
	fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(dir), p.pointer(), uintptr(flags|unix.O_RDONLY|unix.O_CLOEXEC), 0, 0, 0)
	if errno != 0 {
		return -1
	}
	return int(fd)
}

// readlink reads a link; nothing if there is none.
func (p *path) readlink(dir int, into []byte) []byte {
	n, _, errno := unix.RawSyscall6(unix.SYS_READLINKAT, uintptr(dir), p.pointer(), address0(into), uintptr(len(into)), 0, 0)
	if errno != 0 {
		return nil
	}
	return into[:n]
}

func address0(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

func closeFD(fd int) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// locked says whether somebody holds a lock on a file, which is closed.
func locked(fd int) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_FLOCK, uintptr(fd), unix.LOCK_SH|unix.LOCK_NB, 0)
	closeFD(fd)
	return errno == unix.EWOULDBLOCK
}

// readAll reads a small file as far as there is room, in whole lines; nothing if
// it can't be read.
func (p *path) readAll(dir int, into []byte) []byte {
	fd := p.open(dir, unix.O_NONBLOCK)
	if fd < 0 {
		return nil
	}
	n := 0
	for n < len(into) {
		got, errno := read(fd, into[n:])
		if errno != 0 || got == 0 {
			break
		}
		n += got
	}
	closeFD(fd)
	for full := n == len(into); full && n > 0 && into[n-1] != '\n'; {
		n--
	}
	return into[:n]
}

func read(fd int, into []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), address0(into), uintptr(len(into)))
	return int(n), errno
}

// entries reads the names in an open directory one after the other.
type entries struct {
	fd   int
	buf  []byte
	rest []byte
}

// next gives the next name; none at the end. It is good until the next call.
func (e *entries) next() []byte {
	// linux_dirent64, getdents64(2): inode, offset, length of the entry, kind, name.
	const length, name = 16, 19
	for {
		if len(e.rest) == 0 {
			n, _, errno := unix.RawSyscall(unix.SYS_GETDENTS64, uintptr(e.fd), address0(e.buf), uintptr(len(e.buf)))
			if errno != 0 || n == 0 {
				return nil
			}
			e.rest = e.buf[:n]
		}
		size := int(*(*uint16)(unsafe.Pointer(&e.rest[length])))
		found := e.rest[name:size]
		e.rest = e.rest[size:]
		for i, c := range found {
			if c == 0 {
				found = found[:i]
				break
			}
		}
		if found[0] != '.' { // nothing here begins with a dot but what is not meant
			return found
		}
	}
}
