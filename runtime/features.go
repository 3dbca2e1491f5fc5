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
