package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"minict/internal/flock"
)

// Names are symbolic links to ids, which the kernel makes for exactly one of all
// who want the same. Those of containers that end with the machine are where
// everything is that does (shortLived), and the others beside the containers.
// Who takes a name looks for it in the other place after that: of two who do so
// at the same time neither gets it, but never both.

// nameDirs are the two places.
func (m *Manager) nameDirs() [2]string {
	return [2]string{filepath.Join(m.Root, "names"), filepath.Join(m.State, "names")}
}

// namePath is where a container has its name.
func (m *Manager) namePath(name string, shortLived bool) string {
	dirs := m.nameDirs()
	if shortLived {
		return filepath.Join(dirs[1], name)
	}
	return filepath.Join(dirs[0], name)
}

// nameOwner gives the container that has a name, "" if none has: the id that
// its link leads to, if there is such a container.
func (m *Manager) nameOwner(name string) string {
	for _, dir := range m.nameDirs() {
		if id, err := os.Readlink(filepath.Join(dir, name)); err == nil && isID(id) && m.exists(id) {
			return id
		}
	}
	return ""
}

// takeName gives a container its name.
func (m *Manager) takeName(ctx context.Context, name, id string, shortLived bool) error {
	if err := m.linkName(ctx, m.namePath(name, shortLived), name, id); err != nil {
		return err
	}
	if owner, err := os.Readlink(m.namePath(name, !shortLived)); err == nil && m.exists(owner) {
		return errors.Join(nameTaken(name, owner), m.dropName(name, id))
	}
	return nil
}

// linkName makes the link. One that a removed container left is replaced.
func (m *Manager) linkName(ctx context.Context, path, name, id string) error {
	err := os.Symlink(id, path)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	owner, err := os.Readlink(path)
	if err == nil && m.exists(owner) {
		return nameTaken(name, owner)
	}
	// Two who replace it at once would each undo the other's.
	lock, err := flock.Lock(ctx, m.nameLock(), flock.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Close()
	owner, err = os.Readlink(path)
	if err == nil && m.exists(owner) {
		return nameTaken(name, owner)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = os.Symlink(id, path)
	if errors.Is(err, fs.ErrExist) {
		return nameTaken(name, "")
	}
	return err
}

func (m *Manager) nameLock() string { return filepath.Join(m.nameDirs()[0], ".lock") }

func nameTaken(name, owner string) error {
	who := "another container"
	if owner != "" {
		who = "container " + shortID(owner)
	}
	return failf(ErrNameTaken, "the name %s is taken by %s: remove it or take another name", name, who)
}

// dropName frees a container's name, if it still is the container's.
func (m *Manager) dropName(name, id string) error {
	for _, dir := range m.nameDirs() {
		path := filepath.Join(dir, name)
		if owner, err := os.Readlink(path); name == "" || err != nil || owner != id {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// takeRandomName gives a container a name that nobody has.
func (m *Manager) takeRandomName(ctx context.Context, id string, shortLived bool) (string, error) {
	for tries := 0; ; tries++ {
		name := randomName()
		if tries > 2 {
			name = fmt.Sprintf("%s%d", name, rand.IntN(1_000_000))
		}
		err := m.takeName(ctx, name, id, shortLived)
		if err == nil || !errors.Is(err, ErrNameTaken) || tries == 20 {
			return name, err
		}
	}
}

// Lookup gives the id of a container.
func (m *Manager) Lookup(ref string) (string, error) {
	ref = strings.TrimPrefix(ref, "/")
	if isID(ref) && m.exists(ref) {
		return ref, nil
	}
	if isName(ref) {
		if id := m.nameOwner(ref); id != "" {
			return id, nil
		}
	}
	if !isHex(ref) || len(ref) >= 64 {
		return "", notFound(ref)
	}
	ids, err := m.ids()
	if err != nil {
		return "", err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return !strings.HasPrefix(id, ref) })
	switch len(ids) {
	case 0:
		return "", notFound(ref)
	case 1:
		return ids[0], nil
	}
	return "", invalidf("%s is the beginning of several containers' ids: give more of it", ref)
}

// danglingNames removes the names of containers that are gone.
func (m *Manager) danglingNames(ctx context.Context) error {
	lock, err := flock.Lock(ctx, m.nameLock(), flock.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Close()
	for _, dir := range m.nameDirs() {
		names, err := readNames(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			path := filepath.Join(dir, name)
			if id, err := os.Readlink(path); err == nil && !m.exists(id) {
				if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
		}
	}
	return nil
}

func randomName() string {
	return adjectives[rand.IntN(len(adjectives))] + "_" + scientists[rand.IntN(len(scientists))]
}

var adjectives = [...]string{
	"agile", "amber", "brave", "bright", "calm", "candid", "clever", "cosy", "curious", "daring",
	"deft", "eager", "earnest", "easy", "fair", "fearless", "fluent", "frosty", "gentle", "glad",
	"golden", "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "lucid",
	"lucky", "merry", "mild", "modest", "nimble", "noble", "patient", "plucky", "polite", "proud",
	"quick", "quiet", "rapid", "ready", "robust", "serene", "sharp", "silent", "silver", "sincere",
	"smooth", "snug", "solid", "steady", "sunny", "swift", "tidy", "trusty", "upbeat", "vivid",
	"warm", "wise", "witty", "zesty",
}

var scientists = [...]string{
	"abel", "agnesi", "ampere", "avicenna", "babbage", "banach", "bohr", "boole", "bose", "cantor",
	"carson", "chandra", "church", "curie", "darwin", "dijkstra", "dirac", "einstein", "euclid", "euler",
	"faraday", "fermat", "fermi", "feynman", "franklin", "galileo", "galois", "gauss", "germain", "godel",
	"goldberg", "hamilton", "hawking", "heisenberg", "herschel", "hilbert", "hodgkin", "hopper", "hypatia", "jacobi",
	"johnson", "joliot", "kepler", "kovalevskaya", "lamarr", "leavitt", "leibniz", "lovelace", "maxwell", "mcclintock",
	"meitner", "mendel", "mirzakhani", "newton", "noether", "pascal", "pasteur", "payne", "planck", "raman",
	"ramanujan", "riemann", "shannon", "tesla", "torvalds", "turing", "wu", "yalow",
}
