package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"minict/overlay"
)

// Extended attributes that have a meaning here.
const (
	paxXattr   = "SCHILY.xattr." // prefix of the PAX records that hold them
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
	capability = "security.capability"
)

// attrs are what a file is beside its content.
type attrs struct {
	mode         uint32 // permissions with set-user-ID, set-group-ID and sticky
	uid, gid     int
	atime, mtime unix.Timespec
	xattrs       map[string]string
}

func headerAttrs(hdr *tar.Header) (attrs, error) {
	a := attrs{
		mode: uint32(hdr.Mode) & 0o7777, uid: hdr.Uid, gid: hdr.Gid,
		mtime: timespec(hdr.ModTime),
	}
	// (uid_t)-1 tells chown(2) to change nothing.
	if a.uid < 0 || a.uid >= math.MaxUint32 || a.gid < 0 || a.gid >= math.MaxUint32 {
		return a, fmt.Errorf("no such owner %d:%d", a.uid, a.gid)
	}
	a.atime = a.mtime
	if !hdr.AccessTime.IsZero() {
		a.atime = timespec(hdr.AccessTime)
	}
	for k, v := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(k, paxXattr)
		if !ok || !keepXattr(name) {
			continue
		}
		if len(name) > maxComponent || len(v) > maxXattr {
			return a, fmt.Errorf("%w: extended attribute of %d bytes", ErrLimit, len(v))
		}
		if a.xattrs == nil {
			a.xattrs = map[string]string{}
		}
		a.xattrs[name] = v
	}
	return a, nil
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// keepXattr says which extended attributes an image may set. overlayfs' own
// would forge merges (CVE-2023-0386 and its kin), the labels of security
// modules and trusted.* are the host's affair.
func keepXattr(name string) bool {
	switch name {
	case capability, aclAccess, aclDefault:
		return true
	}
	return strings.HasPrefix(name, "user.") && !overlay.IsOverlayXattr(name)
}

// describeFD gives an open file its attributes. Owner before mode before
// capabilities: a change of owner takes set-user-ID and capabilities away.
func (u *unpacker) describeFD(fd int, a attrs) error {
	if err := unix.Fchown(fd, a.uid, a.gid); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	if err := unix.Fchmod(fd, a.mode); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	if err := u.setXattrs(fd, a); err != nil {
		return err
	}
	if err := setTimes(fd, a.atime, a.mtime); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// describe gives a directory its attributes; its time is set when the last of
// its entries has been made. Those of an earlier entry for it are replaced.
func (u *unpacker) describe(d *dir, a attrs, again bool) error {
	if again {
		if err := removeXattrs(d.fd); err != nil {
			return err
		}
	}
	if err := u.describeFD(d.fd, a); err != nil {
		return err
	}
	d.mtime = a.mtime
	return nil
}

// describeLink gives a symbolic link its attributes: it has no mode, nor any
// extended attribute that we keep.
func describeLink(d *dir, base string, a attrs) error {
	if err := unix.Fchownat(d.fd, base, a.uid, a.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	ts := []unix.Timespec{a.atime, a.mtime}
	if err := unix.UtimesNanoAt(d.fd, base, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// describeNode gives a file that must not be opened, a device or a FIFO, its
// attributes. It is held by an O_PATH descriptor, so that nothing put in its
// place is changed instead.
func (u *unpacker) describeNode(n node, a attrs) error {
	if err := unix.Fchownat(n.fd, "", a.uid, a.gid, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	if err := unix.Chmod(procPath(n.fd), a.mode); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	if err := u.setXattrs(n.fd, a); err != nil {
		return err
	}
	ts := []unix.Timespec{a.atime, a.mtime}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, procPath(n.fd), ts, 0); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// setXattrs sets the extended attributes of a file that has none but ACLs
// inherited from its parent.
func (u *unpacker) setXattrs(fd int, a attrs) error {
	if u.acl {
		for _, name := range []string{aclAccess, aclDefault} {
			err := unix.Removexattr(procPath(fd), name)
			if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
				return fmt.Errorf("remove %s: %w", name, err)
			}
		}
	}
	for name, value := range a.xattrs {
		err := unix.Setxattr(procPath(fd), name, []byte(value), 0)
		// A file system without user.* is no reason to refuse an image, and
		// special files can't have any; Docker goes on as well.
		forgiven := errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM)
		if err != nil && !(forgiven && strings.HasPrefix(name, "user.")) {
			return fmt.Errorf("set %s: %w", name, err)
		}
		u.acl = u.acl || name == aclDefault
	}
	return nil
}

// readXattrs returns the extended attributes that keepXattr lets through.
func readXattrs(fd int) (map[string]string, error) {
	names := make([]byte, 64<<10) // XATTR_LIST_MAX
	n, err := unix.Listxattr(procPath(fd), names)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list extended attributes: %w", err)
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if name == "" || !keepXattr(name) {
			continue
		}
		value := make([]byte, maxXattr)
		n, err := unix.Getxattr(procPath(fd), name, value)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		all[name] = string(value[:n])
	}
	return all, nil
}

func removeXattrs(fd int) error {
	all, err := readXattrs(fd)
	if err != nil {
		return err
	}
	for name := range all {
		if err := unix.Removexattr(procPath(fd), name); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

func hasXattr(fd int, name string) bool {
	_, err := unix.Getxattr(procPath(fd), name, nil)
	return err == nil
}

// procPath names an open file, O_PATH or not, for the calls that want a path.
// It is the kernel's link to that very file, a symbolic link included.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// setTimes is futimens(3).
func setTimes(fd int, atime, mtime unix.Timespec) error {
	ts := [2]unix.Timespec{atime, mtime}
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}
