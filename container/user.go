package container

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/internal/inroot"
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

// identity is who a process runs as.
type identity struct {
	uid, gid uint32
	groups   []uint32 // supplementary groups, with gid
	home     string
}

func (i identity) spec() specs.User {
	return specs.User{UID: i.uid, GID: i.gid, AdditionalGids: i.groups}
}

// maxAccounts bounds the files with users and groups, in bytes. They are the
// image's, so they may be anything (CVE-2024-9676).
const maxAccounts = 1 << 20

// findIdentity looks up user[:group] in the container's own /etc/passwd and
// /etc/group, below root. Numbers need not be listed there; names do.
func findIdentity(root *os.File, user string) (identity, error) {
	passwd, err := readAccounts(root, "/etc/passwd")
	if err != nil {
		return identity{}, err
	}
	group, err := readAccounts(root, "/etc/group")
	if err != nil {
		return identity{}, err
	}
	return lookUp(user, string(passwd), string(group))
}

func readAccounts(root *os.File, name string) ([]byte, error) {
	data, err := inroot.ReadFile(root, name, maxAccounts)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, failf(ErrInvalid, "look up user: %w", err)
	}
	return data, nil
}

// lookUp finds user[:group] in files of the form of passwd(5) and group(5).
// Without a group, the process gets the user's, and all that list the user.
func lookUp(user, passwd, group string) (identity, error) {
	asked, askedGroup, err := account{}, (*account)(nil), error(nil)
	if user != "" {
		if asked, askedGroup, err = parseUser(user); err != nil {
			return identity{}, err
		}
	}
	who := identity{uid: asked.id, home: "/"}
	name, found := asked.name, false
	for line := range strings.SplitSeq(passwd, "\n") {
		f := strings.Split(line, ":")
		if len(f) < 6 {
			continue
		}
		uid, okUID := parseID(f[2])
		gid, okGID := parseID(f[3])
		if !okUID || !okGID || asked.name != "" && f[0] != asked.name || asked.name == "" && uid != asked.id {
			continue
		}
		name, found = f[0], true
		who.uid, who.gid = uid, gid
		if strings.HasPrefix(f[5], "/") && !strings.ContainsAny(f[5], "\x00\r") {
			who.home = f[5]
		}
		break
	}
	if !found && asked.name != "" {
		return who, invalidf("unable to find user %s: no matching entries in passwd file", asked.name)
	}
	if askedGroup == nil {
		who.groups = memberships(name, group, who.gid)
		return who, nil
	}
	if who.gid, err = lookUpGroup(*askedGroup, group); err != nil {
		return who, err
	}
	who.groups = []uint32{who.gid}
	return who, nil
}

// memberships are gid and the groups that list the user, in the file's order.
func memberships(user, group string, gid uint32) []uint32 {
	ids := []uint32{gid}
	for line := range strings.SplitSeq(group, "\n") {
		f := strings.Split(line, ":")
		if len(f) < 4 || user == "" {
			continue
		}
		id, ok := parseID(f[2])
		if ok && !slices.Contains(ids, id) && slices.Contains(strings.Split(f[3], ","), user) {
			ids = append(ids, id)
		}
	}
	return ids
}

func lookUpGroup(asked account, group string) (uint32, error) {
	if asked.name == "" {
		return asked.id, nil
	}
	for line := range strings.SplitSeq(group, "\n") {
		f := strings.Split(line, ":")
		if len(f) < 3 || f[0] != asked.name {
			continue
		}
		if id, ok := parseID(f[2]); ok {
			return id, nil
		}
	}
	return 0, invalidf("unable to find group %s: no matching entries in group file", asked.name)
}

func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n <= maxUserID
}
