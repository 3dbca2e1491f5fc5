package network

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A name of a container is a directory with a symbolic link for each address
// that has it: any number of containers can have the same one.

func (m *Manager) names(network string) string { return filepath.Join(m.stateDir(network), "names") }

func (m *Manager) nameDir(network, name string) string { return filepath.Join(m.names(network), name) }

// labels are the names that a container has on a network, each once: its own,
// those that were asked for, its short id, and its host name, in lower case.
// The default network knows none.
func (r *Request) labels(n *Network, w Wish) ([]string, error) {
	if n.Name == Default {
		return nil, nil
	}
	var list []string
	for _, name := range slices.Concat([]string{r.Name}, w.Aliases, []string{r.Container[:12], r.Hostname}) {
		name = strings.ToLower(name)
		if name == "" || slices.Contains(list, name) {
			continue
		}
		if !isLabel(name) {
			return nil, invalidf("alias %q: only letters, digits, '-', '_' and '.' are allowed", name)
		}
		list = append(list, name)
	}
	return list, nil
}

// isLabel says whether a name can be asked for: it is the name of a directory
// too.
func isLabel(s string) bool {
	const longest = 253 // RFC 1035, without the final dot
	for i, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-'
		if !letter && (i == 0 || c != '.') {
			return false
		}
	}
	return s != "" && len(s) <= longest
}

// addName gives an address a name.
func (m *Manager) addName(network, name string, a netip.Addr, id string) error {
	dir := m.nameDir(network, name)
	for {
		if err := unix.Mkdir(dir, 0o700); err != nil && err != unix.EEXIST {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: err}
		}
		path := filepath.Join(dir, a.String())
		err := os.Symlink(id, path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // the last that had the name has just taken the directory away
		case errors.Is(err, fs.ErrExist):
			// Who had the address before is dead: it is leased to us.
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		return err
	}
}
