// Package systemd makes a container's cgroup a scope of systemd's: a unit with
// processes that systemd did not start itself. systemd then makes the group,
// below a slice, and hands it over (Delegate=); what is done with it after that
// is package cgroup's matter.
//
// It talks to systemd over its own socket, and needs no bus daemon.
// https://systemd.io/CGROUP_DELEGATION tells who owns what.
package systemd

import (
	"errors"
	"fmt"
	"strings"
)

// ErrPath says that a cgroupsPath is not "slice:prefix:name".
var ErrPath = errors.New(`bad cgroup path: with systemd it is "slice:prefix:name"`)

// Scope is a container's unit.
type Scope struct {
	Slice string // unit that it is in: "machine.slice"
	Unit  string // "minict-ID.scope"
}

// Parse reads an OCI linux.cgroupsPath as it is with --systemd-cgroup:
// "slice:prefix:name" makes the unit prefix-name.scope, or just name where the
// prefix is empty. Without a path it is minict-ID.scope in system.slice. Errors
// wrap ErrPath.
func Parse(cgroupsPath, id string) (Scope, error) {
	if cgroupsPath == "" {
		cgroupsPath = ":minict:" + id
	}
	parts := strings.Split(cgroupsPath, ":")
	if len(parts) != 3 {
		return Scope{}, fmt.Errorf("%w, not %q", ErrPath, cgroupsPath)
	}
	s := Scope{Slice: parts[0], Unit: parts[2]}
	if s.Slice == "" {
		s.Slice = "system.slice"
	}
	if parts[1] != "" {
		s.Unit = parts[1] + "-" + s.Unit
	}
	s.Unit += ".scope"
	if !name(parts[2]) || !name(s.Unit) || !slice(s.Slice) {
		return Scope{}, fmt.Errorf("%w, not %q", ErrPath, cgroupsPath)
	}
	return s, nil
}

// name says whether s has the characters of a unit's name, systemd.unit(5).
func name(s string) bool {
	const others = ":-_.\\@"
	for _, c := range s {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && !strings.ContainsRune(others, c) {
			return false
		}
	}
	return s != "" && len(s) < 256
}

// slice says whether s names a slice: each dash stands for one below another.
func slice(s string) bool {
	path, ok := strings.CutSuffix(s, ".slice")
	if path == "-" {
		return ok
	}
	return ok && name(path) && !strings.HasPrefix(path, "-") && !strings.HasSuffix(path, "-") && !strings.Contains(path, "--")
}

// Group is the path of the unit's cgroup: slices lie in those that their names
// begin with, systemd.slice(5).
func (s Scope) Group() string {
	var b strings.Builder
	path := strings.TrimSuffix(s.Slice, ".slice")
	for i, c := range path + "-" {
		if c == '-' && i > 0 && path != "-" {
			b.WriteString("/" + path[:i] + ".slice")
		}
	}
	return b.String() + "/" + s.Unit
}
