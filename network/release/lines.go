package release

import (
	"strings"

	"golang.org/x/sys/unix"

	"minict/network/table"
)

// read gives a file's text, "" if it is not there.
func read(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var text []byte
	for buf := make([]byte, 4096); ; {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", err
		}
		if n == 0 {
			return string(text), nil
		}
		text = append(text, buf[:n]...)
	}
}

// find gives the arguments of the first line with a verb.
func find(text, verb string) string {
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		if v, arguments, _ := strings.Cut(line, " "); v == verb {
			return arguments
		}
	}
	return ""
}

func has(text, verb string) bool { return find(text, verb) != "" }

// FormatPort gives the arguments of a line "port".
func FormatPort(p table.Port) string {
	return hexed([]byte{p.Protocol}) + " " + hexed(p.Host) + " " + hexed(big(p.HostPort)) + " " + hexed(p.To) + " " + hexed(big(p.ToPort))
}

// ParsePort is the reverse of FormatPort.
func ParsePort(text string) (p table.Port, ok bool) {
	var fields [5][]byte
	for i := range fields {
		var word string
		word, text, _ = strings.Cut(text, " ")
		if fields[i], ok = unhexed(word); !ok {
			return p, false
		}
	}
	protocol, host, port, to, toPort := fields[0], fields[1], fields[2], fields[3], fields[4]
	if text != "" || len(protocol) != 1 || len(port) != 2 || len(toPort) != 2 ||
		len(host) != len(to) || len(host) != 4 && len(host) != 16 {
		return p, false
	}
	return table.Port{
		Protocol: protocol[0],
		Host:     host, HostPort: uint16(port[0])<<8 | uint16(port[1]),
		To: to, ToPort: uint16(toPort[0])<<8 | uint16(toPort[1]),
	}, true
}

func big(v uint16) []byte { return []byte{byte(v >> 8), byte(v)} }

const digits = "0123456789abcdef"

func hexed(b []byte) string {
	var text []byte
	for _, c := range b {
		text = append(text, digits[c>>4], digits[c&15])
	}
	return string(text)
}

func unhexed(text string) (b []byte, ok bool) {
	if len(text)%2 != 0 {
		return nil, false
	}
	for i := 0; i < len(text); i += 2 {
		high, low := value(text[i]), value(text[i+1])
		if high < 0 || low < 0 {
			return nil, false
		}
		b = append(b, byte(high<<4|low))
	}
	return b, true
}

func value(digit byte) int {
	switch {
	case '0' <= digit && digit <= '9':
		return int(digit - '0')
	case 'a' <= digit && digit <= 'f':
		return int(digit-'a') + 10
	}
	return -1
}
