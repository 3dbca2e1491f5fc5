package resolver

import "golang.org/x/sys/unix"

// What a container may know of others is in directories, which commands change
// when a container starts, ends, or joins a network. They are read anew for each
// question, so there is nothing to be told, and nothing to be out of date:
//
//	net/NETWORK                  link to the network's directory, for each one that the container is on
//	net/NETWORK/names/NAME/ADDR  link to a container's id: one of those that the name means there
//	net/NETWORK/leases/ADDR      link to the id of the container that has the address
//	../ID/name                   link to the name of a container
//	../ID/lock                   locked as long as that lives
//
// Paths are relative to the container's run directory. Names are in lower case.
const (
	idSize  = 64
	shortID = 12
)

// maxFound is how many addresses one name can have. A bridge has no more
// ports, so no network has more containers.
const maxFound = 1023

// memory is how the memory that New is given is used. At the beginning is the
// message that is worked on.
type memory struct {
	message  []byte
	found    []byte // records of a size and 16 bytes of an address
	networks []byte // of directory entries
	names    []byte
}

const foundSize = 17

func divide(mem []byte) memory {
	const entries, found = 4 << 10, maxFound * foundSize
	at := len(mem)
	take := func(n int) []byte {
		at -= n
		return mem[at : at+n : at+n]
	}
	m := memory{names: take(entries), networks: take(entries), found: take(found)}
	m.message = mem[:at:at]
	return m
}

// networks goes through the networks of the container.
func (s *Server) networks(each func(s *Server, q *query, network []byte), q *query) {
	fd := s.path.set("net").open(s.dir, unix.O_DIRECTORY)
	if fd < 0 {
		return
	}
	list := entries{fd: fd, buf: s.mem.networks}
	for network := list.next(); network != nil; network = list.next() {
		each(s, q, network)
	}
	closeFD(fd)
}

// find collects the addresses of a name in s.found, and says whether there is
// such a name.
func (s *Server) find(q *query) bool {
	s.known, s.found = false, s.mem.found[:0]
	s.networks((*Server).findIn, q)
	return s.known
}

// findIn looks in one network for a name, alone and with the network's behind
// it.
func (s *Server) findIn(q *query, network []byte) {
	name := q.text()
	s.collect(network, name)
	n := len(name) - len(network) - 1
	if n <= 0 || name[n] != '.' {
		return
	}
	for i, c := range network {
		if lower(c) != name[n+1+i] {
			return
		}
	}
	s.collect(network, name[:n])
}

func (s *Server) collect(network, name []byte) {
	fd := s.path.set("net/").addBytes(network).add("/names/").addBytes(name).open(s.dir, unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if fd < 0 {
		return
	}
	list := entries{fd: fd, buf: s.mem.names}
	for addr := list.next(); addr != nil; addr = list.next() {
		a, ok := parseAddress(addr)
		if !ok || !s.alive(s.path.set("").addBytes(addr).readlink(fd, s.id[:])) {
			continue
		}
		s.known = true
		if n := len(s.found); n+foundSize <= cap(s.found) {
			s.found = s.found[:n+foundSize]
			s.found[n] = byte(a.size)
			copy(s.found[n+1:], a.ip[:])
		}
	}
	closeFD(fd)
}

// alive says whether a container lives. What a killed one has left is there
// until it is swept, and means nothing.
func (s *Server) alive(id []byte) bool {
	if len(id) != idSize || hexValue(id[0]) < 0 {
		return false
	}
	fd := s.path.set("../").addBytes(id).add("/lock").open(s.dir, unix.O_NOFOLLOW)
	return fd >= 0 && locked(fd)
}

// findName looks for the container that has an address on one of the networks
// of this one, and puts its name and the network's into s.found, as a name in a
// message. It is one that leads back to the address; on the default network nobody
// has one.
func (s *Server) findName(q *query) bool {
	a, ok := reversed(q.text())
	if !ok {
		return false
	}
	s.reverse, s.found = a, s.mem.found[:0]
	s.networks((*Server).findNameIn, q)
	return len(s.found) > 0
}

func (s *Server) findNameIn(_ *query, network []byte) {
	if len(s.found) > 0 {
		return
	}
	id := s.path.set("net/").addBytes(network).add("/leases/").addAddress(&s.reverse).readlink(s.dir, s.id[:])
	if !s.alive(id) {
		return
	}
	name := s.path.set("../").addBytes(id).add("/name").readlink(s.dir, s.mem.names)
	if !s.named(network, name) {
		if name = id[:shortID]; !s.named(network, name) {
			return
		}
	}
	s.found = appendLabels(s.found, name)
	s.found = append(appendLabels(s.found, network), 0)
	if len(s.found) > nameMax+2 {
		s.found = s.found[:0]
	}
}

// named says whether s.reverse has a name on a network.
func (s *Server) named(network, name []byte) bool {
	p := s.path.set("net/").addBytes(network).add("/names/")
	begin := p.n
	p.addBytes(name)
	for i := begin; i < p.n; i++ {
		p.b[i] = lower(p.b[i])
	}
	var id [1]byte
	return len(name) > 0 && p.add("/").addAddress(&s.reverse).readlink(s.dir, id[:]) != nil
}

// appendLabels appends a name with dots as the labels of a message, without the
// end; nothing at all if it is not such a name.
func appendLabels(out, name []byte) []byte {
	start := len(out)
	for len(name) > 0 {
		n := 0
		for n < len(name) && name[n] != '.' {
			n++
		}
		if n == 0 || n > 63 {
			return out[:start]
		}
		out = append(append(out, byte(n)), name[:n]...)
		name = name[min(n+1, len(name)):]
	}
	return out
}
