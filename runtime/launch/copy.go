package launch

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// copier is the state of plan.Copy. What would be variables on the stack
// stands here, as everything of the machine: the directories that are open, and
// one buffer for the entries of the innermost. It is read again, from where it
// was left, when the directory below is done.
type copier struct {
	dirs  [maxDepth]openDir
	depth uintptr
	pos   uintptr // of the next entry in entries
	end   uintptr
	name  uintptr // of the entry at hand
	in    uintptr // a file
	out   uintptr // … and its copy
	stat  unix.Statx_t
	times [2]unix.Timespec
	link  [unix.PathMax]byte
	// entries are of struct linux_dirent64.
	entries [4096]byte
}

// openDir is a directory and its copy.
type openDir struct {
	from, to uintptr
	next     uintptr // the place of the entry after the one at hand
}

const maxDepth = 128

var dot, empty = [2]byte{'.'}, [1]byte{}

// copyTree is plan.Copy. The original may be changed by others meanwhile: each
// entry is opened by its plain name, and no link is followed.
//
//go:nosplit
//go:norace
func (m *machine) copyTree() unix.Errno {
	c := &m.copier
	c.depth = 0
	errno := c.enter(m.args[0], m.args[1], uintptr(unsafe.Pointer(&dot)))
	for errno == 0 && c.depth > 0 {
		if c.pos == c.end && m.args[2]&plan.CopyInside != 0 {
			errno = c.fill()
		}
		if errno == 0 && c.end == 0 { // all of this directory is done
			if c.depth > 1 || m.args[2]&plan.CopyTop != 0 {
				errno = c.attributes(c.dir().from, c.dir().to)
			}
			c.leave()
			continue
		}
		if errno != 0 || !c.take() {
			continue
		}
		if errno = c.look(c.dir().from, c.name, unix.AT_SYMLINK_NOFOLLOW); errno != 0 {
			continue
		}
		switch c.stat.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if errno = c.mkdir(); errno == 0 {
				errno = c.enter(c.dir().from, c.dir().to, c.name)
			}
		case unix.S_IFREG:
			if errno = c.open(); errno == 0 {
				errno = c.content()
			}
			if errno == 0 {
				errno = c.attributes(c.in, c.out)
			}
			c.close()
		case unix.S_IFLNK:
			if errno = c.symlink(); errno == 0 {
				errno = c.chown()
			}
		case unix.S_IFSOCK: // nobody listens at a copy
		default:
			if errno = c.node(); errno == 0 {
				errno = c.chown()
			}
		}
	}
	for c.depth > 0 {
		c.leave()
	}
	return errno
}

// dir is the innermost directory.
//
//go:nosplit
//go:norace
func (c *copier) dir() *openDir {
	return (*openDir)(unsafe.Add(unsafe.Pointer(&c.dirs), (c.depth-1)*unsafe.Sizeof(openDir{})))
}

// enter opens a directory and its copy by their name.
//
//go:nosplit
//go:norace
func (c *copier) enter(from, to, name uintptr) unix.Errno {
	if c.depth == maxDepth {
		return unix.ENAMETOOLONG
	}
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	from, _, errno := rawSyscall6(unix.SYS_OPENAT, from, name, flags, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	to, _, errno = rawSyscall6(unix.SYS_OPENAT, to, name, flags, 0, 0, 0)
	if errno != 0 {
		rawSyscall6(unix.SYS_CLOSE, from, 0, 0, 0, 0, 0)
		return errno
	}
	c.depth++
	*c.dir() = openDir{from: from, to: to}
	c.pos, c.end = 0, 0
	return 0
}

// leave closes the innermost directory, and goes on in the one above.
//
//go:nosplit
//go:norace
func (c *copier) leave() {
	rawSyscall6(unix.SYS_CLOSE, c.dir().from, 0, 0, 0, 0, 0)
	rawSyscall6(unix.SYS_CLOSE, c.dir().to, 0, 0, 0, 0, 0)
	c.depth--
	c.pos, c.end = 0, 0
	if c.depth > 0 {
		rawSyscall6(unix.SYS_LSEEK, c.dir().from, c.dir().next, unix.SEEK_SET, 0, 0, 0)
	}
}

// fill reads entries; at the end of the directory there are none.
//
//go:nosplit
//go:norace
func (c *copier) fill() unix.Errno {
	n, _, errno := rawSyscall6(unix.SYS_GETDENTS64, c.dir().from,
		uintptr(unsafe.Pointer(&c.entries)), unsafe.Sizeof(c.entries), 0, 0, 0)
	c.pos, c.end = 0, n
	return errno
}

// take goes to the next entry, unless that is the directory itself or the one
// above.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (c *copier) take() bool {
	d := (*unix.Dirent)(unsafe.Add(unsafe.Pointer(&c.entries), c.pos))
	c.pos += uintptr(d.Reclen)
	c.dir().next = uintptr(d.Off)
	c.name = uintptr(unsafe.Pointer(&d.Name))
	return d.Name[0] != '.' || d.Name[1] != 0 && (d.Name[1] != '.' || d.Name[2] != 0)
}

//go:nosplit
//go:norace
func (c *copier) look(dir, name, flags uintptr) unix.Errno {
	_, _, errno := rawSyscall6(unix.SYS_STATX, dir, name, flags, unix.STATX_BASIC_STATS,
		uintptr(unsafe.Pointer(&c.stat)), 0)
	return errno
}

//go:nosplit
//go:norace
func (c *copier) mkdir() unix.Errno {
	_, _, errno := rawSyscall6(unix.SYS_MKDIRAT, c.dir().to, c.name, 0o700, 0, 0, 0)
	return errno
}

// open opens a file and makes its copy.
//
//go:nosplit
//go:norace
func (c *copier) open() (errno unix.Errno) {
	// Not to wait for somebody, if it has become a fifo meanwhile.
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	c.in, _, errno = rawSyscall6(unix.SYS_OPENAT, c.dir().from, c.name, flags, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	const create = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	c.out, _, errno = rawSyscall6(unix.SYS_OPENAT, c.dir().to, c.name, create, 0o600, 0, 0)
	return errno
}

//go:nosplit
//go:norace
func (c *copier) close() {
	rawSyscall6(unix.SYS_CLOSE, c.in, 0, 0, 0, 0, 0)
	rawSyscall6(unix.SYS_CLOSE, c.out, 0, 0, 0, 0, 0)
}

// content copies what is in the file.
//
//go:nosplit
//go:norace
func (c *copier) content() unix.Errno {
	for {
		const most = 1 << 30
		n, _, errno := rawSyscall6(unix.SYS_SENDFILE, c.out, c.in, 0, most, 0, 0)
		if errno != 0 || n == 0 {
			return errno
		}
	}
}

// attributes gives a copy the owner, mode and times of the original.
//
//go:nosplit
//go:norace
func (c *copier) attributes(from, to uintptr) unix.Errno {
	_, _, errno := rawSyscall6(unix.SYS_STATX, from, uintptr(unsafe.Pointer(&empty)), unix.AT_EMPTY_PATH,
		unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(&c.stat)), 0)
	if errno != 0 {
		return errno
	}
	// The owner first: a change of it takes the set-uid bit away. An owner
	// that this user namespace has no id for can't be given (EINVAL).
	_, _, errno = rawSyscall6(unix.SYS_FCHOWN, to, uintptr(c.stat.Uid), uintptr(c.stat.Gid), 0, 0, 0)
	if errno != 0 && errno != unix.EINVAL {
		return errno
	}
	if _, _, errno = rawSyscall6(unix.SYS_FCHMOD, to, uintptr(c.stat.Mode&0o7777), 0, 0, 0, 0); errno != 0 {
		return errno
	}
	c.times[0] = unix.Timespec{Sec: c.stat.Atime.Sec, Nsec: int64(c.stat.Atime.Nsec)}
	c.times[1] = unix.Timespec{Sec: c.stat.Mtime.Sec, Nsec: int64(c.stat.Mtime.Nsec)}
	_, _, errno = rawSyscall6(unix.SYS_UTIMENSAT, to, 0, uintptr(unsafe.Pointer(&c.times)), 0, 0, 0)
	return errno
}

//go:nosplit
//go:norace
//go:nocheckptr
func (c *copier) symlink() unix.Errno {
	at := uintptr(unsafe.Pointer(&c.link))
	n, _, errno := rawSyscall6(unix.SYS_READLINKAT, c.dir().from, c.name, at, unsafe.Sizeof(c.link)-1, 0, 0)
	if errno != 0 {
		return errno
	}
	*(*byte)(address(at + n)) = 0
	_, _, errno = rawSyscall6(unix.SYS_SYMLINKAT, at, c.dir().to, c.name, 0, 0, 0)
	return errno
}

// node makes a device or a fifo like the one that was looked at.
//
//go:nosplit
//go:norace
func (c *copier) node() unix.Errno {
	device := unix.Mkdev(c.stat.Rdev_major, c.stat.Rdev_minor)
	_, _, errno := rawSyscall6(unix.SYS_MKNODAT, c.dir().to, c.name, uintptr(c.stat.Mode), uintptr(device), 0, 0)
	return errno
}

//go:nosplit
//go:norace
func (c *copier) chown() unix.Errno {
	_, _, errno := rawSyscall6(unix.SYS_FCHOWNAT, c.dir().to, c.name, uintptr(c.stat.Uid), uintptr(c.stat.Gid),
		unix.AT_SYMLINK_NOFOLLOW, 0)
	if errno == unix.EINVAL {
		return 0
	}
	return errno
}
