// Package release undoes what a container's networks left in files and in the
// ruleset. The small monitor calls it, so it imports neither fmt nor os.
//
// What is to be done is in the file "release" of the container's run
// directory: lines with a verb and its arguments, carried out in their order.
//
//	container ID
//	lock PATH                        of all networks
//	unplug INTERFACE                 the port of a bridge passes nothing on any more
//	port PROTOCOL HOST PORT TO PORT  addresses and ports of a published port, in hexadecimal digits
//	link PATH                        a symbolic link, if its text is ID
//	rmdir PATH                       if it is empty
package release

import (
	"strings"

	"golang.org/x/sys/unix"

	"minict/internal/netlink"
	"minict/network/table"
)

// Name of the file.
const Name = "release"

// Run carries out the file "release" in a container's run directory, and
// removes it: without one there is nothing to do. Whoever calls it holds the
// container's lock, so that nobody takes over what is being released. It goes
// on after an error, returns the first, and then the file stays.
//
// It waits for whoever is changing the container's networks. If a port is to
// be taken back, it also waits for those who publish ports, since one of them
// may have got the same.
func Run(runDir string) error {
	path := runDir + "/" + Name
	text, err := read(path)
	if err != nil || text == "" {
		return err
	}
	mode := unix.LOCK_SH
	if has(text, "port") {
		mode = unix.LOCK_EX
	}
	lock, err := take(find(text, "lock"), mode)
	if err != nil {
		return err
	}
	defer unix.Close(lock)
	return Locked(runDir)
}

// Locked is Run for who has the exclusive lock of all networks.
func Locked(runDir string) error {
	path := runDir + "/" + Name
	text, err := read(path)
	if err != nil || text == "" {
		return err
	}
	if err := Lines(text); err != nil {
		return err
	}
	return unlink(path)
}

// Lines carries out lines that are in no file any more, or not yet.
func Lines(text string) error {
	u := undoing{id: find(text, "container")}
	defer u.close()
	for rest := text; rest != ""; {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		verb, arguments, _ := strings.Cut(line, " ")
		u.note(u.do(verb, arguments))
	}
	return u.err
}

// undoing is what the lines need.
type undoing struct {
	id           string
	route, rules *netlink.Socket // opened when they are needed
	err          error           // the first
}

func (u *undoing) note(err error) {
	if u.err == nil {
		u.err = err
	}
}

func (u *undoing) close() {
	if u.route != nil {
		u.route.Close()
	}
	if u.rules != nil {
		// The kernel frees what was removed before it closes the socket,
		// and for that it waits for some milliseconds. Where it does so by
		// itself nobody waits, else who comes to an end last.
		go u.rules.Leave()
	}
}

// do carries out one line. Verbs of a newer minict's are no reason to leave the
// rest.
func (u *undoing) do(verb, arguments string) (err error) {
	switch verb {
	case "unplug":
		if u.route == nil {
			if u.route, err = netlink.Open(unix.NETLINK_ROUTE); err != nil {
				return err
			}
		}
		return unplug(u.route, arguments)
	case "port":
		if u.rules == nil {
			if u.rules, err = netlink.Open(unix.NETLINK_NETFILTER); err != nil {
				return err
			}
		}
		return takeBack(u.rules, arguments)
	case "link":
		return removeLink(arguments, u.id)
	case "rmdir":
		err := unix.Rmdir(arguments)
		if err == unix.ENOENT || err == unix.ENOTEMPTY {
			return nil
		}
		return err
	}
	return nil
}

// unplug disables a port of a bridge. The kernel takes it away some time after
// the last process has left the namespace; until then it would still answer
// who asks for an address that may be somebody else's by then. To delete it
// here would mean to wait for what the kernel waits for.
func unplug(s *netlink.Socket, name string) error {
	const disabled = 0 // BR_STATE_DISABLED
	index, err := s.Index(name)
	if err == unix.ENODEV {
		return nil
	}
	if err != nil {
		return err
	}
	header := netlink.Link(index, 0, 0)
	header[0] = unix.AF_BRIDGE
	r := &netlink.Request{}
	r.Begin(unix.RTM_SETLINK, 0, header)
	r.Nest(unix.IFLA_PROTINFO, func() {
		r.Byte(unix.IFLA_BRPORT_STATE, disabled)
		r.Attr(unix.IFLA_BRPORT_FLUSH, nil) // what is sent to its MAC may be for another port
	})
	err = s.Do(r, nil)
	if e, ok := err.(*netlink.Error); ok && (e.Errno == unix.ENODEV || e.Errno == unix.EINVAL || e.Errno == unix.EOPNOTSUPP || e.Errno == unix.ENETDOWN) {
		return nil // it has gone in the meantime, or is no port of a bridge
	}
	return err
}

// takeBack takes a published port out of the rules.
func takeBack(s *netlink.Socket, arguments string) error {
	p, ok := ParsePort(arguments)
	if !ok {
		return unix.EINVAL
	}
	if err := table.RemovePort(s, p); err != nil {
		return err
	}
	return table.Forget(s, p)
}

// removeLink removes a symbolic link, unless it is somebody else's by now.
func removeLink(path, id string) error {
	text := make([]byte, len(id)+1)
	n, err := unix.Readlink(path, text)
	if err == nil && string(text[:n]) == id {
		err = unlink(path)
	}
	if err == unix.ENOENT {
		return nil
	}
	return err
}

func unlink(path string) error {
	err := unix.Unlink(path)
	if err == unix.ENOENT {
		return nil
	}
	return err
}

// take waits for a lock. Without a path there is nobody to wait for.
func take(path string, mode int) (int, error) {
	if path == "" {
		return -1, nil
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, err
	}
	for {
		err := unix.Flock(fd, mode)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			unix.Close(fd)
			return -1, err
		}
		return fd, nil
	}
}
