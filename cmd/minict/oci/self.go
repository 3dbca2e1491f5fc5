package oci

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// runProtected returns when the program runs from a read-only mount, and until
// then executes itself from one.
//
// What this process starts comes near a container as long as it is this
// program: a container's program may be a link to /proc/self/exe, or have it as
// its interpreter, and then the container holds this very file open, and can
// open it again to be written (CVE-2019-5736). On a mount of its own, which is
// in no mount table and read-only, it can't. Such a mount needs rights; without
// them the file is copied to memory and sealed, unless the caller could not
// write to it anyway.
func runProtected() error {
	exe, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the program: %w", err)
	}
	defer unix.Close(exe)
	safe, err := unwritable(exe)
	if err != nil {
		return err
	}
	if safe {
		return nameProcess()
	}
	program, err := readOnlyMount(exe)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		program, err = sealedCopy()
	}
	if err != nil {
		return fmt.Errorf("protect the program: %w", err)
	}
	err = unix.Exec(fmt.Sprintf("/proc/self/fd/%d", program), os.Args, os.Environ())
	unix.Close(program)
	return fmt.Errorf("execute the protected program: %w", err)
}

// nameProcess gives the process its name back, in place of the number of the
// descriptor that it was executed by.
func nameProcess() error {
	name, err := unix.BytePtrFromString(Name)
	if err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0)
}

// unwritable says whether nobody can write to the file by this descriptor.
func unwritable(exe int) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(exe, &fs); err != nil {
		return false, fmt.Errorf("look at the program's mount: %w", err)
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return true, nil
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	file, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, nil // may be executed and not be read
	}
	defer unix.Close(file)
	have, err := unix.FcntlInt(uintptr(file), unix.F_GET_SEALS, 0)
	return err == nil && have&seals == seals, nil
}

func readOnlyMount(exe int) (int, error) {
	mnt, err := unix.OpenTree(exe, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, err
	}
	err = unix.MountSetattr(mnt, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
	})
	if err != nil {
		unix.Close(mnt)
		return -1, err
	}
	return mnt, nil
}

func sealedCopy() (int, error) {
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return -1, err
	}
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(Name, flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(Name, flags)
	}
	if err != nil {
		return -1, err
	}
	if err = writeAll(fd, program); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS,
			unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil && err != unix.EINTR {
			return err
		}
		data = data[max(n, 0):]
	}
	return nil
}
