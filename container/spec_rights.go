package container

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultCapabilities are Docker's. None of them lets a process leave its
// container, and images rely on them.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD",
	"CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP",
	"CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// maskedPaths can't be seen in a container: what they show, or let be done,
// concerns the whole machine. It is what Docker and Podman mask.
var maskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
	"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
	"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
}

// readonlyPaths can be read in a container but not written.
var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// capabilitySet is Docker's order of evaluation: privileged is everything; to
// add ALL is everything but what is dropped; to drop ALL leaves what is added;
// else what is dropped goes from the default set, and what is added comes.
// Everything is what this machine's root has.
func (c *Config) capabilitySet(bounding []string) []string {
	var set []string
	switch {
	case c.Privileged:
		return bounding
	case slices.Contains(c.CapAdd, allCapabilities):
		set = without(bounding, c.CapDrop)
	case slices.Contains(c.CapDrop, allCapabilities):
		set = slices.Clone(c.CapAdd)
	default:
		set = append(without(defaultCapabilities, c.CapDrop), c.CapAdd...)
	}
	slices.Sort(set)
	return slices.Compact(set)
}

func without(list, drop []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(drop, s) })
}

// capabilities are the sets of a process of a user. Nothing is inheritable or
// ambient. Who isn't root has no effective ones, as after any execve(2) by
// such a user, but can get those of the bounding set by a set-uid program.
func (c *Config) capabilities(f facts, uid uint32) *specs.LinuxCapabilities {
	set := c.capabilitySet(f.Bounding)
	if uid != 0 {
		return &specs.LinuxCapabilities{Bounding: set}
	}
	return &specs.LinuxCapabilities{Bounding: set, Permitted: set, Effective: set}
}

// missingCapability gives one that the user asked for and that this machine's
// root does not have, or "".
func (c *Config) missingCapability(bounding []string) string {
	for _, name := range c.CapAdd {
		if name != allCapabilities && !slices.Contains(bounding, name) {
			return name
		}
	}
	return ""
}

// deviceRules allow the devices that every container has, the terminals of
// its own devpts, and to make nodes that then can't be opened.
func deviceRules(privileged bool) []specs.LinuxDeviceCgroup {
	if privileged {
		return []specs.LinuxDeviceCgroup{{Allow: true, Type: "a", Access: "rwm"}}
	}
	rules := []specs.LinuxDeviceCgroup{
		{Allow: false, Type: "a", Access: "rwm"},
		{Allow: true, Type: "c", Access: "m"},
		{Allow: true, Type: "b", Access: "m"},
	}
	for _, d := range []struct{ major, minor int64 }{
		{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, // null, zero, full, random, urandom
		{5, 0}, {5, 1}, {5, 2}, // tty, console, ptmx
		{136, -1}, // pts/*
	} {
		rule := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &d.major, Access: "rwm"}
		if d.minor >= 0 {
			rule.Minor = &d.minor
		}
		rules = append(rules, rule)
	}
	return rules
}

// unlimited is RLIM_INFINITY.
const unlimited = ^uint64(0)

// usualNoFile is the soft limit of open files that programs expect: some that
// use select(2), or close all that they could have, can't do with more.
const usualNoFile = 1024

// rlimits are those that the user asked for, as far as this machine's root
// may give them, and the usual limit of open files: the one of this process is
// Go's doing, which raises it for itself.
func (c *Config) rlimits(f facts) []specs.POSIXRlimit {
	var list []specs.POSIXRlimit
	asked := slices.ContainsFunc(c.Ulimits, func(u Ulimit) bool { return u.Name == "nofile" })
	if !asked && f.NoFile != 0 {
		list = append(list, specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: min(usualNoFile, f.NoFile), Hard: f.NoFile})
	}
	for _, u := range c.Ulimits {
		soft, hard := limitValue(u.Soft), limitValue(u.Hard)
		if most, ok := f.HardLimits[u.Name]; ok {
			soft, hard = min(soft, most), min(hard, most)
		}
		list = append(list, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: soft, Hard: hard})
	}
	return list
}

func limitValue(n int64) uint64 {
	if n < 0 {
		return unlimited
	}
	return uint64(n)
}
