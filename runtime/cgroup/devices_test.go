package cgroup

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// allows is what the rules mean, said plainly: each kind of access is decided
// by the last rule for it.
func allows(list []specs.LinuxDeviceCgroup, kind byte, major, minor int64, access uint8) bool {
	for _, bit := range []uint8{accessMknod, accessRead, accessWrite} {
		if access&bit == 0 {
			continue
		}
		allowed := false
		for _, d := range list {
			bits, _ := parseAccess(d.Access)
			typed := d.Type == "" || d.Type == "a" || d.Type == string(kind)
			if typed && bits&bit != 0 && (d.Major == nil || *d.Major == -1 || *d.Major == major) &&
				(d.Minor == nil || *d.Minor == -1 || *d.Minor == minor) {
				allowed = d.Allow
			}
		}
		if !allowed {
			return false
		}
	}
	return true
}

// interpret runs a program of the few codes that the filter uses.
func interpret(t *testing.T, code []byte, kind byte, major, minor int64, access uint8) bool {
	t.Helper()
	ctx := []uint32{uint32(access)<<16 | map[byte]uint32{'b': 1, 'c': 2}[kind], uint32(major), uint32(minor)}
	var r [11]uint64
	for pc, steps := 0, 0; ; pc, steps = pc+1, steps+1 {
		if pc < 0 || pc*8 >= len(code) || steps > len(code) {
			t.Fatal("the program runs away")
		}
		in := code[8*pc:]
		dst, src := in[1]&15, in[1]>>4
		off, imm := int16(binary.LittleEndian.Uint16(in[2:])), uint64(int64(int32(binary.LittleEndian.Uint32(in[4:]))))
		switch in[0] {
		case loadWord:
			r[dst] = uint64(ctx[off/4])
		case moveReg:
			r[dst] = r[src]
		case moveImm:
			r[dst] = imm
		case andImm:
			r[dst] &= imm
		case orReg:
			r[dst] |= r[src]
		case shiftRight:
			r[dst] >>= imm
		case shiftLeft:
			r[dst] <<= imm
		case jumpEq:
			if uint32(r[dst]) == uint32(imm) {
				pc += int(off)
			}
		case jumpNotEq:
			if uint32(r[dst]) != uint32(imm) {
				pc += int(off)
			}
		case exit:
			return r[0] != 0
		default:
			t.Fatalf("code %#x", in[0])
		}
	}
}

// kernel1 decides as the device controller of version 1 does with what it was
// written: security/device_cgroup.c keeps a default and a list of exceptions.
func kernel1(f *filter, list []rule, kind byte, major, minor int64, access uint8) bool {
	for _, e := range list {
		named := e.kind == kind && meet(e.major, major) && meet(e.minor, minor)
		if !f.allowed && named && access&^e.access == 0 {
			return true
		}
		if f.allowed && named && access&e.access != 0 {
			return false
		}
	}
	return f.allowed
}

func randomRules(r *rand.Rand) []specs.LinuxDeviceCgroup {
	list := make([]specs.LinuxDeviceCgroup, 1+r.IntN(8))
	number := func() *int64 {
		return [...]*int64{nil, ptr(int64(-1)), ptr(int64(1)), ptr(int64(2)), ptr(int64(3))}[r.IntN(5)]
	}
	for i := range list {
		list[i] = specs.LinuxDeviceCgroup{
			Allow: r.IntN(2) == 0, Type: []string{"", "a", "b", "c", "c"}[r.IntN(5)],
			Major: number(), Minor: number(),
			Access: []string{"r", "w", "m", "rw", "rwm", "rwm", "mr"}[r.IntN(7)],
		}
	}
	return list
}

// Both versions decide as the rules say; version 1 where it can, and otherwise
// the rules are refused.
func TestFilterMeansTheRules(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 3000 {
		list := randomRules(r)
		f, err := newFilter(list)
		if err != nil {
			t.Fatal(err)
		}
		program, err := f.program()
		if err != nil {
			t.Fatal(err)
		}
		code := encode(program)
		exceptions, err := f.exceptions()
		if err != nil {
			refused++
		}
		for _, kind := range []byte("bc") {
			for n := range int64(16 * 7) {
				major, minor, access := n/7%4, n/7/4, uint8(n%7)+1
				want := allows(list, kind, major, minor, access)
				if got := interpret(t, code, kind, major, minor, access); got != want {
					t.Fatalf("program: %c %d:%d %d: got %v; rules %v", kind, major, minor, access, got, f)
				}
				if err != nil {
					continue
				}
				// The list is of single devices or wildcards: version 1 wants
				// one entry to have all of an access, so bits are asked apart.
				got := true
				for bit := uint8(1); bit < 8; bit <<= 1 {
					got = got && (access&bit == 0 || kernel1(f, exceptions, kind, major, minor, bit))
				}
				if got != want {
					t.Fatalf("version 1: %c %d:%d %d: got %v; rules %v; list %v", kind, major, minor, access, got, f, exceptions)
				}
			}
		}
	}
	if refused == 0 || refused > 2500 {
		t.Errorf("%d of 3000 refused", refused)
	}
}

func TestBadDeviceRules(t *testing.T) {
	for want, d := range map[string]specs.LinuxDeviceCgroup{
		"device rule 1: no access given":        {Type: "c"},
		"device rule 1: bad access \"rx\"":      {Type: "c", Access: "rx"},
		"device rule 1: bad type \"p\"":         {Type: "p", Access: "r"},
		"device rule 1: bad type \"bc\"":        {Type: "bc", Access: "r"},
		"device rule 1: bad major number -2":    {Type: "c", Access: "r", Major: ptr(int64(-2))},
		"device rule 1: bad minor number 1 << ": {Type: "c", Access: "r", Minor: ptr(int64(1) << 40)},
	} {
		want = strings.Replace(want, "1 << ", strconv.FormatInt(1<<40, 10), 1)
		if _, err := newFilter([]specs.LinuxDeviceCgroup{d}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestVersion1List(t *testing.T) {
	one := func(allow bool, access string) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: allow, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(3)), Access: access}
	}
	all := specs.LinuxDeviceCgroup{Type: "c", Access: "w"}
	for want, list := range map[string][]specs.LinuxDeviceCgroup{
		"[c 1:3 mr]":          {one(true, "rwm"), one(false, "w")},
		"[c 1:3 mrw]":         {one(true, "r"), one(true, "wm")},
		"[]":                  {one(true, "rwm"), one(false, "rwm")},
		"[c 1:3 r]":           {one(true, "rw"), all},
		"[c 1:3 rw]":          {one(false, "m"), one(true, "rw")},
		"[c *:* w]":           {{Allow: true, Access: "rwm"}, one(true, "rw"), all},
		"[b *:* r c *:* r]":   {{Allow: true, Type: "a", Access: "r"}},
		"[b 1:* mr c 1:* mr]": {{Allow: true, Major: ptr(int64(1)), Access: "rm"}},
	} {
		f, err := newFilter(list)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.exceptions()
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%v gives %v, %v; want %s", f, got, err, want)
		}
	}
}

// An exception inside a wildcard can't be had on version 1; being silent
// about it would open the device.
func TestVersion1CantExcept(t *testing.T) {
	f, err := newFilter([]specs.LinuxDeviceCgroup{
		{Allow: true, Type: "c", Major: ptr(int64(10)), Access: "rwm"},
		{Allow: false, Type: "c", Major: ptr(int64(10)), Minor: ptr(int64(229)), Access: "rwm"},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.exceptions()
	if err == nil || err.Error() != "devices: cgroup v1 can't except c 10:229 mrw from c 10:* mrw" {
		t.Errorf("got %v", err)
	}
}

func TestKernelTakesPrograms(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 300 {
		list := randomRules(r)
		if i == 0 {
			for n := range int64(2000) {
				list = append(list, specs.LinuxDeviceCgroup{Allow: true, Type: "b", Major: ptr(int64(8)), Minor: &n, Access: "rw"})
			}
		}
		f, err := newFilter(list)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := f.load()
		if err != nil {
			t.Fatalf("%.1000v: %v", f, err)
		}
		unix.Close(fd)
	}
}

func TestDevices(t *testing.T) {
	dir := t.TempDir() // perhaps on a file system without devices
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	node := func(minor uint32) string {
		file := filepath.Join(dir, fmt.Sprint(minor))
		if err := unix.Mknod(file, unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			t.Fatal(err)
		}
		return file
	}
	null, zero, full := node(3), node(5), node(7)
	rules := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
		{Access: "rwm"},
		{Allow: true, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(3)), Access: "rwm"},
		{Allow: true, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(5)), Access: "r"},
	}}
	other := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
		{Access: "rwm"},
		{Allow: true, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(5)), Access: "rw"},
		{Allow: true, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(7)), Access: "rw"},
	}}
	most := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
		{Allow: true, Access: "rwm"},
		{Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(5)), Access: "w"},
	}}
	tests := []struct {
		name  string
		rules *specs.LinuxResources
		after *specs.LinuxResources // update
		file  string
		flags int
		open  bool
	}{
		{"allowed", rules, nil, null, unix.O_RDWR, true},
		{"not named", rules, nil, full, unix.O_RDONLY, false},
		{"read", rules, nil, zero, unix.O_RDONLY, true},
		{"only read", rules, nil, zero, unix.O_RDWR, false},
		{"updated from", rules, other, null, unix.O_RDWR, false},
		{"updated to", rules, other, full, unix.O_RDWR, true},
		{"updated more", rules, other, zero, unix.O_RDWR, true},
		{"default allow", most, nil, full, unix.O_RDWR, true},
		{"default allow, denied", most, nil, zero, unix.O_RDWR, false},
		{"to default allow", rules, most, full, unix.O_RDWR, true},
		{"to default allow, denied", rules, most, zero, unix.O_WRONLY, false},
		{"from default allow", most, rules, full, unix.O_RDWR, false},
		{"without rules", nil, nil, full, unix.O_RDWR, true},
	}
	everywhere(t, Devices, func(t *testing.T, l Layout) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				x := start(t, l, tt.rules, "later", tt.file, strconv.Itoa(tt.flags)).ready()
				if tt.after != nil {
					if err := x.Update(tt.after); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := x.in.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				want := "opened " + strconv.FormatBool(tt.open)
				if said := x.says(); !strings.HasPrefix(said, want) {
					t.Errorf("the payload says %q, want %q", said, want)
				}
			})
		}
	})
}

func TestDevicesList(t *testing.T) {
	everywhere(t, Devices, func(t *testing.T, l Layout) {
		x := start(t, l, &specs.LinuxResources{Devices: defaults().Devices}, "wait").ready()
		d, ok := x.find(Devices)
		if !ok {
			t.Fatal("not in a hierarchy with devices")
		}
		if d.v2 {
			if ids, err := d.attached(); err != nil || len(ids) != 1 {
				t.Errorf("programs %v, %v", ids, err)
			}
			if err := x.Update(&specs.LinuxResources{Devices: defaults().Devices}); err != nil {
				t.Fatal(err)
			}
			if ids, err := d.attached(); err != nil || len(ids) != 1 {
				t.Errorf("programs after update %v, %v", ids, err)
			}
			return
		}
		if got := x.content(Devices, "devices.list"); got != "c *:* m\nc 1:3 rwm" {
			t.Errorf("devices.list is %q", got)
		}
	})
}
