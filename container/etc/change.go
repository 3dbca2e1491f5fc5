package etc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"minict/internal/thread"
)

// maxSize bounds a file that is changed, in bytes.
const maxSize = 1 << 20

// ErrForeign says that a file is not, or not any more, the one that was made for
// the container.
var ErrForeign = errors.New("is not the file that was made for the container")

// Change changes a file that was made for a running container (runtime.File, at
// the path name), also if that is read-only to the container. Proc is the open
// directory /proc/PID of its first process. Change is given the content, and gives
// the new one; no change is no write.
//
// The container may have anything at that path by now: links, other mounts, its own
// files under directories that it has moved there. So the file is opened below the
// container's root and without an effect of that (O_PATH); it has to be a regular
// file, on the file system that was made for such files and that nobody can mount
// but who is allowed to mount anything; and it is written to by a mount of its own,
// which is in no mount table.
func Change(proc *os.File, name string, change func(content string) string) error {
	err := thread.Run(func() error {
		f, err := open(proc, name)
		if err != nil {
			return err
		}
		defer f.Close()
		return rewrite(f, change)
	})
	if err != nil {
		return fmt.Errorf("change %s of the container: %w", name, err)
	}
	return nil
}

// open opens the file to be read and written. The thread is in the container's
// mount namespace after that.
func open(proc *os.File, name string) (*os.File, error) {
	file, err := openMade(proc, name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(file)
	own, err := unix.Open("/proc/thread-self/fd", pathOnly|unix.O_DIRECTORY, 0) // before it is another /proc
	if err != nil {
		return nil, err
	}
	defer unix.Close(own)
	if err := enterMounts(proc); err != nil {
		return nil, err
	}
	mount, err := writableMount(file)
	if err != nil {
		return nil, err
	}
	defer unix.Close(mount)
	fd, err := unix.Openat(own, strconv.Itoa(mount), unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// pathOnly opens without an effect.
const pathOnly = unix.O_PATH | unix.O_CLOEXEC

// openMade opens the file as a path, if it is one that was made for the
// container.
func openMade(proc *os.File, name string) (int, error) {
	root, err := unix.Openat(int(proc.Fd()), "root", pathOnly|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	file, err := unix.Openat2(root, name, &unix.OpenHow{Flags: pathOnly, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return -1, err
	}
	if err := check(proc, file); err != nil {
		unix.Close(file)
		return -1, err
	}
	return file, nil
}

// enterMounts moves the thread into the mount namespace of the process.
func enterMounts(proc *os.File) error {
	ns, err := unix.Openat(int(proc.Fd()), "ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(ns)
	// It shares its root directory with the other threads, until it says so.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	return unix.Setns(ns, unix.CLONE_NEWNS)
}

// writableMount gives a new mount of one file.
func writableMount(file int) (int, error) {
	mount, err := unix.OpenTree(file, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, err
	}
	if err := unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}); err != nil {
		unix.Close(mount)
		return -1, err
	}
	return mount, nil
}

// check looks whether a file is one of those that were made for the container:
// runtime/files.go says how they are mounted.
func check(proc *os.File, file int) error {
	var st unix.Statx_t
	if err := unix.Statx(file, "", unix.AT_EMPTY_PATH, unix.STATX_TYPE|unix.STATX_MNT_ID, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mask&unix.STATX_MNT_ID == 0 {
		return ErrForeign
	}
	fd, err := unix.Openat(int(proc.Fd()), "mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "mountinfo")
	defer f.Close()
	table, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if !made(table, st.Mnt_id) {
		return ErrForeign
	}
	return nil
}

// made says whether a mount, proc_pid_mountinfo(5), is of a file that was made
// for the container.
func made(table []byte, id uint64) bool {
	prefix := []byte(strconv.FormatUint(id, 10) + " ")
	for line := range bytes.Lines(table) {
		if !bytes.HasPrefix(line, prefix) {
			continue
		}
		place, what, _ := strings.Cut(string(line), " - ")
		fields, kind := strings.Fields(place), strings.Fields(what)
		if len(fields) < 5 || len(kind) < 2 {
			return false
		}
		_, err := strconv.ParseUint(strings.TrimPrefix(fields[3], "/"), 10, 8)
		return err == nil && kind[0] == "tmpfs" && kind[1] == "minict"
	}
	return false
}

// rewrite changes the content of an open file.
func rewrite(f *os.File, change func(content string) string) error {
	old, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return err
	}
	if len(old) > maxSize {
		return unix.EFBIG
	}
	content := change(string(old))
	if content == string(old) {
		return nil
	}
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(content)))
}
