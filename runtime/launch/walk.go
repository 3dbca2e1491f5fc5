package launch

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// walk begins plan.Walk, and is done with it if nothing has to be made. If it
// gives isLink, makeWay goes on, again and again: none calls the other, because
// there is not much room on the stack. makeWay follows the path component by component only when
// something has to be made: each component that is missing is made in the
// directory that the kernel resolved for the path so far, by its plain name,
// so that no link can lead the making outside. For that the path is cut short
// in place, and mended before it returns.
//
// Its arguments are the machine's: root, path, kind, mode.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (m *machine) walk() (uintptr, unix.Errno) {
	how, kind := &m.how, m.args[2]
	how.Flags, how.Mode = unix.O_PATH|unix.O_CLOEXEC, 0
	how.Resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	if kind&plan.WalkPlain != 0 {
		how.Resolve |= unix.RESOLVE_NO_SYMLINKS
		kind &^= plan.WalkPlain
	}
	if kind == plan.WalkDir {
		how.Flags |= unix.O_DIRECTORY
	}
	m.links, m.file = 0, kind == plan.WalkFile
	fd, errno := m.openBelow()
	if errno == unix.ENOENT && kind != plan.WalkExisting {
		errno = isLink
	}
	return fd, errno
}

// maxLinks is how many links that lead nowhere a path may have, as many as the
// kernel follows of all (path_resolution(7)).
const maxLinks = 40

// isLink says that something has to be made, or that the path goes on by a link
// and was written anew.
const isLink = unix.ERESTART

// makeWay makes what is missing of the path, the last of it a directory or a
// file.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (m *machine) makeWay() (fd uintptr, errno unix.Errno) {
	if m.links++; m.links > maxLinks {
		return 0, unix.ELOOP
	}
	m.parent = m.args[0]
	for end := m.args[1]; ; {
		name := skipSlashes(end)
		end = name
		for *(*byte)(address(end)) != 0 && *(*byte)(address(end)) != '/' {
			end++
		}
		cut := *(*byte)(address(end))
		last := *(*byte)(address(skipSlashes(end))) == 0
		*(*byte)(address(end)) = 0
		m.how.Flags |= unix.O_DIRECTORY
		if last && m.file {
			m.how.Flags &^= unix.O_DIRECTORY
		}
		if fd, errno = m.openBelow(); errno == unix.ENOENT {
			if errno = m.make(name); errno == 0 {
				fd, errno = m.openBelow()
			}
		}
		if errno == unix.ENOENT && m.how.Resolve&unix.RESOLVE_NO_SYMLINKS == 0 {
			errno = m.readLink(name)
		}
		*(*byte)(address(end)) = cut
		if m.parent != m.args[0] {
			rawSyscall6(unix.SYS_CLOSE, m.parent, 0, 0, 0, 0, 0)
		}
		if errno == isLink {
			return 0, m.follow(name, end)
		}
		if errno != 0 || last {
			return fd, errno
		}
		m.parent = fd
	}
}

// readLink reads a link whose target is missing. The way goes on there, as it
// does for programs in the container: an image has /var/run as a link to /run,
// and perhaps no /run.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (m *machine) readLink(name uintptr) unix.Errno {
	n, _, errno := rawSyscall6(unix.SYS_READLINKAT, m.parent, name,
		uintptr(unsafe.Pointer(&m.target)), unsafe.Sizeof(m.target)-1, 0, 0)
	if errno != 0 {
		return unix.ENOENT // as it was: no link either
	}
	*(*byte)(unsafe.Add(unsafe.Pointer(&m.target), n)) = 0
	return isLink
}

// follow writes the path anew with the target of a link in the place of its
// name. A relative one is meant from the directory that the link is in, an
// absolute one from the root; where that is, the kernel is asked again.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (m *machine) follow(name, end uintptr) unix.Errno {
	to := uintptr(unsafe.Pointer(&m.ways)) + m.links%2*unsafe.Sizeof(m.ways[0])
	begin, limit := to, to+unsafe.Sizeof(m.ways[0])
	if m.target[0] != '/' {
		to = write(to, limit, m.args[1], name)
	}
	to = write(to, limit, uintptr(unsafe.Pointer(&m.target)), 0)
	if to = write(to, limit, end, 0); to >= limit {
		return unix.ENAMETOOLONG
	}
	*(*byte)(address(to)) = 0
	m.args[1] = begin
	return isLink
}

// write copies bytes up to the address until, or up to a zero byte.
//
//go:nosplit
//go:norace
//go:nocheckptr
func write(to, limit, from, until uintptr) uintptr {
	for to < limit && from != until && *(*byte)(address(from)) != 0 {
		*(*byte)(address(to)) = *(*byte)(address(from))
		to++
		from++
	}
	return to
}

// make makes what the path leads to as far as it is cut, of which name is the
// last component and m.parent the directory.
//
//go:nosplit
//go:norace
func (m *machine) make(name uintptr) (errno unix.Errno) {
	if m.how.Flags&unix.O_DIRECTORY != 0 {
		_, _, errno = rawSyscall6(unix.SYS_MKDIRAT, m.parent, name, m.args[3], 0, 0, 0)
	} else {
		var fd uintptr
		const flags = unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
		fd, _, errno = rawSyscall6(unix.SYS_OPENAT, m.parent, name, flags, m.args[3], 0, 0)
		if errno == 0 {
			rawSyscall6(unix.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
		}
	}
	if errno == unix.EEXIST { // by now, or a link that leads nowhere
		return 0
	}
	return errno
}

// openBelow gives an O_PATH descriptor of the path below root. The kernel gives
// EAGAIN when it could not be sure that a ".." stayed inside while somebody
// moved directories; the caller is to try again (openat2(2)), but not for
// ever.
//
//go:nosplit
//go:norace
func (m *machine) openBelow() (uintptr, unix.Errno) {
	for tries := 0; ; tries++ {
		fd, _, errno := rawSyscall6(unix.SYS_OPENAT2, m.args[0], m.args[1],
			uintptr(unsafe.Pointer(&m.how)), unsafe.Sizeof(m.how), 0, 0)
		if errno != unix.EAGAIN || tries == 128 {
			return fd, errno
		}
	}
}

//go:nosplit
//go:norace
//go:nocheckptr
func skipSlashes(a uintptr) uintptr {
	for *(*byte)(address(a)) == '/' {
		a++
	}
	return a
}

// rmdir is plan.Rmdir: it waits 1, 2, 4 … ms between tries, 2 s in all.
//
//go:nosplit
//go:norace
func rmdir(path uintptr) unix.Errno {
	for ms := int64(1); ; ms *= 2 {
		at := unix.AT_FDCWD
		_, _, errno := rawSyscall6(unix.SYS_UNLINKAT, uintptr(at), path, unix.AT_REMOVEDIR, 0, 0, 0)
		if errno == 0 || errno == unix.ENOENT {
			return 0
		}
		if errno != unix.EBUSY || ms > 1024 {
			return errno
		}
		pause := unix.Timespec{Sec: ms / 1000, Nsec: ms % 1000 * 1e6}
		rawSyscall6(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0, 0, 0, 0)
	}
}
