package monitor

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxDepth is how many directories are open at once while a tree is removed.
// What a container has nested deeper is moved up first.
const maxDepth = 64

// removePath removes a file, or a directory with all that is in it. Symbolic
// links are never followed, mounts never entered.
func removePath(path string) error {
	slash := strings.LastIndexByte(path, '/')
	dir, err := unix.Open(path[:slash+1], unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	r := remover{top: -1}
	return r.remove(dir, path[slash+1:], 0)
}

// empty removes what is in a directory, but for one name.
func empty(dir int, but string) error {
	fd, err := openDir(dir, ".")
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r := remover{top: fd, but: but}
	return r.empty(fd, 1)
}

// remover removes one tree.
type remover struct {
	top   int // its uppermost directory, where what is too deep is moved to
	but   string
	moved int
}

// remove removes name in a directory; it need not be there.
func (r *remover) remove(dir int, name string, depth int) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR {
		return err
	}
	if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err == nil {
		return nil
	}
	if depth == maxDepth {
		return r.move(dir, name)
	}
	fd, err := openDir(dir, name)
	if err != nil {
		return err
	}
	if depth == 0 {
		r.top = fd
	}
	err = r.empty(fd, depth+1)
	unix.Close(fd)
	if err != nil {
		return err
	}
	return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}

// move moves a directory up, under a name that nothing has.
func (r *remover) move(dir int, name string) error {
	for {
		r.moved++
		err := unix.Renameat2(dir, name, r.top, ".deep."+strconv.Itoa(r.moved), unix.RENAME_NOREPLACE)
		if err != unix.EEXIST {
			return err
		}
	}
}

// empty removes what is in a directory, in rounds until a round finds nothing.
// It goes on after an error, to remove as much as it can, and gives the first.
func (r *remover) empty(fd, depth int) (first error) {
	for {
		found := false
		if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
			return err
		}
		buf := make([]byte, 8<<10)
		for {
			n, err := unix.Getdents(fd, buf)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			_, _, names := unix.ParseDirent(buf[:n], -1, nil)
			for _, name := range names {
				if depth == 1 && name == r.but {
					continue
				}
				found = true
				if err := r.remove(fd, name, depth); err != nil && first == nil {
					first = err
				}
			}
		}
		if !found || first != nil {
			return first
		}
	}
}

// openDir opens a directory below another, not through a link nor a mount.
func openDir(dir int, name string) (int, error) {
	return unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
}
