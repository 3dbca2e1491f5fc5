package overlay

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// XattrOpaque marks, with the value "y", a directory that hides what lower
// layers have in a directory of its name.
const XattrOpaque = "trusted.overlay.opaque"

// Whiteout makes name in dirfd hide what lower layers have by that name: a
// character device 0:0, which no driver owns. If name is there, it says EEXIST.
func Whiteout(dirfd int, name string) error {
	if err := unix.Mknodat(dirfd, name, unix.S_IFCHR, 0); err != nil {
		return fmt.Errorf("whiteout %s: %w", name, err)
	}
	return nil
}

// IsWhiteout says whether a file with that stat is one. A tar must not bring
// one as a device: it is made by Whiteout alone.
func IsWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// Opaque makes the directory fd, not opened O_PATH, hide the lower ones.
func Opaque(fd int) error {
	if err := unix.Fsetxattr(fd, XattrOpaque, []byte("y"), 0); err != nil {
		return fmt.Errorf("make opaque: %w", err)
	}
	return nil
}

// IsOpaque says whether the directory fd hides the lower ones.
func IsOpaque(fd int) (bool, error) {
	var buf [2]byte
	n, err := unix.Fgetxattr(fd, XattrOpaque, buf[:])
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ERANGE) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", XattrOpaque, err)
	}
	return string(buf[:n]) == "y", nil
}

// IsOverlayXattr says whether overlayfs gives that extended attribute a
// meaning: redirect, metacopy, opaque, origin, whiteout and their like. From a
// tar they are dropped, or a layer could show files that are in no layer
// (CVE-2023-0386 and CVE-2021-3493 are of this family). It includes the
// user.overlay.* that a mount in a user namespace reads instead.
func IsOverlayXattr(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}
