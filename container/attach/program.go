package attach

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"minict/container/embed"
)

// OpenProgram gives an embedded program, to be executed through its
// descriptor. It is kept in stateDir/bin. A process in a container can reach the program of one that comes
// near it by /proc/PID/exe (CVE-2019-5736), so it can't be written by that way:
// it is opened on a read-only mount of its own, which is in no mount table.
// Where such a mount can't be had it is a sealed copy in memory.
func OpenProgram(stateDir string, p embed.Program) (*os.File, error) {
	file, err := storedProgram(filepath.Join(stateDir, "bin"), p)
	if err != nil {
		return nil, err
	}
	defer unix.Close(file)
	tree, err := readOnlyClone(file)
	if err == nil {
		return os.NewFile(uintptr(tree), p.Kind), nil
	}
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("mount %s: %w", p.Kind, err)
	}
	return sealedProgram(p)
}

// readOnlyClone gives a file on a new read-only mount. That it may be executed
// is said too: /run often is a file system where that is forbidden.
func readOnlyClone(file int) (int, error) {
	tree, err := unix.OpenTree(file, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, err
	}
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
		Attr_clr: unix.MOUNT_ATTR_NOEXEC,
	})
	if err != nil {
		unix.Close(tree)
		return -1, err
	}
	return tree, nil
}

// storedProgram opens the program that is kept in a directory, O_PATH, and puts
// it there first if need be.
func storedProgram(dir string, p embed.Program) (fd int, err error) {
	name, err := p.Name()
	if err != nil {
		return -1, err
	}
	path := filepath.Join(dir, name)
	fd, err = openChecked(dir, name, len(p.Data))
	if err == nil {
		return fd, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return -1, err
	}
	if err := writeProgram(dir, path, p); err != nil {
		return -1, fmt.Errorf("write %s: %w", path, err)
	}
	if fd, err = openChecked(dir, name, len(p.Data)); err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// errForeign says that a program, or its directory, is not as it was written.
var errForeign = errors.New("has an unexpected owner, mode or size")

// openChecked opens the program if it and its directory are ours alone.
func openChecked(dir, name string, size int) (int, error) {
	var st unix.Stat_t
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	parent, err := unix.Open(dir, flags|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if err := unix.Fstat(parent, &st); err != nil {
		return -1, err
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o777 != 0o700 {
		return -1, errForeign
	}
	fd, err := unix.Openat(parent, name, flags, 0)
	if err != nil {
		return -1, err
	}
	err = unix.Fstat(fd, &st)
	if err == nil && (int(st.Uid) != os.Geteuid() || st.Mode != unix.S_IFREG|0o500 || st.Size != int64(size)) {
		err = errForeign
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// writeProgram writes the program as a whole, and removes those of other
// builds: processes that run them keep them. No process may be forked while it
// is open to be written, or it could not be executed (ETXTBSY).
func writeProgram(dir, path string, p embed.Program) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := os.CreateTemp(dir, "."+p.Kind+"-*")
	if err != nil {
		return err
	}
	// In small pieces: what is written at once the kernel may keep, and map
	// into every monitor, as a whole.
	const page = 4 << 10
	for rest := p.Data; len(rest) > 0 && err == nil; rest = rest[min(page, len(rest)):] {
		_, err = f.WriteString(rest[:min(page, len(rest))])
	}
	if err == nil {
		err = f.Chmod(0o500)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), p.Kind+"-") && e.Name() != filepath.Base(path) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	return err
}

// sealedProgram gives the program as a file in memory that can't be changed.
func sealedProgram(p embed.Program) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("minict-"+p.Kind, flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("minict-"+p.Kind, flags)
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), p.Kind)
	_, err = f.WriteString(p.Data)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS,
			unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("seal %s: %w", p.Kind, err)
	}
	return f, nil
}
