package cgroup

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// descend goes through top and all groups below: enter is called for each
// before those in it, and leave (if any) after them, with the group above and
// the name; not for top. The names come from the container, which may nest
// groups as deep as it likes: so each step is one name from a descriptor, and
// never more than two descriptors are open. A group that goes meanwhile is
// passed over.
func descend(top *os.File, enter func(*os.File) error, leave func(above *os.File, name string) error) error {
	w := walker{enter: enter, leave: leave}
	defer func() {
		if w.here != nil {
			w.here.Close()
		}
	}()
	err := w.down(top, ".")
	for err == nil && len(w.way) > 0 {
		last := &w.way[len(w.way)-1]
		switch {
		case len(last.rest) > 0:
			name := last.rest[0]
			last.rest = last.rest[1:]
			err = w.down(w.here, name)
		case len(w.way) == 1:
			return nil
		default:
			err = w.up(last.name)
		}
	}
	return err
}

// walker is on its way through a tree of groups.
type walker struct {
	enter func(*os.File) error
	leave func(*os.File, string) error
	here  *os.File
	way   []level // down to here
}

// level is a group on the way: its name in the one above, and the names of
// those in it that are still to be seen.
type level struct {
	name string
	rest []string
}

func (w *walker) down(from *os.File, name string) error {
	f, err := openAt(from, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return goneIsFine(err)
	}
	w.move(f)
	w.way = append(w.way, level{name: name})
	if err := w.enter(f); err != nil {
		return err
	}
	for {
		entries, err := f.ReadDir(128)
		for _, e := range entries {
			if e.IsDir() {
				rest := &w.way[len(w.way)-1].rest
				*rest = append(*rest, e.Name())
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return goneIsFine(err)
		}
	}
}

func (w *walker) up(name string) error {
	f, err := openAt(w.here, "..", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	w.move(f)
	w.way = w.way[:len(w.way)-1]
	if w.leave == nil {
		return nil
	}
	return w.leave(f, name)
}

func (w *walker) move(to *os.File) {
	if w.here != nil {
		w.here.Close()
	}
	w.here = to
}

// goneIsFine makes the errors of a group that was removed a success.
func goneIsFine(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
