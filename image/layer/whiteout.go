package layer

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"minict/overlay"
)

// whiteout hides base of the lower layers, and nothing of this one, whatever
// the order in the tar.
//
// Under an opaque directory there is nothing to hide, and a whiteout would do
// harm: where overlayfs has nothing to merge it lists the directory as it is,
// so the whiteout would be a name that nobody can open.
func (u *unpacker) whiteout(d *dir, base string) error {
	path := join(d.path, base)
	if hidden, err := u.hides(path); hidden || err != nil {
		return err
	}
	u.whiteouts = true
	err := overlay.Whiteout(d.fd, base)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	return u.hideBelow(path)
}

// opaqueMark empties what lower layers have in d. On the root that is left to
// finish.
func (u *unpacker) opaqueMark(d *dir) error {
	if d != u.dirs.root {
		return u.markOpaque(d)
	}
	u.self = false
	u.rootOpaque = true
	return u.below.open()
}

// markOpaque makes a directory opaque and takes away the whiteouts that came
// before and are below it.
func (u *unpacker) markOpaque(d *dir) error {
	if err := overlay.Opaque(d.fd); err != nil {
		return err
	}
	u.opaque = true
	if !u.whiteouts {
		return nil
	}
	return u.dropWhiteouts(d.path)
}

func (u *unpacker) dropWhiteouts(path string) error {
	d, err := u.dirs.get(path)
	if err != nil {
		return err
	}
	var sub []string
	err = eachName(d.fd, func(name string) error {
		var st unix.Stat_t
		err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case err != nil:
			return err
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			sub = append(sub, name)
		case overlay.IsWhiteout(&st):
			d.dirty = true
			return unix.Unlinkat(d.fd, name, 0)
		}
		return nil
	})
	for i := 0; i < len(sub) && err == nil; i++ {
		err = u.dropWhiteouts(join(path, sub[i]))
	}
	if err != nil {
		return fmt.Errorf("drop whiteouts: %w", err)
	}
	return nil
}

// hideBelow makes the directory at path opaque.
func (u *unpacker) hideBelow(path string) error {
	d, err := u.dirs.get(path)
	if err != nil {
		return err
	}
	return u.markOpaque(d)
}

// hides reports whether a directory of this layer above path is opaque.
func (u *unpacker) hides(path string) (bool, error) {
	if u.rootOpaque || !u.opaque {
		return u.rootOpaque, nil
	}
	fd := u.dirs.root.fd
	defer func() {
		if fd != u.dirs.root.fd {
			unix.Close(fd)
		}
	}()
	for {
		c, rest, more := strings.Cut(path, "/")
		if !more {
			return false, nil
		}
		next, err := unix.Openat(fd, c, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return false, err
		}
		if fd != u.dirs.root.fd {
			unix.Close(fd)
		}
		fd, path = next, rest
		if opaque, err := overlay.IsOpaque(fd); opaque || err != nil {
			return opaque, err
		}
	}
}

// coverRoot carries out an opaque mark on the root. What this layer has stays
// but shows nothing of the lower layers; each other name of theirs gets a
// whiteout.
func (u *unpacker) coverRoot() error {
	root := u.dirs.root
	for _, lower := range u.below.roots {
		err := eachName(lower, func(c string) error {
			var st unix.Stat_t
			err := unix.Fstatat(root.fd, c, &st, unix.AT_SYMLINK_NOFOLLOW)
			if errors.Is(err, unix.ENOENT) {
				root.dirty = true
				return overlay.Whiteout(root.fd, c)
			}
			if err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
				return err
			}
			return u.hideBelow(c)
		})
		if err != nil {
			return fmt.Errorf("empty root: %w", err)
		}
	}
	return nil
}
