// Package cgroup makes, limits, watches and removes control groups, version 1
// and version 2, for one container each.
//
// There are two parts. Layout.Plan writes the set-up as steps of a plan: it
// reads nothing from the machine but what Probe put into the Layout, so that
// plans can be compared without root. Open gives the living group of a
// container, for whoever stops, pauses, updates, measures or removes it.
//
// docs/cgroups.md tells what each limit is in the kernel.
package cgroup

import (
	"errors"
	"fmt"
	"math/bits"
	"path"
	"strings"
)

// Parent is the group in which minict keeps its containers' groups, below the
// root of each hierarchy.
const Parent = "/minict"

// Usual is the group below Parent for containers that may use the usual
// devices, and no others: see Options.Shared. Those rules go with the name: if
// they ever change, so must it, or containers would get the rules of whoever
// came first.
const Usual = Parent + "/usual"

// Set is a set of controllers, cgroups(7). The names are those of version 2
// where both have the controller: blkio of version 1 is IO.
type Set uint16

const (
	CPU Set = 1 << iota
	CPUAcct
	CPUSet
	Memory
	Pids
	IO
	Devices // version 2 has no such controller: there it means the eBPF filter
	Freezer
	HugeTLB
	NetCls
	NetPrio
	RDMA
	Misc
)

var names = [...]string{"cpu", "cpuacct", "cpuset", "memory", "pids", "io", "devices", "freezer",
	"hugetlb", "net_cls", "net_prio", "rdma", "misc"}

// ParseSet reads controllers' names, separated by sep; unknown names are no
// error: a newer kernel may have more.
func parseSet(list, sep string) Set {
	var s Set
	for name := range strings.SplitSeq(strings.TrimSpace(list), sep) {
		if name == "blkio" {
			name = "io"
		}
		for i, known := range names {
			if name == known {
				s |= 1 << i
			}
		}
	}
	return s
}

func (s Set) String() string { return s.join("") }

// join writes "+cpu +memory" for the prefix "+".
func (s Set) join(prefix string) string {
	var b strings.Builder
	for ; s != 0; s &= s - 1 {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(prefix)
		b.WriteString(names[bits.TrailingZeros16(uint16(s))])
	}
	return b.String()
}

// Layout is how a machine has its control groups mounted. It is plain data:
// Probe fills it, and a test may write one down.
type Layout struct {
	// Unified is where cgroup v2 is mounted: /sys/fs/cgroup, or
	// /sys/fs/cgroup/unified beside version 1; "" if it is not.
	Unified string
	// Available are the controllers that cgroup v2 has at its root.
	Available Set
	// Enabled are those that Usual already hands to its children, and so
	// Parent too.
	Enabled Set
	// V1 are the hierarchies of version 1; controllers that are mounted
	// together (cpu,cpuacct) are one. None: the machine has version 2 alone.
	V1 []Hierarchy
}

// Hierarchy is one mounted hierarchy of version 1.
type Hierarchy struct {
	Mount       string
	Controllers Set
}

// ErrPath says that a group's path is none.
var ErrPath = errors.New("bad cgroup path")

// Path gives the group for an OCI linux.cgroupsPath: an absolute one is meant
// from the root of the hierarchies as they are mounted, a relative one from
// Parent, and without one it is named by the container's id in Parent. A path
// with "..", or that is the root itself, is refused: a container must not
// choose among the groups of others (ErrPath).
func Path(cgroupsPath, id string) (string, error) {
	p := cgroupsPath
	if p == "" {
		if p = id; strings.Contains(id, "/") {
			return "", fmt.Errorf("%w: %q", ErrPath, id)
		}
	}
	if !path.IsAbs(p) {
		p = Parent + "/" + p
	}
	if err := checkPath(p); err != nil {
		return "", err
	}
	return path.Clean(p), nil
}

func checkPath(p string) error {
	bad := !path.IsAbs(p) || path.Clean(p) == "/" || path.Clean(p) == Parent || len(p) > 3500
	for name := range strings.SplitSeq(p, "/") {
		bad = bad || name == ".." || len(name) > 255
	}
	if bad || strings.ContainsAny(p, "\n\x00") {
		return fmt.Errorf("%w: %q", ErrPath, p)
	}
	return nil
}

// on gives the mount point of the hierarchy that has the controller.
func (l Layout) on(c Set) (mount string, v2, ok bool) {
	for _, h := range l.V1 {
		if h.Controllers&c != 0 {
			return h.Mount, false, true
		}
	}
	if l.Unified != "" && (l.Available|implicit)&c != 0 {
		return l.Unified, true, true
	}
	return "", false, false
}

// implicit are what cgroup v2 can do without a controller.
const implicit = Devices | Freezer

// OOMFile gives the file that counts how often the kernel killed a process of
// this group for want of memory, and the key that stands before the count.
// Both are "" where there is no memory controller.
func (l Layout) OOMFile(path string) (file, key string) {
	mount, v2, ok := l.on(Memory)
	switch {
	case !ok:
		return "", ""
	case v2:
		return mount + path + "/memory.events", "oom_kill"
	}
	return mount + path + "/memory.oom_control", "oom_kill"
}
