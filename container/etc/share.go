package etc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"minict/internal/thread"
)

// Share gives mounts, attached nowhere, of files that were made for a running
// container, for another one to have the very same. Proc is as for Change. What
// is not there, or not as it was made, is left out.
func Share(proc *os.File, names []string) (mounts map[string]*os.File, err error) {
	mounts = make(map[string]*os.File)
	if err := thread.Run(func() error { return share(proc, names, mounts) }); err != nil {
		for _, f := range mounts {
			f.Close()
		}
		return nil, fmt.Errorf("share files of the container: %w", err)
	}
	return mounts, nil
}

// share is Share on a thread, which is in the container's mount namespace after
// that: mounts are copied by who is where they are.
func share(proc *os.File, names []string, mounts map[string]*os.File) error {
	if err := enterMounts(proc); err != nil {
		return err
	}
	for _, name := range names {
		file, err := openMade(proc, name)
		if errors.Is(err, ErrForeign) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		mount, err := writableMount(file)
		unix.Close(file)
		if err != nil {
			return err
		}
		mounts[name] = os.NewFile(uintptr(mount), name)
	}
	return nil
}
