package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"minict/overlay"
)

// hardlink makes base of d another name of a file of the layer. A file of a
// lower layer becomes this layer's first, as overlayfs would copy it up.
func (u *unpacker) hardlink(d *dir, base string, hdr *tar.Header) error {
	here := d.path
	tdir, tbase, st, err := u.linkTarget(hdr.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", hdr.Linkname, err)
	}
	if d, err = u.dirs.get(here); err != nil { // may have been closed meanwhile
		return fmt.Errorf("open: %w", err)
	}
	d.dirty = true
	if err := u.link(tdir, tbase, st, d, base); err != nil {
		return fmt.Errorf("hard link to %q: %w", hdr.Linkname, err)
	}
	return u.describeTarget(d, base, hdr)
}

func (u *unpacker) link(tdir *dir, tbase string, st unix.Stat_t, d *dir, base string) error {
	var old unix.Stat_t
	err := unix.Fstatat(d.fd, base, &old, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && old.Ino == st.Ino && old.Dev == st.Dev {
		return nil // one file already; to replace the name could lose it
	}
	self := join(d.path, base)
	if strings.HasPrefix(join(tdir.path, tbase), self+"/") {
		return errors.New("target is below the link itself")
	}
	return u.make(d, base, func() error { return unix.Linkat(tdir.fd, tbase, d.fd, base, 0) })
}

// linkTarget finds the file that a hard link names. The link is made to that
// name itself, so a symbolic link gets a second name and is not followed.
func (u *unpacker) linkTarget(link string) (*dir, string, unix.Stat_t, error) {
	var st unix.Stat_t
	p, err := cleanPath(link)
	if err != nil {
		return nil, "", st, err
	}
	parent, base := split(p)
	d, err := u.resolve(parent)
	if err != nil {
		return nil, "", st, err
	}
	err = unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) && base != "" {
		if err = u.copyUp(d, base); err == nil {
			err = unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
		}
	}
	if err == nil && overlay.IsWhiteout(&st) {
		err = unix.ENOENT
	}
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = unix.EISDIR
	}
	return d, base, st, err
}

// describeTarget gives the file the attributes that the link's own header
// has, as Docker does. They nearly always are what the file has already; only
// what differs is set, since a change of owner costs a file its capabilities.
func (u *unpacker) describeTarget(d *dir, base string, hdr *tar.Header) error {
	a, err := headerAttrs(hdr)
	if err != nil {
		return err
	}
	n, err := openNode(d.fd, base)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer n.close()
	if n.kind() == unix.S_IFLNK {
		return describeLink(d, base, a)
	}
	same := n.st.Mode&0o7777 == a.mode && int(n.st.Uid) == a.uid && int(n.st.Gid) == a.gid &&
		n.st.Mtim == a.mtime && len(a.xattrs) == 0
	if same {
		return nil
	}
	if len(a.xattrs) == 0 {
		if a.xattrs, err = readXattrs(n.fd); err != nil {
			return err
		}
	}
	return u.describeNode(n, a)
}

// copyUp makes a file of the lower layers, of any type but a directory, this
// layer's own.
func (u *unpacker) copyUp(d *dir, base string) error {
	n, err := u.lower(join(d.path, base))
	if err != nil {
		return err
	}
	defer n.close()
	a := nodeAttrs(&n)
	d.dirty = true
	switch n.kind() {
	case 0:
		return unix.ENOENT
	case unix.S_IFDIR:
		return unix.EISDIR
	case unix.S_IFLNK:
		target, err := readlink(n.fd, "")
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(target, d.fd, base); err != nil {
			return err
		}
		return describeLink(d, base, a)
	case unix.S_IFREG:
		return u.copyFile(d, base, &n, a)
	}
	if err := unix.Mknodat(d.fd, base, n.st.Mode&unix.S_IFMT|0o600, int(n.st.Rdev)); err != nil {
		return err
	}
	made, err := openNode(d.fd, base)
	if err != nil {
		return err
	}
	defer made.close()
	return u.describeNode(made, a)
}

func (u *unpacker) copyFile(d *dir, base string, n *node, a attrs) error {
	if err := u.grow(n.st.Size); err != nil {
		return err
	}
	var err error
	if a.xattrs, err = readXattrs(n.fd); err != nil {
		return err
	}
	src, err := os.Open(procPath(n.fd)) // the lower file itself: a regular one
	if err != nil {
		return err
	}
	defer src.Close()
	fd, err := u.create(d, base)
	if err != nil {
		return err
	}
	dst := os.NewFile(uintptr(fd), base)
	defer dst.Close()
	if _, err := io.Copy(dst, src); err != nil { // copy_file_range(2) where it can
		return fmt.Errorf("copy: %w", err)
	}
	return u.describeFD(fd, a)
}

// nodeAttrs are the attributes of a lower layer's file but for the extended.
func nodeAttrs(n *node) attrs {
	return attrs{
		mode: n.st.Mode & 0o7777, uid: int(n.st.Uid), gid: int(n.st.Gid),
		atime: n.st.Atim, mtime: n.st.Mtim,
	}
}

// copyAttrs gives a directory the attributes that a lower layer's has.
func (u *unpacker) copyAttrs(n node, to *dir) (err error) {
	a := nodeAttrs(&n)
	if a.xattrs, err = readXattrs(n.fd); err != nil {
		return err
	}
	return u.describe(to, a, false)
}
