package runtime

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/internal/netlink"
	"minict/internal/thread"
)

// MoveNetDevices is the launcher's part of PauseCreateRuntime for
// linux.netDevices: it moves network devices of the caller's namespace into
// that of the container's process, under their new names, with the addresses
// that are meant to last, and sets them up (config-linux.md, "Network
// Devices"). The kernel gives hardware back, and ends virtual devices, when the
// namespace ends.
func MoveNetDevices(devices map[string]specs.LinuxNetDevice, pid, pidfd int) error {
	if len(devices) == 0 {
		return nil
	}
	host, err := netlink.Open(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	defer host.Close()
	inside, err := openNetlinkOf(pidfd)
	if err != nil {
		return err
	}
	defer inside.Close()
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		if err := moveNetDevice(host, inside, name, devices[name].Name, pid); err != nil {
			return fmt.Errorf("linux.netDevices: %s: %w", name, err)
		}
	}
	return nil
}

// openNetlinkOf opens a socket in the network namespace of a process.
func openNetlinkOf(pidfd int) (s *netlink.Socket, err error) {
	err = thread.Run(func() (err error) {
		if err = unix.Setns(pidfd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the container's network namespace: %w", err)
		}
		if s, err = netlink.Open(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("open a netlink socket: %w", err)
		}
		return nil
	})
	return s, err
}

// checkNetDevices refuses names that the kernel would not take: it would find
// out when a device has been moved already, and is lost with the container.
func (c *compiler) checkNetDevices() error {
	devices := c.spec.Linux.NetDevices
	if len(devices) > 0 && !c.spaces.has(unix.CLONE_NEWNET) {
		return specError("linux.netDevices needs a network namespace")
	}
	taken := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		as := devices[name].Name
		if as == "" {
			as = name
		}
		other, twice := taken[as]
		switch {
		case !goodDeviceName(as) || !goodDeviceName(name):
			return specError("linux.netDevices: %q as %q: no name for a network device", name, as)
		case twice && !strings.Contains(as, "%d"):
			return specError("linux.netDevices: %s and %s can't both be %s", other, name, as)
		}
		taken[as] = name
	}
	return nil
}

// goodDeviceName is what the kernel makes sure of: dev_valid_name and
// __dev_alloc_name in net/core/dev.c.
func goodDeviceName(name string) bool {
	pattern := strings.Replace(name, "%d", "", 1)
	return name != "" && len(name) < unix.IFNAMSIZ && name != "." && name != ".." &&
		!strings.ContainsAny(pattern, "%/: \t\n\v\f\r\x00")
}

func moveNetDevice(host, inside *netlink.Socket, name, as string, pid int) error {
	if as == "" {
		as = name
	}
	index, err := host.Index(name)
	if err != nil {
		return fmt.Errorf("look it up: %w", err)
	}
	addresses, err := lasting(host, index)
	if err != nil {
		return fmt.Errorf("read its addresses: %w", err)
	}
	before, err := netDevices(inside)
	if err != nil {
		return fmt.Errorf("list the container's devices: %w", err)
	}
	if slices.Contains(slices.Collect(maps.Values(before)), as) {
		return fmt.Errorf("move it: %s is in the container already: %w", as, unix.EEXIST)
	}
	r := &netlink.Request{}
	r.Begin(unix.RTM_SETLINK, 0, netlink.Link(index, 0, 0))
	r.Word(unix.IFLA_NET_NS_PID, uint32(pid))
	r.Text(unix.IFLA_IFNAME, as)
	if err := host.Do(r, nil); err != nil {
		return fmt.Errorf("move it as %s: %w", as, err)
	}
	// Its number, and its name if that is a pattern, are for the kernel to say.
	after, err := netDevices(inside)
	if err != nil {
		return fmt.Errorf("list the container's devices: %w", err)
	}
	for i := range after {
		if _, there := before[i]; !there {
			return bringUp(inside, i, addresses)
		}
	}
	return errors.New("it is not in the container after it was moved there")
}

// bringUp gives a device addresses, and sets it up.
func bringUp(s *netlink.Socket, index int, addresses []address) error {
	for _, a := range addresses {
		r := &netlink.Request{}
		a.add(r, index)
		if err := s.Do(r, nil); err != nil {
			return fmt.Errorf("give it its address: %w", err)
		}
	}
	r := &netlink.Request{}
	r.Begin(unix.RTM_NEWLINK, 0, netlink.Link(index, unix.IFF_UP, unix.IFF_UP))
	if err := s.Do(r, nil); err != nil {
		return fmt.Errorf("set it up: %w", err)
	}
	return nil
}

// netDevices are the devices of a namespace, their names by their numbers.
func netDevices(s *netlink.Socket) (map[int]string, error) {
	list := make(map[int]string)
	r := &netlink.Request{}
	r.Begin(unix.RTM_GETLINK, unix.NLM_F_DUMP, netlink.Link(0, 0, 0))
	err := s.Do(r, func(kind uint16, body []byte) {
		if kind == unix.RTM_NEWLINK && len(body) >= unix.SizeofIfInfomsg {
			list[int(netlink.GetWord(body[4:]))] = netlink.String(netlink.Find(body[unix.SizeofIfInfomsg:], unix.IFLA_IFNAME))
		}
	})
	return list, err
}

// address is one of a device's, as the kernel tells and takes it.
type address struct {
	header []byte // struct ifaddrmsg, but for the device
	kept   []attribute
	flags  uint32
}

type attribute struct {
	kind uint16
	data []byte
}

// add asks for the address on a device.
func (a address) add(r *netlink.Request, index int) {
	r.Begin(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, slices.Concat(a.header, netlink.Word(uint32(index))))
	for _, attr := range a.kept {
		r.Attr(attr.kind, attr.data)
	}
	r.Word(unix.IFA_FLAGS, a.flags)
}

// lasting are the addresses of a device that the move would take away and that
// have to stay: permanent ones of global scope, of any family.
func lasting(s *netlink.Socket, index int) (list []address, err error) {
	r := &netlink.Request{}
	r.Begin(unix.RTM_GETADDR, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfAddrmsg))
	err = s.Do(r, func(kind uint16, body []byte) {
		const indexAt = 4
		if kind != unix.RTM_NEWADDR || len(body) < unix.SizeofIfAddrmsg || int(netlink.GetWord(body[indexAt:])) != index {
			return
		}
		if a, ok := readAddress(body); ok {
			list = append(list, a)
		}
	})
	return list, err
}

// readAddress reads a message about an address, and says whether it lasts.
func readAddress(body []byte) (a address, ok bool) {
	const flagsAt, scopeAt, headerEnd = 2, 3, 4 // struct ifaddrmsg: family, prefix, flags, scope, index
	a.header, a.flags = slices.Clone(body[:headerEnd]), uint32(body[flagsAt])
	for kind, data := range netlink.Attributes(body[unix.SizeofIfAddrmsg:]) {
		switch kind {
		case unix.IFA_FLAGS:
			a.flags = netlink.GetWord(data)
		case unix.IFA_ADDRESS, unix.IFA_LOCAL, unix.IFA_BROADCAST, unix.IFA_RT_PRIORITY:
			a.kept = append(a.kept, attribute{kind, slices.Clone(data)})
		}
	}
	ok = a.flags&unix.IFA_F_PERMANENT != 0 && a.header[scopeAt] == unix.RT_SCOPE_UNIVERSE
	// The others tell of a state, and not of a wish.
	a.flags &= unix.IFA_F_NODAD | unix.IFA_F_HOMEADDRESS | unix.IFA_F_NOPREFIXROUTE
	a.header[flagsAt] = 0
	return a, ok
}
