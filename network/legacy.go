package network

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Beside nftables the kernel can have the tables that were before it, which
// iptables-legacy fills. They too drop what containers send and get. A rule can't
// be put into them: such a table is replaced as a whole, by its owner.

// legacyFilter is a table "filter" of iptables-legacy, linux/netfilter_ipv4/ip_tables.h
// and linux/netfilter_ipv6/ip6_tables.h.
type legacyFilter struct {
	name          string
	tables        string // file with the names of those that are there
	family, level int
	target        int // where a rule says how far away its target is
}

func legacyFilters() []legacyFilter {
	return []legacyFilter{
		{"iptables-legacy filter FORWARD", "/proc/thread-self/net/ip_tables_names", unix.AF_INET, unix.SOL_IP, 88},
		{"ip6tables-legacy filter FORWARD", "/proc/thread-self/net/ip6_tables_names", unix.AF_INET6, unix.SOL_IPV6, 140},
	}
}

// drops says whether forwarded packets are dropped that no rule decides on. To
// ask for a table would make it, so first it is looked whether it is there.
func (l legacyFilter) drops() (bool, error) {
	if !slices.Contains(strings.Fields(readNote(l.tables)), "filter") {
		return false, nil
	}
	fd, err := unix.Socket(l.family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	const (
		getInfo, getEntries = 64, 65 // IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES
		// struct ipt_getinfo: name, valid_hooks, hook_entry, underflow, num_entries, size.
		infoSize, policyAt, sizeAt = 84, 56 + 4*unix.NF_INET_FORWARD, 80
		// struct ipt_get_entries: name, size, rules.
		rulesAt, rulesSizeAt = 40, 32
		verdictAt            = 32 // in struct xt_standard_target
		drop                 = -1 // NF_DROP, as the rules have it
	)
	info := make([]byte, infoSize)
	copy(info, "filter")
	if err := getsockopt(fd, l.level, getInfo, info); err != nil {
		return false, err
	}
	policy, size := binary.NativeEndian.Uint32(info[policyAt:]), binary.NativeEndian.Uint32(info[sizeAt:])
	list := make([]byte, rulesAt+size)
	copy(list, "filter")
	binary.NativeEndian.PutUint32(list[rulesSizeAt:], size)
	if err := getsockopt(fd, l.level, getEntries, list); err != nil {
		return false, err
	}
	// A chain's policy is its last rule.
	rule := list[rulesAt+policy:]
	target := rule[binary.NativeEndian.Uint16(rule[l.target:]):]
	return int32(binary.NativeEndian.Uint32(target[verdictAt:])) == drop, nil
}

// getsockopt asks by a structure that says what is asked for, and takes the answer.
func getsockopt(fd, level, option int, about []byte) error {
	size := uint32(len(about))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&about[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return os.NewSyscallError("getsockopt", errno)
	}
	return nil
}
