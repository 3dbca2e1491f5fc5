package container

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copyTree copies the content of a directory, which is an image's and may be
// hostile, into an empty one, with owners, modes, times, extended attributes
// and hard links. Each entry is opened by its name in a directory that is
// open, and never through a link, so nothing outside can be reached.
func copyTree(from, to *os.File) error {
	c := copier{links: map[inode]string{}, top: int(to.Fd())}
	return c.directory(int(from.Fd()), int(to.Fd()), "", 0)
}

type inode struct {
	dev, ino uint64
}

type copier struct {
	links map[inode]string // where the first name of a file with several went
	top   int              // what those paths begin at
}

// maxDepth bounds the descriptors that are open at a time, two for each level.
const maxDepth = 1000

func (c *copier) directory(from, to int, path string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("copy %s: too deep", path)
	}
	names, err := namesIn(from)
	if err != nil {
		return fmt.Errorf("copy %s: %w", path, err)
	}
	for _, name := range names {
		if err := c.entry(from, to, name, path+name, depth); err != nil {
			return err
		}
	}
	return c.attributes(from, to)
}

// namesIn lists a directory through a descriptor of its own, which leaves the
// given one's position alone.
func namesIn(fd int) ([]string, error) {
	dup, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(dup), "directory")
	defer dir.Close()
	return dir.Readdirnames(-1)
}

func (c *copier) entry(from, to int, name, path string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("copy %s: %w", path, err)
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		id := inode{uint64(st.Dev), st.Ino}
		if first, ok := c.links[id]; ok {
			return unix.Linkat(c.top, first, to, name, 0)
		}
		c.links[id] = path
	}
	var err error
	switch kind {
	case unix.S_IFDIR:
		err = c.subdirectory(from, to, name, path, depth)
	case unix.S_IFREG:
		err = c.file(from, to, name)
	case unix.S_IFLNK:
		err = c.symlink(from, to, name, &st)
	case unix.S_IFIFO, unix.S_IFSOCK:
		err = c.node(to, name, &st)
	default:
		// A device in an image is not one that a container gets.
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", path, err)
	}
	return nil
}

const openFlags = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC

func (c *copier) subdirectory(from, to int, name, path string, depth int) error {
	if err := unix.Mkdirat(to, name, 0o700); err != nil {
		return err
	}
	in, err := unix.Openat(from, name, unix.O_RDONLY|unix.O_DIRECTORY|openFlags, 0)
	if err != nil {
		return err
	}
	defer unix.Close(in)
	out, err := unix.Openat(to, name, unix.O_RDONLY|unix.O_DIRECTORY|openFlags, 0)
	if err != nil {
		return err
	}
	defer unix.Close(out)
	return c.directory(in, out, path+"/", depth+1)
}

func (c *copier) file(from, to int, name string) error {
	fd, err := unix.Openat(from, name, unix.O_RDONLY|openFlags, 0)
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(fd), name)
	defer in.Close()
	fd, err = unix.Openat(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|openFlags, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), name)
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return c.attributes(int(in.Fd()), int(out.Fd()))
}

func (c *copier) symlink(from, to int, name string, st *unix.Stat_t) error {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(from, name, target)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(string(target[:n]), to, name); err != nil {
		return err
	}
	return c.byName(to, name, st)
}

func (c *copier) node(to int, name string, st *unix.Stat_t) error {
	if err := unix.Mknodat(to, name, st.Mode, 0); err != nil {
		return err
	}
	if err := c.byName(to, name, st); err != nil {
		return err
	}
	return unix.Fchmodat(to, name, st.Mode&0o7777, 0)
}

// byName gives owner and times to what can't be opened.
func (c *copier) byName(to int, name string, st *unix.Stat_t) error {
	if err := unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return unix.UtimesNanoAt(to, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// attributes copies what a file or directory has beside its content. The owner
// comes first, since a change of it takes set-uid bits and capabilities away.
func (c *copier) attributes(from, to int) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(to, st.Mode&0o7777); err != nil {
		return err
	}
	if err := copyXattrs(from, to); err != nil {
		return err
	}
	times := []unix.Timeval{unix.NsecToTimeval(st.Atim.Nano()), unix.NsecToTimeval(st.Mtim.Nano())}
	return unix.Futimes(to, times)
}

// copyXattrs copies the extended attributes that the volume's file system
// takes. Those that overlayfs keeps for itself it does not show.
func copyXattrs(from, to int) error {
	names := make([]byte, 64<<10) // XATTR_LIST_MAX
	n, err := unix.Flistxattr(from, names)
	if errors.Is(err, unix.ENOTSUP) || n == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range zeroEnded(names[:n]) {
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err := unix.Fgetxattr(from, name, value)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return err
		}
		if err := unix.Fsetxattr(to, name, value[:n], 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	return nil
}

func zeroEnded(raw []byte) []string {
	var list []string
	for start, i := 0, 0; i < len(raw); i++ {
		if raw[i] == 0 {
			list = append(list, string(raw[start:i]))
			start = i + 1
		}
	}
	return list
}
