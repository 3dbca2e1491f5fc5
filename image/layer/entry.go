package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// entry carries out one header of the tar.
func (u *unpacker) entry(hdr *tar.Header, body io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil // says nothing that Docker or GNU tar would use
	}
	n, err := parseName(hdr.Name)
	if err != nil {
		return err
	}
	switch n.kind {
	case kindSkip:
		return nil
	case kindRoot:
		return u.rootEntry(hdr)
	}
	d, err := u.parent(n.parent)
	if err != nil {
		return err
	}
	switch n.kind {
	case kindWhiteout:
		return u.whiteout(d, n.base)
	case kindOpaque:
		return u.opaqueMark(d)
	}
	return u.file(d, n.base, hdr, body)
}

// file makes anything that has a name and a type.
func (u *unpacker) file(d *dir, base string, hdr *tar.Header, body io.Reader) error {
	if hdr.Typeflag == tar.TypeLink {
		return u.hardlink(d, base, hdr)
	}
	a, err := headerAttrs(hdr)
	if err != nil {
		return err
	}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return u.regular(d, base, hdr, a, body)
	case tar.TypeDir:
		return u.directory(d, base, a)
	case tar.TypeSymlink:
		return u.symlink(d, base, hdr.Linkname, a)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.special(d, base, hdr, a)
	}
	return fmt.Errorf("unknown type of entry %q", hdr.Typeflag)
}

// rootEntry gives the layer's root its attributes. Nothing but a directory
// can be the root (CVE-2021-29136).
func (u *unpacker) rootEntry(hdr *tar.Header) error {
	if hdr.Typeflag != tar.TypeDir {
		return fmt.Errorf("root is no directory: type %q", hdr.Typeflag)
	}
	a, err := headerAttrs(hdr)
	if err != nil {
		return err
	}
	return u.describe(u.dirs.root, a, true)
}

// make makes the entry base of d by a call that fails with EEXIST, after
// removing what an earlier entry of the tar left there.
func (u *unpacker) make(d *dir, base string, create func() error) error {
	err := create()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := u.remove(d, base); err != nil {
		return fmt.Errorf("replace: %w", err)
	}
	return create()
}

func (u *unpacker) regular(d *dir, base string, hdr *tar.Header, a attrs, body io.Reader) error {
	if err := u.grow(hdr.Size); err != nil {
		return err
	}
	fd, err := u.create(d, base)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer unix.Close(fd)
	if isSparse(hdr) {
		err = copySparse(fd, body, hdr.Size, u.buf)
	} else {
		err = copyAll(fd, body, hdr.Size, u.buf)
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return u.describeFD(fd, a)
}

// create makes an empty regular file.
func (u *unpacker) create(d *dir, base string) (fd int, err error) {
	err = u.make(d, base, func() (err error) {
		fd, err = unix.Openat(d.fd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	return fd, err
}

// grow counts n bytes of content.
func (u *unpacker) grow(n int64) error {
	if n > u.o.MaxBytes-u.size {
		return fmt.Errorf("%w: more than %d bytes of files", ErrLimit, u.o.MaxBytes)
	}
	u.size += n
	return nil
}

func (u *unpacker) directory(d *dir, base string, a attrs) error {
	again := false
	sub, err := u.mkdir(d, base)
	if errors.Is(err, unix.EEXIST) {
		again = true
		sub, err = u.dirs.get(join(d.path, base))
	}
	if err != nil {
		return fmt.Errorf("mkdir: %w", err)
	}
	return u.describe(sub, a, again)
}

// mkdir makes an empty directory and keeps it open. A directory that is there
// already is EEXIST. Where the layer has something else by that name, or a
// whiteout, the directory replaces it and is opaque: whatever lower layers
// have there was gone before the directory came.
func (u *unpacker) mkdir(d *dir, base string) (*dir, error) {
	opaque := false
	err := unix.Mkdirat(d.fd, base, 0o755)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if e := unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); e != nil {
			return nil, e
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return nil, err
		}
		opaque = true
		if err = u.remove(d, base); err == nil {
			err = unix.Mkdirat(d.fd, base, 0o755)
		}
	}
	if err != nil {
		return nil, err
	}
	sub, err := u.dirs.get(join(d.path, base))
	if err == nil && opaque {
		err = u.markOpaque(sub)
	}
	return sub, err
}

func (u *unpacker) symlink(d *dir, base, target string, a attrs) error {
	if len(target) > maxPath {
		return fmt.Errorf("%w: target of %d bytes", ErrLimit, len(target))
	}
	err := u.make(d, base, func() error { return unix.Symlinkat(target, d.fd, base) })
	if err != nil {
		return fmt.Errorf("symlink: %w", err)
	}
	return describeLink(d, base, a)
}

// special makes devices and FIFOs. A character device 0:0 would be a whiteout
// by the back door: hidden from whoever reads the tar for ".wh." names.
func (u *unpacker) special(d *dir, base string, hdr *tar.Header, a attrs) error {
	mode, dev := uint32(unix.S_IFIFO), uint64(0)
	if hdr.Typeflag != tar.TypeFifo {
		major, minor := hdr.Devmajor, hdr.Devminor
		if major < 0 || major >= 1<<12 || minor < 0 || minor >= 1<<20 {
			return fmt.Errorf("no such device number %d:%d", major, minor)
		}
		dev = unix.Mkdev(uint32(major), uint32(minor))
		mode = unix.S_IFBLK
		if hdr.Typeflag == tar.TypeChar {
			mode = unix.S_IFCHR
		}
		if mode == unix.S_IFCHR && dev == 0 {
			return errors.New("character device 0:0 is a whiteout's form")
		}
	}
	err := u.make(d, base, func() error { return unix.Mknodat(d.fd, base, mode|0o600, int(dev)) })
	if err != nil {
		return fmt.Errorf("mknod: %w", err)
	}
	n, err := openNode(d.fd, base)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer n.close()
	return u.describeNode(n, a)
}

// isSparse reports whether the tar left out parts of the file. The keys are
// those of all of GNU's formats (GNU tar manual, "Storing Sparse Files").
func isSparse(hdr *tar.Header) bool {
	if hdr.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range hdr.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}
