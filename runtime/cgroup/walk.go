package cgroup

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// level is a directory on the way down: its name in the one above and the
// directories in it that are still to be seen.
type level struct {
	name string
	rest []string
}

// descend goes through top and all groups below: enter is called for each
// before those in it, and leave (if any) after them, with the group above and
// the name; not for top. The names come from the container, which may nest
// groups as deep as it likes: so each step is one name from a descriptor, and
// never more than two descriptors are open. A group that goes meanwhile is
// passed over.
func descend(top *os.File, enter func(*os.File) error, leave func(above *os.File, name string) error) (err error) {
	here, err := openAt(top, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return goneIsFine(err)
	}
	defer func() { here.Close() }()
	first, err := arrive(here, "", enter)
	if err != nil {
		return err
	}
	stack := []level{first}
	for {
		last := &stack[len(stack)-1]
		if len(last.rest) > 0 {
			name := last.rest[0]
			last.rest = last.rest[1:]
			below, err := openAt(here, name, unix.O_RDONLY|unix.O_DIRECTORY)
			if err != nil {
				if err = goneIsFine(err); err != nil {
					return err
				}
				continue
			}
			here.Close()
			here = below
			next, err := arrive(here, name, enter)
			if err != nil {
				return err
			}
			stack = append(stack, next)
			continue
		}
		if len(stack) == 1 {
			return nil
		}
		above, err := openAt(here, "..", unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		here.Close()
		here = above
		if leave != nil {
			if err := leave(here, last.name); err != nil {
				return err
			}
		}
		stack = stack[:len(stack)-1]
	}
}

func arrive(here *os.File, name string, enter func(*os.File) error) (level, error) {
	if err := enter(here); err != nil {
		return level{}, err
	}
	l := level{name: name}
	for {
		entries, err := here.ReadDir(128)
		for _, e := range entries {
			if e.IsDir() {
				l.rest = append(l.rest, e.Name())
			}
		}
		if err == io.EOF || goneIsFine(err) == nil && err != nil {
			return l, nil
		}
		if err != nil {
			return l, err
		}
	}
}

// goneIsFine makes the errors of a group that was removed a success.
func goneIsFine(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
