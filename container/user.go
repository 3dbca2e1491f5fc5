package container

import (
	"strconv"
	"strings"
)

// maxUserID is the largest number of a user or group: the kernel's ids are
// wider, but programs keep them in 32 signed bits.
const maxUserID = 1<<31 - 1

// account is a user or a group as it was asked for: by name, or by number.
type account struct {
	name string // "" if by number
	id   uint32
}

// parseUser reads user[:group]. What consists of digits is a number and never
// looked up as a name: an image could otherwise name its root "4294967296"
// (CVE-2024-40635).
func parseUser(s string) (user account, group *account, err error) {
	first, second, both := strings.Cut(s, ":")
	if user, err = parseAccount(s, first); err != nil {
		return user, nil, err
	}
	if both {
		g, err := parseAccount(s, second)
		if err != nil {
			return user, nil, err
		}
		group = &g
	}
	return user, group, nil
}

func parseAccount(whole, s string) (account, error) {
	if isDigits(s) {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil || n > maxUserID {
			return account{}, invalidf("invalid user %q: numbers go from 0 to %d", whole, maxUserID)
		}
		return account{id: uint32(n)}, nil
	}
	if s == "" || !isAlnum(s[0]) && s[0] != '_' || !only(s, "_.-$") {
		return account{}, invalidf("invalid user %q: want user[:group], names or numbers", whole)
	}
	return account{name: s}, nil
}
