package resolver

import "golang.org/x/sys/unix"

// maxServers is how many servers of a list are asked, as with libc (resolv.conf(5)).
const maxServers = 3

// hostFile is the host's. The monitor, which asks, is in the host's network
// namespace, so that a server on its loopback device, such as
// systemd-resolved's, is one like any other.
const hostFile = "/etc/resolv.conf"

// SettingsFile is a file in a container's run directory that says how to
// forward what is no container's name. Without it, and without servers in it,
// that goes to the host's servers. Its lines:
//
//	server ADDRESS    one to ask instead of the host's, up to three
//	forward no        nothing is forwarded
const SettingsFile = "resolver"

// Settings are what the file says.
type Settings struct {
	Servers   []string // addresses
	NoForward bool     // as a network that has no way out must have none by names
}

// Encode gives the content of the file.
func (s *Settings) Encode() []byte {
	var out []byte
	for _, server := range s.Servers {
		out = append(append(append(out, "server "...), server...), '\n')
	}
	if s.NoForward {
		out = append(out, "forward no\n"...)
	}
	return out
}

// server is where a name server listens.
type server struct {
	address
	zone uint32 // index of the interface that a link-local address is meant on
}

// upstream says whom to ask.
type upstream struct {
	list    [maxServers]server
	n       int
	refused bool // nobody
}

// upstream reads whom to ask, each time, since it may change at any time. That
// costs little beside the question.
func (s *Server) upstream() (u upstream) {
	u.read(s.path.set(SettingsFile).readAll(s.dir, s.mem.names), "server")
	if u.n == 0 && !u.refused {
		u.read(s.path.set(s.hostFile).readAll(unix.AT_FDCWD, s.mem.names), "nameserver")
	}
	return u
}

// read reads the lines of one of the two files. What it does not know is not
// for it.
func (u *upstream) read(text []byte, keyword string) {
	for len(text) > 0 {
		n := 0
		for n < len(text) && text[n] != '\n' {
			n++
		}
		line := text[:n]
		text = text[min(n+1, len(text)):]
		first, line := word(line)
		second, _ := word(line)
		switch {
		case string(first) == "forward" && string(second) == "no":
			u.refused = keyword == "server"
		case string(first) == keyword && u.n < maxServers:
			if server, ok := parseServer(second); ok {
				u.list[u.n] = server
				u.n++
			}
		}
	}
}

// word takes the first word off a line.
func word(line []byte) (first, rest []byte) {
	blank := func(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }
	begin := 0
	for begin < len(line) && blank(line[begin]) {
		begin++
	}
	end := begin
	for end < len(line) && !blank(line[end]) {
		end++
	}
	return line[begin:end], line[end:]
}

func parseServer(text []byte) (v server, ok bool) {
	for i, c := range text {
		if c == '%' {
			v.zone = zone(text[i+1:])
			if v.zone == 0 {
				return v, false
			}
			text = text[:i]
			break
		}
	}
	v.address, ok = parseAddress(text)
	return v, ok && (v.zone == 0 || v.size == 16)
}

// zone gives the index of an interface of the host by its name or number, 0 if
// there is none.
func zone(name []byte) uint32 {
	number := uint32(0)
	for i, c := range name {
		if c < '0' || c > '9' || i > 8 {
			number = 0
			break
		}
		number = number*10 + uint32(c-'0')
	}
	if number > 0 {
		return number
	}
	request, err := unix.NewIfreq(string(name))
	if err != nil {
		return 0
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	if unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request) != nil {
		return 0
	}
	return request.Uint32()
}
