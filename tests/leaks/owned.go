package leaks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
)

// owned learns the ids of the containers that a minict has while it is
// watched. Cgroups are the machine's, so somebody else's containers come and
// go among them; what has no id of ours is not our leak.
//
// Every living container has a directory named by its id in the state
// directory before it has anything else; the kernel tells about each
// (inotify(7)), and keeps what it has to tell until it is asked.
type owned struct {
	events *os.File
	ids    map[string]bool
}

func watchOwned(state string) (*owned, error) {
	dir := filepath.Join(state, "containers")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR); err != nil {
		events.Close()
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	return &owned{events: events, ids: map[string]bool{}}, nil
}

// update takes in what the kernel has to tell.
func (o *owned) update() error {
	conn, err := o.events.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	buffer := make([]byte, 64<<10)
	err = conn.Control(func(fd uintptr) {
		for {
			n, err := unix.Read(int(fd), buffer)
			if errors.Is(err, unix.EAGAIN) {
				return
			}
			if err != nil {
				failed = fmt.Errorf("read inotify: %w", err)
				return
			}
			o.note(buffer[:n])
		}
	})
	return errors.Join(err, failed)
}

// note reads events: a header, the length of the name, the name with zeros.
func (o *owned) note(events []byte) {
	for len(events) >= unix.SizeofInotifyEvent {
		length := int(binary.NativeEndian.Uint32(events[12:]))
		name := events[unix.SizeofInotifyEvent:][:length]
		o.ids[string(bytes.TrimRight(name, "\x00"))] = true
		events = events[unix.SizeofInotifyEvent+length:]
	}
}

var containerID = regexp.MustCompile(`/minict/(?:usual/)?([^/]+)`)

// foreign says whether a cgroup is of somebody else's container.
func (o *owned) foreign(cgroup string) bool {
	id := containerID.FindStringSubmatch(cgroup)
	return id != nil && !o.ids[id[1]]
}
