package table

import (
	"slices"

	"golang.org/x/sys/unix"

	"minict/internal/netlink"
)

// Port is a published port. Addresses have four bytes or sixteen.
type Port struct {
	Protocol byte   // unix.IPPROTO_TCP or IPPROTO_UDP
	Host     []byte // of zeros: all of the host's addresses of that family
	HostPort uint16
	To       []byte // the container's; of the same family
	ToPort   uint16
}

// element is a key, and a value if it is one of a map.
type element struct{ key, value []byte }

// elements writes a message about elements of a set.
func elements(r *netlink.Request, kind, flags uint16, set string, list ...element) {
	begin(r, kind, flags)
	r.Text(unix.NFTA_SET_ELEM_LIST_TABLE, Name)
	r.Text(unix.NFTA_SET_ELEM_LIST_SET, set)
	r.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func() {
		for _, e := range list {
			r.Nest(unix.NFTA_LIST_ELEM, func() {
				r.Nest(unix.NFTA_SET_ELEM_KEY, func() { r.Attr(unix.NFTA_DATA_VALUE, e.key) })
				if e.value != nil {
					r.Nest(unix.NFTA_SET_ELEM_DATA, func() { r.Attr(unix.NFTA_DATA_VALUE, e.value) })
				}
			})
		}
	})
}

// AddBridge lets a network take part. It is no error if it does already.
func AddBridge(s *netlink.Socket, b Bridge) error {
	return s.Do(netlink.Batch(func(r *netlink.Request) { addBridges(r, []Bridge{b}) }), nil)
}

func addBridges(r *netlink.Request, list []Bridge) {
	for _, b := range list {
		for _, set := range b.sets() {
			elements(r, unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, set, b.element(set))
		}
	}
}

// RemoveBridge takes a network out.
func RemoveBridge(s *netlink.Socket, b Bridge) error {
	for _, set := range b.sets() {
		if err := remove(s, set, b.element(set)); err != nil {
			return err
		}
	}
	return nil
}

func (b Bridge) sets() []string {
	if b.Internal {
		return []string{bridges, hairpin, internal}
	}
	return []string{bridges, hairpin}
}

func (b Bridge) element(set string) element {
	name := device(b.Name)
	if set == hairpin {
		return element{key: append(name, name...)}
	}
	return element{key: name}
}

// remove removes an element, if it is there.
func remove(s *netlink.Socket, set string, e element) error {
	err := s.Do(netlink.Batch(func(r *netlink.Request) {
		elements(r, unix.NFT_MSG_DELSETELEM, 0, set, element{key: e.key})
	}), nil)
	if refused(err) == unix.ENOENT {
		return nil
	}
	return err
}

// AddPorts publishes ports. Who calls it has them reserved, so what is there
// already is of somebody who has died.
func AddPorts(s *netlink.Socket, ports []Port) error {
	add := func() error {
		return s.Do(netlink.Batch(func(r *netlink.Request) { addPorts(r, ports) }), nil)
	}
	err := add()
	if errno := refused(err); errno != unix.EEXIST && errno != unix.EBUSY {
		return err
	}
	for _, p := range ports {
		if err := remove(s, p.set(), p.element()); err != nil {
			return err
		}
	}
	return add()
}

func addPorts(r *netlink.Request, ports []Port) {
	for _, p := range ports {
		elements(r, unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, p.set(), p.element())
	}
}

// RemovePort takes back what AddPorts did, if the port still leads to the same
// container. Nobody else may publish at the same time.
func RemovePort(s *netlink.Socket, p Port) error {
	e := p.element()
	value, err := get(s, p.set(), e.key)
	if err != nil || !slices.Equal(value, e.value) {
		return err
	}
	return remove(s, p.set(), e)
}

// get gives the value of a key in a map, nil if there is none.
func get(s *netlink.Socket, set string, key []byte) (value []byte, err error) {
	r := &netlink.Request{}
	elements(r, unix.NFT_MSG_GETSETELEM, 0, set, element{key: key})
	err = s.Do(r, func(_ uint16, body []byte) {
		attrs := body[min(sizeofNfgenmsg, len(body)):]
		elem := netlink.Find(netlink.Find(attrs, unix.NFTA_SET_ELEM_LIST_ELEMENTS), unix.NFTA_LIST_ELEM)
		value = slices.Clone(netlink.Find(netlink.Find(elem, unix.NFTA_SET_ELEM_DATA), unix.NFTA_DATA_VALUE))
	})
	if refused(err) == unix.ENOENT {
		return nil, nil
	}
	return value, err
}

func (p Port) all() bool {
	return !slices.ContainsFunc(p.Host, func(b byte) bool { return b != 0 })
}

func (p Port) set() string {
	switch v4 := len(p.Host) == 4; {
	case v4 && p.all():
		return any4
	case v4:
		return ports4
	case p.all():
		return any6
	default:
		return ports6
	}
}

// element has each part of a concatenation begin at a multiple of four bytes.
func (p Port) element() element {
	var e element
	if !p.all() {
		e.key = slices.Clone(p.Host)
	}
	e.key = append(e.key, p.Protocol, 0, 0, 0, byte(p.HostPort>>8), byte(p.HostPort), 0, 0)
	e.value = append(slices.Clone(p.To), byte(p.ToPort>>8), byte(p.ToPort), 0, 0)
	return e
}
