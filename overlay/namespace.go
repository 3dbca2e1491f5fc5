package overlay

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountByNamespace is for kernels whose overlayfs knows mount(2) alone, which
// can only mount at a place. The place is in a mount namespace that one thread
// makes for itself; what is mounted there is cloned, and the thread ends.
func mountByNamespace(s Stack) (*os.File, error) {
	var f *os.File
	var err error
	onThread(func() { f, err = s.mountHere() })
	return f, err
}

// onThread calls f on a thread that does nothing else and ends afterwards,
// since a locked thread ends with its goroutine. The process's first thread
// can't end, and is what /proc/self shows: that one only waits for another.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onThread(f)
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}

// mountHere spoils the thread it runs on: it leaves it in a mount namespace
// and a working directory of its own.
func (s Stack) mountHere() (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return nil, fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make / private: %w", err)
	}
	// The directories are opened in the new namespace, since the kernel
	// stacks no mount of another one, and named by descriptors, relative to
	// the directory of these, since all options together get 4096 bytes.
	dirs, err := s.open()
	defer func() {
		for _, dir := range dirs {
			dir.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := unix.Chdir("/proc/thread-self/fd"); err != nil {
		return nil, fmt.Errorf("chdir /proc/thread-self/fd: %w", err)
	}
	var fds []string
	for _, dir := range dirs {
		fds = append(fds, strconv.Itoa(int(dir.Fd())))
	}
	place := fds[0]
	if err := s.mountAt(place, fds); err != nil {
		return nil, err
	}
	// The descriptor still is the directory below the new mount; its path,
	// walked again, leads to the mount on top.
	fd, err := unix.OpenTree(unix.AT_FDCWD, dirs[0].Name(), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open_tree %s: %w", dirs[0].Name(), err)
	}
	f := os.NewFile(uintptr(fd), "overlay")
	var st unix.Statfs_t
	err = unix.Fstatfs(fd, &st)
	if err == nil && st.Type != unix.OVERLAYFS_SUPER_MAGIC {
		err = errors.New("the mount is not where it was made")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// open opens the lower directories and then, if there are any, upper and work.
func (s Stack) open() (dirs []*os.File, err error) {
	names := s.Lower
	if s.Upper != "" {
		names = append(names[:len(names):len(names)], s.Upper, s.Work)
	}
	for _, name := range names {
		f, err := openDir(name)
		if err != nil {
			return dirs, err
		}
		dirs = append(dirs, f)
	}
	return dirs, nil
}

// mountAt calls mount(2). Every option is older than what minict needs of a
// kernel; "volatile", from Linux 5.10, is the youngest.
func (s Stack) mountAt(place string, fds []string) error {
	n := len(s.Lower)
	data := "lowerdir=" + strings.Join(fds[:n], ":")
	if s.Upper != "" {
		data += ",upperdir=" + fds[n] + ",workdir=" + fds[n+1]
	}
	for _, o := range s.options() {
		data += "," + strings.TrimSuffix(o.key+"="+o.value, "=")
	}
	if len(data) >= os.Getpagesize() {
		return fmt.Errorf("%d lower directories are too many for this kernel", n)
	}
	flags := uintptr(0)
	if s.NoDev {
		flags |= unix.MS_NODEV
	}
	if s.Upper == "" {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("overlay", place, "overlay", flags, data); err != nil {
		return fmt.Errorf("%s: %w (dmesg may say why)", data, err)
	}
	return nil
}
