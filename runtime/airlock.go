package runtime

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"minict/runtime/launch"
)

// NewAirlock gives input InputAirlock: the program of an airlock
// (launch.AirlockProgram) in a memory file that is sealed, so that nobody can
// write to it, memfd_create(2).
func NewAirlock() (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("airlock", flags|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3 each could be executed
		fd, err = unix.MemfdCreate("airlock", flags)
	}
	if err != nil {
		return nil, fmt.Errorf("make airlock: %w", err)
	}
	f := os.NewFile(uintptr(fd), "airlock")
	if _, err = unix.Write(fd, launch.AirlockProgram()); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make airlock: %w", err)
	}
	return f, nil
}
