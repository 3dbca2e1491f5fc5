package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"minict/internal/atomicfile"
)

func (m *Manager) durableDir(id string) string { return filepath.Join(m.Root, "containers", id) }
func (m *Manager) runDir(id string) string     { return filepath.Join(m.State, "containers", id) }
func (m *Manager) volumes() string             { return filepath.Join(m.Root, "volumes") }
func (m *Manager) lockPath(id string) string   { return filepath.Join(m.runDir(id), "lock") }
func (m *Manager) parentLock() string          { return filepath.Join(m.State, "containers", ".lock") }
func (m *Manager) anchor() string              { return filepath.Join(m.State, "root") }
func (m *Manager) spareDir() string            { return filepath.Join(m.Root, "spare") }
func (m *Manager) base() string                { return filepath.Join(m.Root, "base") }
func (m *Manager) durableConfig(id string) string {
	return filepath.Join(m.durableDir(id), "config.json")
}
func (m *Manager) runConfig(id string) string { return filepath.Join(m.runDir(id), "config.json") }

// layOut makes the directories that all containers share, as private ones.
func (m *Manager) layOut() error {
	// The last of each place stands for all.
	if _, err := os.Lstat(m.anchor()); err == nil {
		if _, err := os.Lstat(filepath.Join(m.base(), lastInBase)); err == nil {
			return nil
		}
	}
	for _, dir := range []string{
		filepath.Join(m.Root, "containers"), m.nameDirs()[0], m.volumes(), m.spareDir(),
		filepath.Join(m.State, "containers"), m.nameDirs()[1], m.anchor(),
	} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return m.layBase()
}

// lastInBase is what is made last of the base, in order that it stands for all.
const lastInBase = hostsFile

// layBase makes the directory that lies below all images: it has what things
// are mounted on in every container. So nothing has to be made for that in the
// container's own directory, where a new file takes as long as a mount, and
// would pass for a change of the container's.
func (m *Manager) layBase() error {
	for _, dir := range []string{"", "dev", "etc", "proc", "sys"} {
		if err := os.Mkdir(filepath.Join(m.base(), dir), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for _, file := range etcFiles {
		f, err := os.OpenFile(filepath.Join(m.base(), file), os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// shortID is how people see an id.
func shortID(id string) string { return id[:min(12, len(id))] }

func isID(s string) bool {
	if len(s) != 64 {
		return false
	}
	return isHex(s)
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

// config reads what is kept of a container: ErrNotFound if nothing is.
func (m *Manager) config(id string) (*Config, error) {
	c, err := readConfig(m.durableConfig(id))
	if errors.Is(err, fs.ErrNotExist) {
		c, err = readConfig(m.runConfig(id))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(shortID(id))
	}
	if err == nil {
		err = m.readWishes(c)
	}
	return c, err
}

func notFound(ref string) error { return failf(ErrNotFound, "no such container: %s", ref) }

func readConfig(path string) (*Config, error) {
	c := &Config{}
	err := readWith(path, func(raw []byte) error { return decodeConfig(raw, c) })
	if err != nil {
		return nil, err
	}
	return c, nil
}

func readJSON(path string, into any) error {
	return readWith(path, func(raw []byte) error { return json.Unmarshal(raw, into) })
}

func readWith(path string, decode func([]byte) error) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	n, err := readFile(path, buf)
	if err != nil {
		return err
	}
	if err := decode((*buf)[:n]); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

var buffers = sync.Pool{New: func() any {
	buf := make([]byte, 8<<10)
	return &buf
}}

// readFile reads a small file of minict's own, with a third of the system
// calls of os.ReadFile: a list reads two for each container. It makes the
// buffer larger if it has to, and gives the file's size.
func readFile(path string, into *[]byte) (size int, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Read(fd, (*into)[size:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if size += n; size < len(*into) {
			return size, nil
		}
		*into = append(*into, make([]byte, len(*into))...)
	}
}

// writeRunConfig keeps the Config for as long as the machine is up: it says
// what a half-made container has, and with --rm it is all that is kept.
func (m *Manager) writeRunConfig(c *Config) error {
	raw, err := encodeConfig(c)
	if err != nil {
		return err
	}
	// Who lists the containers reads it at any time: it appears at once.
	path := m.runConfig(c.ID)
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// writeDurableConfig makes the container one that survives: from here on it
// exists.
func (m *Manager) writeDurableConfig(c *Config) error {
	raw, err := encodeConfig(c)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(m.durableConfig(c.ID), raw); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Join(m.Root, "containers"))
}

// exists says whether there is anything of a container: whole, or being made.
func (m *Manager) exists(id string) bool {
	for _, path := range []string{m.runDir(id), m.durableDir(id)} {
		if _, err := os.Lstat(path); err == nil {
			return true
		}
	}
	return false
}

// ids gives the ids of all containers, whole or not, each once.
func (m *Manager) ids() ([]string, error) {
	var ids []string
	seen := map[string]bool{}
	for _, root := range []string{m.Root, m.State} {
		names, err := readNames(filepath.Join(root, "containers"))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if isID(name) && !seen[name] {
				seen[name] = true
				ids = append(ids, name)
			}
		}
	}
	return ids, nil
}

// readNames gives the names in a directory, none if there is no directory.
func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}
