package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
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
	host, err := openNetlink()
	if err != nil {
		return err
	}
	defer host.close()
	inside, err := openNetlinkOf(pidfd)
	if err != nil {
		return err
	}
	defer inside.close()
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		if err := moveNetDevice(host, inside, name, devices[name].Name, pid); err != nil {
			return fmt.Errorf("linux.netDevices: %s: %w", name, err)
		}
	}
	return nil
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

func moveNetDevice(host, inside *rtnetlink, name, as string, pid int) error {
	if as == "" {
		as = name
	}
	index, err := host.linkByName(name)
	if err != nil {
		return fmt.Errorf("look it up: %w", err)
	}
	addresses, err := host.lasting(index)
	if err != nil {
		return fmt.Errorf("read its addresses: %w", err)
	}
	before, err := inside.links()
	if err != nil {
		return fmt.Errorf("list the container's devices: %w", err)
	}
	if slices.Contains(slices.Collect(maps.Values(before)), as) {
		return fmt.Errorf("move it: %s is in the container already: %w", as, unix.EEXIST)
	}
	if _, err := host.call(unix.RTM_SETLINK, 0, slices.Concat(ifInfo(index, 0),
		attribute(unix.IFLA_NET_NS_PID, word(uint32(pid))), attribute(unix.IFLA_IFNAME, append([]byte(as), 0)))); err != nil {
		return fmt.Errorf("move it as %s: %w", as, err)
	}
	// Its number, and its name if that is a pattern, are for the kernel to say.
	after, err := inside.links()
	if err != nil {
		return fmt.Errorf("list the container's devices: %w", err)
	}
	for i := range after {
		if _, there := before[i]; !there {
			return inside.bringUp(i, addresses)
		}
	}
	return errors.New("it is not in the container after it was moved there")
}

// bringUp gives a device addresses, and sets it up.
func (s *rtnetlink) bringUp(index int32, addresses []address) error {
	for _, a := range addresses {
		if _, err := s.call(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, a.message(index)); err != nil {
			return fmt.Errorf("give it its address: %w", err)
		}
	}
	if _, err := s.call(unix.RTM_NEWLINK, 0, ifInfo(index, unix.IFF_UP)); err != nil {
		return fmt.Errorf("set it up: %w", err)
	}
	return nil
}

// ifInfo is struct ifinfomsg that sets flags.
func ifInfo(index int32, flags uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], flags) // those that change
	return b
}

func (s *rtnetlink) linkByName(name string) (int32, error) {
	messages, err := s.call(unix.RTM_GETLINK, 0, append(ifInfo(0, 0), attribute(unix.IFLA_IFNAME, append([]byte(name), 0))...))
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		if m.Header.Type == unix.RTM_NEWLINK && len(m.Data) >= unix.SizeofIfInfomsg {
			return int32(binary.NativeEndian.Uint32(m.Data[4:])), nil
		}
	}
	return 0, unix.ENODEV
}

// links are the devices of a namespace, their names by their numbers.
func (s *rtnetlink) links() (map[int32]string, error) {
	messages, err := s.call(unix.RTM_GETLINK, unix.NLM_F_DUMP, ifInfo(0, 0))
	if err != nil {
		return nil, err
	}
	list := make(map[int32]string)
	for _, m := range messages {
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil || m.Header.Type != unix.RTM_NEWLINK {
			continue
		}
		index := int32(binary.NativeEndian.Uint32(m.Data[4:]))
		list[index] = ""
		for _, a := range attrs {
			if a.Attr.Type == unix.IFLA_IFNAME {
				list[index] = strings.TrimRight(string(a.Value), "\x00")
			}
		}
	}
	return list, nil
}

// address is one of a device's, as the kernel tells and takes it.
type address struct {
	header []byte // struct ifaddrmsg
	attrs  []byte
}

func (a address) message(index int32) []byte {
	b := slices.Concat(a.header, a.attrs)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	return b
}

// lasting are the addresses of a device that the move would take away and that
// have to stay: permanent ones of global scope, of any family.
func (s *rtnetlink) lasting(index int32) ([]address, error) {
	messages, err := s.call(unix.RTM_GETADDR, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfAddrmsg))
	if err != nil {
		return nil, err
	}
	var list []address
	for _, m := range messages {
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil || m.Header.Type != unix.RTM_NEWADDR || int32(binary.NativeEndian.Uint32(m.Data[4:])) != index {
			continue
		}
		const scopeAt, flagsAt = 3, 2 // struct ifaddrmsg: family, prefix, flags, scope, index
		header := slices.Clone(m.Data[:unix.SizeofIfAddrmsg])
		flags := uint32(header[flagsAt])
		var kept []byte
		for _, a := range attrs {
			switch a.Attr.Type {
			case unix.IFA_FLAGS:
				flags = binary.NativeEndian.Uint32(a.Value)
			case unix.IFA_ADDRESS, unix.IFA_LOCAL, unix.IFA_BROADCAST, unix.IFA_RT_PRIORITY:
				kept = append(kept, attribute(a.Attr.Type, a.Value)...)
			}
		}
		if flags&unix.IFA_F_PERMANENT == 0 || header[scopeAt] != unix.RT_SCOPE_UNIVERSE {
			continue
		}
		// The others tell of a state, and not of a wish.
		flags &= unix.IFA_F_NODAD | unix.IFA_F_HOMEADDRESS | unix.IFA_F_NOPREFIXROUTE
		header[flagsAt] = 0
		list = append(list, address{header, append(kept, attribute(unix.IFA_FLAGS, word(flags))...)})
	}
	return list, nil
}
