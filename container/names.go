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

// takeName gives a container its name. The name is a symbolic link to the id,
// which the kernel makes for exactly one of all who want it. A link that a
// removed container left is replaced.
func (m *Manager) takeName(ctx context.Context, name, id string) error {
	path := m.namePath(name)
	err := os.Symlink(id, path)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	owner, err := os.Readlink(path)
	if err == nil && m.exists(owner) {
		return nameTaken(name, owner)
	}
	// Two who replace it at once would each undo the other's.
	lock, err := flock.Lock(ctx, m.namePath(".lock"), flock.Exclusive)
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

func nameTaken(name, owner string) error {
	who := "another container"
	if owner != "" {
		who = "container " + shortID(owner)
	}
	return failf(ErrNameTaken, "the name %s is taken by %s: remove it or take another name", name, who)
}

// dropName frees a container's name, if it still is the container's.
func (m *Manager) dropName(name, id string) error {
	path := m.namePath(name)
	if owner, err := os.Readlink(path); name == "" || err != nil || owner != id {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// takeRandomName gives a container a name that nobody has.
func (m *Manager) takeRandomName(ctx context.Context, id string) (string, error) {
	for tries := 0; ; tries++ {
		name := randomName()
		if tries > 2 {
			name = fmt.Sprintf("%s%d", name, rand.IntN(1_000_000))
		}
		err := m.takeName(ctx, name, id)
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
		if id, err := os.Readlink(m.namePath(ref)); err == nil && isID(id) && m.exists(id) {
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
	lock, err := flock.Lock(ctx, m.namePath(".lock"), flock.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Close()
	names, err := readNames(filepath.Join(m.Root, "names"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if id, err := os.Readlink(m.namePath(name)); err == nil && !m.exists(id) {
			if err := os.Remove(m.namePath(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
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
