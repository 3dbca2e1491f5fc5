package runtime

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mountOptions is a mount's fstab-style options, sorted by who reads them.
type mountOptions struct {
	bind      bool
	recursive bool     // rbind: with what is mounted below
	set       uint64   // MOUNT_ATTR_* of the mount itself
	clear     uint64   // … taken away
	setAll    uint64   // the same for everything below, too (rro, …)
	clearAll  uint64   //
	spread    uint64   // propagation, MS_*; 0: private
	data      []string // for the filesystem: "key=value" or "key"
	copyUp    bool     // tmpcopyup
}

// attr is an option that stands for an attribute of a mount, mount_setattr(2).
type attr struct {
	flag  uint64
	clear bool
}

var attrs = map[string]attr{
	"ro": {unix.MOUNT_ATTR_RDONLY, false}, "rw": {unix.MOUNT_ATTR_RDONLY, true},
	"nosuid": {unix.MOUNT_ATTR_NOSUID, false}, "suid": {unix.MOUNT_ATTR_NOSUID, true},
	"nodev": {unix.MOUNT_ATTR_NODEV, false}, "dev": {unix.MOUNT_ATTR_NODEV, true},
	"noexec": {unix.MOUNT_ATTR_NOEXEC, false}, "exec": {unix.MOUNT_ATTR_NOEXEC, true},
	"nodiratime": {unix.MOUNT_ATTR_NODIRATIME, false}, "diratime": {unix.MOUNT_ATTR_NODIRATIME, true},
	"nosymfollow": {unix.MOUNT_ATTR_NOSYMFOLLOW, false}, "symfollow": {unix.MOUNT_ATTR_NOSYMFOLLOW, true},
	"noatime": {unix.MOUNT_ATTR_NOATIME, false}, "atime": {unix.MOUNT_ATTR_NOATIME, true},
	"strictatime": {unix.MOUNT_ATTR_STRICTATIME, false}, "nostrictatime": {unix.MOUNT_ATTR_STRICTATIME, true},
	"relatime": {unix.MOUNT_ATTR_RELATIME, false}, "norelatime": {unix.MOUNT_ATTR_RELATIME, true},
}

var propagations = map[string]uint64{
	"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE | unix.MS_REC,
	"slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE | unix.MS_REC,
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED | unix.MS_REC,
	"unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
}

func parseMountOptions(m specs.Mount) (mountOptions, error) {
	o := mountOptions{bind: m.Type == "bind"}
	for _, opt := range m.Options {
		if spread, ok := propagations[opt]; ok {
			o.spread = spread
			continue
		}
		if a, ok := attrs[opt]; ok {
			o.set, o.clear = a.apply(o.set, o.clear)
			continue
		}
		if a, ok := attrs[strings.TrimPrefix(opt, "r")]; ok {
			o.setAll, o.clearAll = a.apply(o.setAll, o.clearAll)
			continue
		}
		switch opt {
		case "bind":
			o.bind = true
		case "rbind":
			o.bind, o.recursive = true, true
		case "defaults", "async", "sync", "dirsync", "mand", "nomand", "lazytime", "nolazytime", "silent", "loud":
			// Of the superblock, and without effect on isolation.
		case "tmpcopyup":
			o.copyUp = true
		case "idmap", "ridmap":
			return o, specError("mount %s: idmapped mounts are not supported yet", m.Destination)
		default:
			o.data = append(o.data, opt)
		}
	}
	switch {
	case o.copyUp:
		return o, specError("mount %s: tmpcopyup is not supported yet", m.Destination)
	case o.bind && len(o.data) > 0:
		return o, specError("mount %s: a bind mount knows no option %q", m.Destination, o.data[0])
	case len(m.UIDMappings)+len(m.GIDMappings) > 0:
		return o, specError("mount %s: idmapped mounts are not supported yet", m.Destination)
	}
	return o, nil
}

// apply lets the later of two contradicting options win. The access times are
// one value of several bits, so setting one clears the others.
func (a attr) apply(set, clear uint64) (uint64, uint64) {
	if a.clear {
		return set &^ a.flag, clear | a.flag
	}
	if a.flag&unix.MOUNT_ATTR__ATIME != 0 || a.flag == unix.MOUNT_ATTR_RELATIME {
		return set&^unix.MOUNT_ATTR__ATIME | a.flag, clear | unix.MOUNT_ATTR__ATIME
	}
	return set | a.flag, clear &^ a.flag
}
