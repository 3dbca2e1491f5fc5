package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"minict/internal/flock"
)

// The names in a container's directory.
const (
	lockFile     = "lock"
	configFile   = "config.json"
	stateFile    = "state.json"
	creatingFile = "creating.json"
	pidFile      = "pid"
	gateFile     = "gate"
	startedFile  = "started"
	// restoringFile is there as long as CRIU restores: whoever is in the
	// cgroup belongs to that, also who is in none of the container's
	// namespaces yet.
	restoringFile = "restoring"
)

// contents are all of them, in the order in which they are removed: without
// state.json there is no container, and the lock goes last.
var contents = []string{stateFile, creatingFile, pidFile, gateFile, startedFile, restoringFile, configFile, lockFile}

// claim makes the directory of a new container and locks it. Of several who
// want one name, the one with the lock has it. What a create left that was
// killed is cleared away.
func (r *Runtime) claim(id string) (*os.File, error) {
	if err := os.MkdirAll(r.Root, 0o700); err != nil {
		return nil, err
	}
	dir := r.dir(id)
	for {
		err := os.Mkdir(dir, 0o700)
		existed := errors.Is(err, fs.ErrExist)
		if err != nil && !existed {
			return nil, err
		}
		lock, err := tryLock(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed between the two
		}
		if errors.Is(err, flock.ErrLocked) {
			return nil, ErrExists
		}
		if err != nil {
			return nil, err
		}
		if existed {
			if err := r.clear(id); err != nil {
				return nil, errors.Join(err, lock.Close())
			}
		}
		return lock, nil
	}
}

func tryLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return flock.TryLock(path, flock.Exclusive)
}

// clear makes the directory, which is locked by the caller, as good as new, or
// fails with ErrExists if there is a container in it.
func (r *Runtime) clear(id string) error {
	_, err := os.Lstat(filepath.Join(r.dir(id), stateFile))
	if err == nil {
		return ErrExists
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := r.destroyRemains(id); err != nil {
		return fmt.Errorf("clear what is left of an earlier %s: %w", id, err)
	}
	return removeFiles(r.dir(id), contents[:len(contents)-1])
}

// remove removes the directory of a container that is locked by the caller.
func (r *Runtime) remove(id string) error {
	dir := r.dir(id)
	if err := removeFiles(dir, contents); err != nil {
		return err
	}
	err := os.Remove(dir)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrNotExist) {
		return nil // with the lock it was anybody's: the next one has it
	}
	return err
}

func removeFiles(dir string, names []string) error {
	for _, name := range names {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
