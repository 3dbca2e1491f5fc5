package cgroup

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refilter gives the group another device filter.
func (c *Cgroup) refilter(f *filter) error {
	if f == nil {
		return nil
	}
	d, ok := c.find(Devices)
	switch {
	case !ok:
		return fmt.Errorf("device rules: %w", ErrUnavailable)
	case d.v2:
		return d.reattach(f)
	}
	list := f.writes()
	if !f.allowed {
		data, err := readFile(d.f, "devices.list")
		if err != nil {
			return err
		}
		if list, err = f.changes(string(data)); err != nil {
			return err
		}
	}
	for _, w := range list {
		if err := writeFile(d.f, w.file, w.value); err != nil {
			return fmt.Errorf("device rule %q: %w", w.value, err)
		}
	}
	return nil
}

// changes leads from what version 1's devices.list shows to the filter, which
// denies by default: what is new is allowed first, then the rest is denied,
// so that no device is out of reach meanwhile.
func (f *filter) changes(present string) ([]write, error) {
	if strings.HasPrefix(present, "a") {
		return f.writes(), nil
	}
	wanted, err := f.exceptions()
	if err != nil {
		return nil, err
	}
	var list []write
	for _, r := range wanted {
		list = append(list, write{set: Devices, file: "devices.allow", value: r.String()})
	}
	for line := range strings.Lines(present) {
		e, err := parseRule(line)
		if err != nil {
			return nil, err
		}
		for _, r := range wanted {
			if r.major == e.major && r.minor == e.minor && r.kind == e.kind {
				e.access &^= r.access
			}
		}
		if e.access != 0 {
			list = append(list, write{set: Devices, file: "devices.deny", value: e.String()})
		}
	}
	return list, nil
}

// parseRule reads a line of devices.list: "c 1:3 rwm".
func parseRule(line string) (rule, error) {
	bad := fmt.Errorf("read devices.list: bad line %q", line)
	fields := strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == ':' || c == '\n' })
	if len(fields) != 4 || fields[0] != "b" && fields[0] != "c" {
		return rule{}, bad
	}
	r := rule{kind: fields[0][0], major: anyNumber, minor: anyNumber}
	for i, n := range []*int64{&r.major, &r.minor} {
		if fields[1+i] == "*" {
			continue
		}
		u, err := strconv.ParseUint(fields[1+i], 10, 32)
		if err != nil {
			return rule{}, bad
		}
		*n = int64(u)
	}
	var err error
	if r.access, err = parseAccess(fields[3]); err != nil {
		return rule{}, bad
	}
	return r, nil
}

// bpf is bpf(2).
func bpf[T any](cmd uintptr, attr *T) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
	if errno != 0 {
		return 0, os.NewSyscallError("bpf", errno)
	}
	return int(n), nil
}

// reattach attaches the new filter before it takes the old ones away: for a
// moment both have to allow.
func (d dir) reattach(f *filter) error {
	old, err := d.attached()
	if err != nil {
		return fmt.Errorf("query device filter: %w", err)
	}
	prog, err := f.load()
	if err != nil {
		return fmt.Errorf("load device filter: %w", err)
	}
	defer unix.Close(prog)
	type attr struct{ target, prog, kind, flags uint32 }
	dir := uint32(d.f.Fd())
	a := attr{dir, uint32(prog), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI}
	if _, err := bpf(unix.BPF_PROG_ATTACH, &a); err != nil {
		return fmt.Errorf("attach device filter: %w", err)
	}
	var errs []error
	for _, id := range old {
		fd, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, &struct{ id, next, flags uint32 }{id: id})
		if err == nil {
			_, err = bpf(unix.BPF_PROG_DETACH, &attr{dir, uint32(fd), unix.BPF_CGROUP_DEVICE, 0})
			unix.Close(fd)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// attached gives the ids of the filters attached to this very group.
func (d dir) attached() ([]uint32, error) {
	ids := make([]uint32, 64) // BPF_CGROUP_MAX_PROGS
	var pin runtime.Pinner
	pin.Pin(&ids[0])
	defer pin.Unpin()
	attr := struct {
		target, kind, query, flags uint32
		ids                        uint64
		count, _                   uint32
	}{
		target: uint32(d.f.Fd()), kind: unix.BPF_CGROUP_DEVICE,
		ids: uint64(uintptr(unsafe.Pointer(&ids[0]))), count: uint32(len(ids)),
	}
	_, err := bpf(unix.BPF_PROG_QUERY, &attr)
	return slices.Clip(ids[:attr.count]), err
}

func (f *filter) load() (int, error) {
	program, err := f.program()
	if err != nil {
		return 0, err
	}
	code := encode(program)
	license := []byte{0}
	var pin runtime.Pinner
	pin.Pin(&code[0])
	pin.Pin(&license[0])
	defer pin.Unpin()
	attr := struct {
		kind, count   uint32
		code, license uint64
		_             [5]uint64
	}{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(code) / 8),
		code:    uint64(uintptr(unsafe.Pointer(&code[0]))),
		license: uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	for range loadTries - 1 {
		if fd, err := bpf(unix.BPF_PROG_LOAD, &attr); !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
	return bpf(unix.BPF_PROG_LOAD, &attr)
}
