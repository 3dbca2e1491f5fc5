package runtime

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// mountOptions is a mount's fstab-style options, sorted by who reads them.
type mountOptions struct {
	bind      bool
	recursive bool     // rbind: with what is mounted below
	remount   bool     // change what is mounted there already
	set       uint64   // MOUNT_ATTR_* of the mount itself
	clear     uint64   // … taken away
	setAll    uint64   // the same for everything below, too (rro, …)
	clearAll  uint64   //
	spread    []uint64 // propagations, MS_*, one after the other; none: private
	super     []string // of the superblock, whatever filesystem: fsconfig(2) flags
	data      []string // for the filesystem: "key=value" or "key"
	copyUp    bool     // tmpcopyup
	idmap     bool     // with user ids of its own …
	idmapAll  bool     // … and so what is mounted below
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

// parseMountOptions sorts options. What it doesn't know is the filesystem's, as
// the specification wants it.
func parseMountOptions(m specs.Mount) (mountOptions, error) {
	o := mountOptions{bind: m.Type == "bind"}
	for _, opt := range m.Options {
		if spread, ok := propagations[opt]; ok {
			o.spread = append(o.spread, spread)
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
		o.other(opt)
	}
	return o, o.check(m)
}

func (o *mountOptions) other(opt string) {
	switch opt {
	case "bind":
		o.bind = true
	case "rbind":
		o.bind, o.recursive = true, true
	case "remount":
		o.remount = true
	case "tmpcopyup":
		o.copyUp = true
	case "idmap":
		o.idmap = true
	case "ridmap":
		o.idmap, o.idmapAll = true, true
	case "async", "sync", "dirsync", "lazytime", "nolazytime", "mand", "nomand":
		o.super = append(o.super, opt)
	case "defaults", "silent", "loud", "iversion", "noiversion":
		// Without a meaning in the kernel's mount API: how much it logs,
		// and a count of changes that filesystems keep or don't.
	case "":
	default:
		o.data = append(o.data, opt)
	}
}

func (o *mountOptions) check(m specs.Mount) error {
	mapped := len(m.UIDMappings) + len(m.GIDMappings)
	switch {
	case !o.bind && !o.remount && m.Type == "":
		return specError("mount %s: neither a type nor the option bind", m.Destination)
	case o.copyUp && (o.bind || o.remount || m.Type != "tmpfs"):
		return specError("mount %s: tmpcopyup is for a tmpfs", m.Destination)
	case (o.idmap || mapped > 0) && (!o.bind || o.remount):
		return specError("mount %s: only a bind mount can have ids of its own", m.Destination)
	case (len(m.UIDMappings) == 0) != (len(m.GIDMappings) == 0):
		return specError("mount %s: uidMappings and gidMappings need each other", m.Destination)
	}
	o.idmap = o.idmap || mapped > 0
	return nil
}

// apply lets the later of two contradicting options win. The access times are
// one value of several bits, which mount_setattr(2) wants cleared as a whole;
// none of them is relatime, the kernel's default.
func (a attr) apply(set, clear uint64) (uint64, uint64) {
	times := a.flag&^unix.MOUNT_ATTR__ATIME == 0
	switch {
	case times && a.flag == unix.MOUNT_ATTR_RELATIME && a.clear:
		return set, clear // leaves nothing but what the other options say
	case times && a.clear:
		return set &^ unix.MOUNT_ATTR__ATIME, clear | unix.MOUNT_ATTR__ATIME
	case times:
		return set&^unix.MOUNT_ATTR__ATIME | a.flag, clear | unix.MOUNT_ATTR__ATIME
	case a.clear:
		return set &^ a.flag, clear | a.flag
	}
	return set | a.flag, clear &^ a.flag
}

// top says what a tmpfs takes over of the directory below it: its owner and mode,
// unless an option gives them.
func (o *mountOptions) top() int {
	for _, d := range o.data {
		switch key, _, _ := strings.Cut(d, "="); key {
		case "mode", "uid", "gid":
			return 0
		}
	}
	return plan.CopyTop
}
