package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"minict/internal/inroot"
)

// A volume is a directory ROOT/volumes/NAME with the content in _data, and, if
// it is anonymous, a symbolic link "container" to the id of the container that
// it was made for. It is filled under another name and then renamed, so a
// volume that has its name is whole.

// makeVolumes makes the volumes of a new container that don't exist yet. A new
// one begins with what the image has in its place; root opens the image's root
// file system and is called only if there is something to be copied.
func (m *Manager) makeVolumes(c *Config, root func() (*os.File, error)) error {
	for _, mount := range c.Mounts {
		if mount.Type != MountVolume {
			continue
		}
		if err := m.makeVolume(c, mount, root); err != nil {
			return fmt.Errorf("make volume for %s: %w", mount.Target, err)
		}
	}
	return nil
}

func (m *Manager) makeVolume(c *Config, mount Mount, root func() (*os.File, error)) error {
	dir := filepath.Join(m.volumes(), mount.Source)
	if _, err := os.Lstat(dir); err == nil {
		return nil
	}
	temp := filepath.Join(m.volumes(), "."+c.ID+"."+mount.Source)
	defer os.RemoveAll(temp)
	data := filepath.Join(temp, "_data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(data, 0o755); err != nil {
		return err
	}
	if mount.Anonymous {
		if err := os.Symlink(c.ID, filepath.Join(temp, "container")); err != nil {
			return err
		}
	}
	if !mount.NoCopy {
		if err := fillVolume(data, mount.Target, root); err != nil {
			return err
		}
	}
	err := unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, dir, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return nil // somebody else was first: both use it
	}
	return err
}

// fillVolume copies what the root file system has at target. The way there is
// the image's, so it is resolved below root (CVE-2022-23648).
func fillVolume(data, target string, root func() (*os.File, error)) error {
	dir, err := root()
	if err != nil {
		return err
	}
	from, err := inroot.Open(dir, target, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Open(data)
	if err != nil {
		return err
	}
	defer to.Close()
	return copyTree(from, to)
}

// removeVolumes removes a container's anonymous volumes.
func (m *Manager) removeVolumes(c *Config) error {
	for _, mount := range c.Mounts {
		if mount.Type != MountVolume || !mount.Anonymous {
			continue
		}
		if err := removeTree(filepath.Join(m.volumes(), mount.Source)); err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(m.volumes(), "."+c.ID+"."+mount.Source)); err != nil {
			return err
		}
	}
	return nil
}

// keepVolumes cuts the anonymous volumes of a container that is removed off
// from it: from now on they are their user's.
func (m *Manager) keepVolumes(c *Config) error {
	for _, mount := range c.Mounts {
		if mount.Type != MountVolume || !mount.Anonymous {
			continue
		}
		err := os.Remove(filepath.Join(m.volumes(), mount.Source, "container"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// lostVolumes removes what was made for containers that are gone without a
// trace: a power loss came between.
func (m *Manager) lostVolumes() error {
	names, err := readNames(m.volumes())
	if err != nil {
		return err
	}
	for _, name := range names {
		owner := ""
		if name[0] == '.' && len(name) > 65 {
			owner = name[1:65]
		} else if id, err := os.Readlink(filepath.Join(m.volumes(), name, "container")); err == nil {
			owner = id
		}
		if owner == "" || m.exists(owner) {
			continue
		}
		if err := removeTree(filepath.Join(m.volumes(), name)); err != nil {
			return err
		}
	}
	return nil
}

// removeTree is os.RemoveAll that does not remove what is mounted below: an
// accident on the host must not cost a user's files.
func removeTree(path string) error {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, &st)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return fmt.Errorf("remove %s: something is mounted there", path)
	}
	return os.RemoveAll(path)
}
