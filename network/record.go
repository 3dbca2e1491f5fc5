package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"minict/network/release"
	"minict/network/resolver"
)

// releaseLines says how to undo what a container has, in the form of package
// release: first what others could notice, the addresses last.
func (m *Manager) releaseLines(a *Attached) string {
	var b strings.Builder
	line := func(words ...string) { b.WriteString(strings.Join(words, " ") + "\n") }
	line("container", a.Container)
	line("lock", m.lockPath())
	for _, e := range a.Endpoints {
		line("unplug", e.Host)
	}
	for _, p := range a.rules() {
		line("port", release.FormatPort(p))
	}
	for _, e := range a.Endpoints {
		for _, name := range e.Names {
			for _, p := range e.Addresses {
				line("link", filepath.Join(m.nameDir(e.Network, name), p.Addr().String()))
			}
			line("rmdir", m.nameDir(e.Network, name))
		}
	}
	for _, e := range a.Endpoints {
		for _, p := range e.Addresses {
			line("link", m.lease(e.Network, p.Addr()))
		}
	}
	return b.String()
}

func (m *Manager) writeRelease(runDir string, a *Attached) error {
	return writeWhole(filepath.Join(runDir, release.Name), m.releaseLines(a))
}

func writeEndpoints(runDir string, a *Attached) error {
	raw, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(runDir, "endpoints"), string(raw))
}

// Endpoints reads the file "endpoints" of a run directory: what a container is
// connected to. If it has none, the error is fs.ErrNotExist.
func Endpoints(runDir string) (*Attached, error) {
	raw, err := os.ReadFile(filepath.Join(runDir, "endpoints"))
	if err != nil {
		return nil, err
	}
	a := &Attached{}
	if err := json.Unmarshal(raw, a); err != nil {
		return nil, fmt.Errorf("read the endpoints of a container: %w", err)
	}
	return a, nil
}

// connected reads what a living container is connected to. One whose networks
// were released is not living any more, even if its monitor still does.
func connected(runDir string) (*Attached, error) {
	a, err := Endpoints(runDir)
	if err == nil {
		_, err = os.Lstat(filepath.Join(runDir, release.Name))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failf(ErrNotFound, "container %.12s has no network: it has to be running, and not with --network none or host", filepath.Base(runDir))
	}
	return a, err
}

// writeResolver writes what the container's resolver has to know, if it is on
// a network that has names. Without servers, those that it knows stay.
func (m *Manager) writeResolver(runDir string, servers []netip.Addr, a *Attached) error {
	if !slices.ContainsFunc(a.Endpoints, func(e Endpoint) bool { return e.Network != Default }) {
		return nil
	}
	path := filepath.Join(runDir, resolver.SettingsFile)
	var s resolver.Settings
	for _, server := range servers {
		s.Servers = append(s.Servers, server.String())
	}
	if len(servers) == 0 {
		known, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for line := range strings.Lines(string(known)) {
			if server, ok := strings.CutPrefix(line, "server "); ok {
				s.Servers = append(s.Servers, strings.TrimSpace(server))
			}
		}
	}
	s.NoForward = !slices.ContainsFunc(a.Endpoints, func(e Endpoint) bool { return !e.Internal })
	return writeWhole(path, string(s.Encode()))
}

// living reads what the containers that live are connected to.
func (m *Manager) living() ([]*Attached, error) {
	ids, err := readNames(m.Containers)
	if err != nil {
		return nil, err
	}
	var list []*Attached
	for _, id := range ids {
		if !m.Alive(id) {
			continue
		}
		// One that is being started or has ended has none.
		if a, err := Endpoints(m.runDir(id)); err == nil {
			list = append(list, a)
		}
	}
	return list, nil
}

func (m *Manager) runDir(id string) string { return filepath.Join(m.Containers, id) }

// nameOf is how a user knows a container.
func (m *Manager) nameOf(id string) string {
	if a, err := Endpoints(m.runDir(id)); err == nil && a.Name != "" {
		return a.Name
	}
	return id[:min(12, len(id))]
}
