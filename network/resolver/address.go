package resolver

// address is an IPv4 or IPv6 address. (net/netip would do, at the price of 40
// KiB of memory in each monitor, for what it makes ready at the start of a
// program.)
type address struct {
	ip   [16]byte
	size int // 4 or 16; 0 for none
}

func (a *address) bytes() []byte { return a.ip[:a.size] }

// parseAddress reads an address as people write it, without a zone.
func parseAddress(s []byte) (a address, ok bool) {
	for _, c := range s {
		if c == ':' {
			a.size = 16
			return a, parse6(&a.ip, s)
		}
	}
	a.size = 4
	return a, parse4(a.ip[:4], s)
}

// parse4 reads four decimal numbers. One that begins with 0 is none: it would
// be octal for some.
func parse4(to, s []byte) bool {
	for i := range to {
		n, digits := 0, 0
		for len(s) > 0 && s[0] >= '0' && s[0] <= '9' {
			n = n*10 + int(s[0]-'0')
			if digits++; n > 255 || digits > 1 && n < 10 {
				return false
			}
			s = s[1:]
		}
		if digits == 0 {
			return false
		}
		to[i] = byte(n)
		if i < len(to)-1 {
			if len(s) == 0 || s[0] != '.' {
				return false
			}
			s = s[1:]
		}
	}
	return len(s) == 0
}

// parse6 reads groups of hexadecimal digits, of which "::" leaves out some and
// the last two can be an IPv4 address (RFC 4291, section 2.2).
func parse6(to *[16]byte, s []byte) bool {
	n, gap := 0, -1
	if len(s) >= 2 && s[0] == ':' && s[1] == ':' {
		gap, s = 0, s[2:]
	}
	for len(s) > 0 {
		if n == 16 {
			return false
		}
		value, digits := 0, 0
		for digits < len(s) && hexValue(s[digits]) >= 0 {
			value = value<<4 | hexValue(s[digits])
			if digits++; digits > 4 {
				return false
			}
		}
		if digits == 0 {
			return false
		}
		if digits < len(s) && s[digits] == '.' {
			if n > 12 || !parse4(to[n:n+4], s) {
				return false
			}
			n += 4
			break
		}
		to[n], to[n+1] = byte(value>>8), byte(value)
		n += 2
		if s = s[digits:]; len(s) == 0 {
			break
		}
		if s[0] != ':' || len(s) == 1 {
			return false
		}
		if s = s[1:]; s[0] == ':' {
			if gap >= 0 {
				return false
			}
			gap, s = n, s[1:]
		}
	}
	if gap < 0 {
		return n == 16
	}
	if n == 16 {
		return false
	}
	copy(to[gap+16-n:], to[gap:n])
	clear(to[gap : gap+16-n])
	return true
}

func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// appendAddress writes an address as everybody does: RFC 5952 for IPv6.
func appendAddress(out []byte, a *address) []byte {
	if a.size == 4 {
		for i, b := range a.bytes() {
			if i > 0 {
				out = append(out, '.')
			}
			out = appendDecimal(out, b)
		}
		return out
	}
	begin, end := zeros(&a.ip)
	for i := 0; i < 16; i += 2 {
		if i == begin {
			out = append(out, ':', ':')
			if i = end; i == 16 {
				break
			}
		} else if i > 0 {
			out = append(out, ':')
		}
		out = appendHex(out, uint16(a.ip[i])<<8|uint16(a.ip[i+1]))
	}
	return out
}

// zeros gives the first of the longest runs of groups that are 0, at least two
// of them; -1 if there is none.
func zeros(ip *[16]byte) (begin, end int) {
	begin, end = -1, -1
	for i := 0; i < 16; i += 2 {
		j := i
		for j < 16 && ip[j] == 0 && ip[j+1] == 0 {
			j += 2
		}
		if j-i > 2 && j-i > end-begin {
			begin, end = i, j
		}
		i = max(i, j-2)
	}
	return begin, end
}

func appendDecimal(out []byte, b byte) []byte {
	if b >= 100 {
		out = append(out, '0'+b/100)
	}
	if b >= 10 {
		out = append(out, '0'+b/10%10)
	}
	return append(out, '0'+b%10)
}

func appendHex(out []byte, v uint16) []byte {
	for shift := 12; shift >= 0; shift -= 4 {
		if d := v >> shift; d > 0 || shift == 0 {
			out = append(out, "0123456789abcdef"[d&15])
		}
	}
	return out
}

// reversed reads the name that a reverse look-up asks for, RFC 1035, section
// 3.5 and RFC 3596, section 2.5. It is in lower case.
func reversed(name []byte) (a address, ok bool) {
	if rest, found := trimEnd(name, ".in-addr.arpa"); found {
		var back [4]byte
		if !parse4(back[:], rest) {
			return a, false
		}
		a.size = 4
		for i, b := range back {
			a.ip[3-i] = b
		}
		return a, true
	}
	rest, found := trimEnd(name, ".ip6.arpa")
	if !found || len(rest) != 63 {
		return a, false
	}
	a.size = 16
	for i := range 32 {
		c := rest[62-2*i]
		digit := hexValue(c)
		if digit < 0 || i > 0 && rest[63-2*i] != '.' {
			return a, false
		}
		a.ip[i/2] |= byte(digit << (4 * (1 - i%2)))
	}
	return a, true
}

func trimEnd(s []byte, end string) ([]byte, bool) {
	n := len(s) - len(end)
	if n < 0 || string(s[n:]) != end {
		return nil, false
	}
	return s[:n], true
}
