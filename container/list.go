package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"minict/network"
	"minict/store"
)

// Summary is what a list shows of a container.
type Summary struct {
	ID         string
	Name       string
	Image      string // as asked for; the root directory if there is no image
	ImageID    store.Digest
	Args       []string
	Labels     map[string]string
	Created    time.Time
	State      State
	ExitCode   int // of the last run, if State is Exited
	StartedAt  time.Time
	FinishedAt time.Time

	Networks []string        // names; NetworkNone and the like for a container that has none
	Ports    []network.Port  // published, while it runs
	Exposed  []ContainerPort // by number
}

// List gives the containers, newest first: those that run, or all.
func (m *Manager) List(ctx context.Context, all bool) ([]Summary, error) {
	m.sweep(ctx)
	ids, err := m.ids()
	if !all {
		ids, err = readNames(filepath.Join(m.State, "containers"))
	}
	if err != nil {
		return nil, err
	}
	list := m.summaries(ids)
	if !all {
		list = slices.DeleteFunc(list, func(s Summary) bool { return s.State != Running && s.State != Paused })
	}
	slices.SortFunc(list, func(a, b Summary) int {
		if order := b.Created.Compare(a.Created); order != 0 {
			return order
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, nil
}

// summaries looks at containers, on all processors. Those that are removed
// meanwhile, or are only half made, are left out. One that is damaged must not
// hide the others.
func (m *Manager) summaries(ids []string) []Summary {
	var (
		next atomic.Int64
		wg   sync.WaitGroup
		list = make([]Summary, len(ids))
		errs = make([]error, len(ids))
	)
	for range min(runtime.GOMAXPROCS(0), len(ids)/16+1) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(ids)); i = next.Add(1) - 1 {
				if isID(ids[i]) {
					list[i], errs[i] = m.summary(ids[i])
				}
			}
		})
	}
	wg.Wait()
	found := list[:0]
	for i, s := range list {
		switch err := errs[i]; {
		case errors.Is(err, ErrNotFound), errors.Is(err, fs.ErrNotExist), err == nil && s.ID == "":
		case err != nil:
			found = append(found, Summary{ID: ids[i], State: Dead})
		default:
			found = append(found, s)
		}
	}
	return found
}

func (m *Manager) summary(id string) (Summary, error) {
	c, err := m.config(id)
	if err != nil {
		return Summary{}, err
	}
	now, err := m.condition(id)
	if err != nil {
		return Summary{}, err
	}
	s := Summary{
		ID: c.ID, Name: c.Name, Image: c.Image, ImageID: c.ImageID, Args: c.Args, Labels: c.Labels,
		Created: c.Created, State: now.state, ExitCode: now.ending.Status,
		StartedAt: now.started, FinishedAt: now.ending.Finished,
	}
	if s.Image == "" {
		s.Image = c.Rootfs
	}
	if err := m.listNetworks(&s, c); err != nil {
		return s, err
	}
	if s.State == Created && !m.whole(c) {
		return s, notFound(id)
	}
	return s, nil
}

// listNetworks fills in what a list shows of networks.
func (m *Manager) listNetworks(s *Summary, c *Config) error {
	s.Exposed = c.Exposed
	for _, w := range c.Networks {
		s.Networks = append(s.Networks, w.Network)
	}
	if isSpecial(c.Network) {
		s.Networks = []string{c.Network}
	}
	if len(c.Ports) == 0 || s.State != Running && s.State != Paused {
		return nil
	}
	attached, err := m.endpoints(c.ID)
	if err == nil {
		s.Ports = attached.Ports
	}
	return err
}

// whole says whether a container that does not run exists, or is only being
// made or removed: one that goes when it ends is never there without running.
func (m *Manager) whole(c *Config) bool {
	_, err := os.Lstat(m.durableConfig(c.ID))
	return err == nil
}

// Claims are what containers need of the store.
type Claims struct {
	Images map[store.Digest][]string // image id to the ids of its containers
	Layers map[store.Digest]bool     // keys of layer directories
}

// InUse gives the claims of all containers. To be sure of it, call it under
// the index's exclusive lock: a container claims its image under the shared
// one.
func (m *Manager) InUse() (Claims, error) {
	claims := Claims{map[store.Digest][]string{}, map[store.Digest]bool{}}
	ids, err := m.ids()
	if err != nil {
		return claims, err
	}
	for _, id := range ids {
		c, err := m.config(id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return claims, fmt.Errorf("container %s: %w", shortID(id), err)
		}
		if c.ImageID == "" {
			continue
		}
		claims.Images[c.ImageID] = append(claims.Images[c.ImageID], id)
		for _, key := range c.Layers {
			claims.Layers[key] = true
		}
	}
	return claims, nil
}
