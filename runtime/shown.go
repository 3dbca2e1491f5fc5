package runtime

import (
	"path"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Shown is a mount of a container: something of the host's that it is shown, or
// one of its own.
type Shown struct {
	Destination string
	Source      string // on the host; "": it is the container's own
	Recursive   bool   // with what is mounted below
	// File says that only a file is of the host's: a directory there is the
	// container's own, or no mount at all.
	File bool
	// Attr are the attributes that the mount is given, and All those that the
	// mounts below are given too.
	Attr, All unix.MountAttr
}

// ShownMounts are the mounts of a configuration: those that it names, and those
// that its devices and its masks may become.
func ShownMounts(spec *specs.Spec, bundle string) ([]Shown, error) {
	var list []Shown
	for _, m := range spec.Mounts {
		o, err := parseMountOptions(m)
		if err != nil {
			return nil, err
		}
		if o.remount {
			continue
		}
		s := Shown{Destination: path.Join("/", m.Destination)}
		if o.bind {
			s.Source, s.Recursive = m.Source, o.recursive
			s.Attr, s.All = unix.MountAttr{Attr_set: o.set, Attr_clr: o.clear}, unix.MountAttr{Attr_set: o.setAll, Attr_clr: o.clearAll}
			if !path.IsAbs(m.Source) {
				s.Source = path.Join(bundle, m.Source)
			}
		}
		list = append(list, s)
	}
	if hasUserNamespace(spec) { // the nodes are bound: none can be made
		for _, d := range allDevices(spec) {
			p := path.Clean(d.Path)
			list = append(list, Shown{Destination: p, Source: p, File: true})
		}
	}
	for _, p := range spec.Linux.MaskedPaths {
		list = append(list, Shown{Destination: path.Clean(p), Source: "/dev/null", File: true,
			Attr: unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}})
	}
	return list, nil
}

// allDevices are those of the configuration, and of the default ones those that
// it does not name.
func allDevices(spec *specs.Spec) []specs.LinuxDevice {
	all := slices.Clone(spec.Linux.Devices)
	for _, d := range defaultDevices {
		if !slices.ContainsFunc(all, func(m specs.LinuxDevice) bool { return path.Clean(m.Path) == d.Path }) {
			all = append(all, d)
		}
	}
	return all
}

func hasUserNamespace(spec *specs.Spec) bool {
	return slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
}
