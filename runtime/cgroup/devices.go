package cgroup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Kinds of access to a device; the numbers are the kernel's, <linux/bpf.h>.
const (
	accessMknod = 1 << iota
	accessRead
	accessWrite

	accessAll = accessMknod | accessRead | accessWrite
)

const anyNumber = -1

// rule allows or denies some access to some devices of one type.
type rule struct {
	allow        bool
	kind         byte  // 'b' or 'c'
	major, minor int64 // or anyNumber
	access       uint8
}

// filter says what a group may do with devices: for each kind of access the
// last rule that names the device decides, and allowed if there is none.
type filter struct {
	allowed bool
	rules   []rule
}

// newFilter reads the rules of OCI config-linux.md, "Allowed Device list", in
// their order. What no rule names is denied. It gives nil without rules.
func newFilter(list []specs.LinuxDeviceCgroup) (*filter, error) {
	if len(list) == 0 {
		return nil, nil
	}
	f := &filter{}
	for i, d := range list {
		if err := f.add(d); err != nil {
			return nil, fmt.Errorf("device rule %d: %w", i+1, err)
		}
	}
	return f, nil
}

func (f *filter) add(d specs.LinuxDeviceCgroup) error {
	access, err := parseAccess(d.Access)
	if err != nil {
		return err
	}
	major, err := number("major", d.Major, maxMajor)
	if err != nil {
		return err
	}
	minor, err := number("minor", d.Minor, maxMinor)
	if err != nil {
		return err
	}
	kinds := d.Type
	switch d.Type {
	case "", "a":
		if major == anyNumber && minor == anyNumber && access == accessAll {
			*f = filter{allowed: d.Allow} // about everything: the rules before are over
			return nil
		}
		kinds = "bc"
	case "b", "c":
	default:
		return fmt.Errorf("bad type %q", d.Type)
	}
	for _, kind := range []byte(kinds) {
		f.rules = append(f.rules, rule{d.Allow, kind, major, minor, access})
	}
	return nil
}

func parseAccess(s string) (access uint8, err error) {
	for _, c := range s {
		switch c {
		case 'm':
			access |= accessMknod
		case 'r':
			access |= accessRead
		case 'w':
			access |= accessWrite
		default:
			return 0, fmt.Errorf("bad access %q", s)
		}
	}
	if access == 0 {
		return 0, fmt.Errorf("no access given")
	}
	return access, nil
}

func number(what string, n *int64, most int64) (int64, error) {
	if n == nil {
		return anyNumber, nil
	}
	if *n < anyNumber || *n > most {
		return 0, fmt.Errorf("bad %s number %d", what, *n)
	}
	return *n, nil
}

// exceptions gives the filter as version 1 keeps it: a list of devices and
// accesses that differ from the filter's default. That list can't say "all of
// these but not that one", and the kernel would silently drop the "but", so
// such rules are an error.
func (f *filter) exceptions() ([]rule, error) {
	var list []rule
	for _, r := range f.rules {
		if r.allow != f.allowed {
			list = include(list, r)
			continue
		}
		for i := range list {
			e := &list[i]
			switch {
			case e.access&r.access == 0 || !r.meets(*e):
			case r.covers(*e):
				e.access &^= r.access
			default:
				return nil, fmt.Errorf("devices: cgroup v1 can't except %v from %v", r, *e)
			}
		}
		list = slices.DeleteFunc(list, func(e rule) bool { return e.access == 0 })
	}
	return list, nil
}

func include(list []rule, r rule) []rule {
	for i, e := range list {
		if e.kind == r.kind && e.major == r.major && e.minor == r.minor {
			list[i].access |= r.access
			return list
		}
	}
	return append(list, r)
}

// meets says whether some device is named by both rules; covers whether r
// names each device that other names.
func (r rule) meets(other rule) bool {
	return r.kind == other.kind && meet(r.major, other.major) && meet(r.minor, other.minor)
}

func (r rule) covers(other rule) bool {
	return r.kind == other.kind && cover(r.major, other.major) && cover(r.minor, other.minor)
}

func meet(a, b int64) bool  { return a == b || a == anyNumber || b == anyNumber }
func cover(a, b int64) bool { return a == b || a == anyNumber }

// String is the form of devices.allow, devices.deny and devices.list.
func (r rule) String() string {
	var b strings.Builder
	b.WriteByte(r.kind)
	b.WriteByte(' ')
	b.WriteString(star(r.major))
	b.WriteByte(':')
	b.WriteString(star(r.minor))
	b.WriteByte(' ')
	for i, c := range []byte("mrw") {
		if r.access&(1<<i) != 0 {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func star(n int64) string {
	if n == anyNumber {
		return "*"
	}
	return strconv.FormatInt(n, 10)
}

// String says the filter in a line: "none but c 1:3 mrw, …".
func (f *filter) String() string {
	s := "none"
	if f.allowed {
		s = "all"
	}
	sep := "; "
	for _, r := range f.rules {
		verb := "deny "
		if r.allow {
			verb = "allow "
		}
		s += sep + verb + r.String()
		sep = ", "
	}
	return s
}

// writes are those that make a group of version 1 have the filter, whatever
// it had before. The caller has seen that exceptions gives no error.
func (f *filter) writes() []write {
	all, each := "devices.deny", "devices.allow"
	if f.allowed {
		all, each = each, all
	}
	list := []write{{set: Devices, file: all, value: "a"}}
	exceptions, _ := f.exceptions()
	for _, r := range exceptions {
		list = append(list, write{set: Devices, file: each, value: r.String()})
	}
	return list
}
