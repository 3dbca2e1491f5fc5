package faults

import (
	"strings"

	"golang.org/x/sys/unix"
)

// changing are the system calls that always change something outside of the
// process that makes them, or that prepare it.
var changing = map[uint64]string{
	unix.SYS_CREAT:             "creat",
	unix.SYS_RENAME:            "rename",
	unix.SYS_RENAMEAT:          "renameat",
	unix.SYS_RENAMEAT2:         "renameat2",
	unix.SYS_LINK:              "link",
	unix.SYS_LINKAT:            "linkat",
	unix.SYS_SYMLINK:           "symlink",
	unix.SYS_SYMLINKAT:         "symlinkat",
	unix.SYS_UNLINK:            "unlink",
	unix.SYS_UNLINKAT:          "unlinkat",
	unix.SYS_MKDIR:             "mkdir",
	unix.SYS_MKDIRAT:           "mkdirat",
	unix.SYS_RMDIR:             "rmdir",
	unix.SYS_MKNOD:             "mknod",
	unix.SYS_MKNODAT:           "mknodat",
	unix.SYS_TRUNCATE:          "truncate",
	unix.SYS_FTRUNCATE:         "ftruncate",
	unix.SYS_FALLOCATE:         "fallocate",
	unix.SYS_FSYNC:             "fsync",
	unix.SYS_FDATASYNC:         "fdatasync",
	unix.SYS_SYNCFS:            "syncfs",
	unix.SYS_CHMOD:             "chmod",
	unix.SYS_FCHMOD:            "fchmod",
	unix.SYS_FCHMODAT:          "fchmodat",
	unix.SYS_FCHMODAT2:         "fchmodat2",
	unix.SYS_CHOWN:             "chown",
	unix.SYS_FCHOWN:            "fchown",
	unix.SYS_LCHOWN:            "lchown",
	unix.SYS_FCHOWNAT:          "fchownat",
	unix.SYS_UTIMENSAT:         "utimensat",
	unix.SYS_SETXATTR:          "setxattr",
	unix.SYS_LSETXATTR:         "lsetxattr",
	unix.SYS_FSETXATTR:         "fsetxattr",
	unix.SYS_FLOCK:             "flock",
	unix.SYS_MOUNT:             "mount",
	unix.SYS_UMOUNT2:           "umount2",
	unix.SYS_FSOPEN:            "fsopen",
	unix.SYS_FSCONFIG:          "fsconfig",
	unix.SYS_FSMOUNT:           "fsmount",
	unix.SYS_OPEN_TREE:         "open_tree",
	unix.SYS_MOVE_MOUNT:        "move_mount",
	unix.SYS_PIVOT_ROOT:        "pivot_root",
	unix.SYS_UNSHARE:           "unshare",
	unix.SYS_SETNS:             "setns",
	unix.SYS_FORK:              "fork",
	unix.SYS_VFORK:             "vfork",
	unix.SYS_EXECVE:            "execve",
	unix.SYS_EXECVEAT:          "execveat",
	unix.SYS_BIND:              "bind",
	unix.SYS_LISTEN:            "listen",
	unix.SYS_SENDMSG:           "sendmsg",
	unix.SYS_SENDTO:            "sendto",
	unix.SYS_SOCKETPAIR:        "socketpair",
	unix.SYS_KILL:              "kill",
	unix.SYS_COPY_FILE_RANGE:   "copy_file_range",
	unix.SYS_MOUNT_SETATTR:     "mount_setattr",
	unix.SYS_MEMFD_CREATE:      "memfd_create",
	unix.SYS_PIDFD_SEND_SIGNAL: "pidfd_send_signal",
	unix.SYS_SETHOSTNAME:       "sethostname",
	unix.SYS_CAPSET:            "capset",
	unix.SYS_SECCOMP:           "seccomp",
	unix.SYS_SETRESUID:         "setresuid",
	unix.SYS_SETRLIMIT:         "setrlimit",
	unix.SYS_PRLIMIT64:         "prlimit64",
}

// changes says what the call is that begins, and whether it changes something;
// if it writes to a file, also to which.
func (i syscallInfo) changes() (name, file string, changes bool) {
	const written = unix.O_WRONLY | unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC
	switch i.Nr {
	case unix.SYS_OPEN:
		return "open", "", i.Args[1]&written != 0
	case unix.SYS_OPENAT:
		return "openat", "", i.Args[2]&written != 0
	case unix.SYS_OPENAT2:
		return "openat2", "", i.word(i.Args[2])&written != 0
	case unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_WRITEV:
		file = i.written()
		return "write", file, file != ""
	case unix.SYS_CLONE:
		return "clone", "", i.Args[0]&unix.CLONE_THREAD == 0
	case unix.SYS_CLONE3:
		return "clone3", "", i.word(i.Args[0])&unix.CLONE_THREAD == 0
	}
	name, changes = changing[i.Nr]
	return name, "", changes
}

// written is the file that the call writes to; "" if that is the user's, or an
// eventfd, by which the threads of a Go program wake each other.
func (i syscallInfo) written() string {
	if file := i.file(i.Args[0]); i.Args[0] > 2 && strings.HasPrefix(file, "/") {
		return file
	}
	return ""
}
