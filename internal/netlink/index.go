package netlink

import "golang.org/x/sys/unix"

// Index gives the number of an interface: ENODEV if there is none of that
// name. Unlike a message for the same it waits for nobody, since the kernel
// takes no lock for it.
func (s *Socket) Index(name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, request); err != nil {
		return 0, err
	}
	return int(request.Uint32()), nil
}
