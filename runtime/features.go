package runtime

import (
	"slices"
)

// MountOptions are the options of mounts that this runtime knows by itself,
// sorted; any other is handed to the filesystem.
func MountOptions() []string {
	list := []string{"bind", "rbind", "defaults", "async", "sync", "dirsync", "mand", "nomand", "lazytime", "nolazytime", "silent", "loud",
		"iversion", "noiversion", "remount", "idmap", "ridmap", "tmpcopyup"}
	for option := range attrs {
		list = append(list, option, "r"+option)
	}
	for option := range propagations {
		list = append(list, option)
	}
	slices.Sort(list)
	return list
}

// Namespaces are the kinds of namespaces that this runtime knows, sorted.
func Namespaces() []string {
	var list []string
	for _, ns := range namespaces {
		list = append(list, string(ns.kind))
	}
	slices.Sort(list)
	return list
}

// MemoryPolicies are the modes and flags of memory policies that this runtime
// knows, sorted.
func MemoryPolicies() (modes, flags []string) {
	for mode := range memoryModes {
		modes = append(modes, string(mode))
	}
	for flag := range memoryFlags {
		flags = append(flags, string(flag))
	}
	slices.Sort(modes)
	slices.Sort(flags)
	return modes, flags
}
