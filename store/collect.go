package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"minict/internal/flock"
)

// Collect removes what the index does not name, no living ingest claims and no
// container uses, and what was left half done by processes that were killed.
// It returns how many bytes that freed.
//
// inUse gives the digests that containers need: keys of layers, ids of images;
// nil means none. It is called under the exclusive lock of the index, so what
// a View has let through is finished, and must not call View or Update. It
// needs no free space. Both locks are given up before the slow part.
//
// While it works it holds an ingest: if it is killed, or fails, that is what
// tells Abandoned that there is something left to collect.
func (s *Store) Collect(ctx context.Context, inUse func() (map[Digest]bool, error)) (freed int64, err error) {
	if sign, full := s.Ingest(ctx); full == nil { // no space, no sign
		defer func() {
			if err != nil {
				sign.Abandon()
			}
			sign.Close()
		}()
	}
	if err := s.discard(ctx, inUse); err != nil {
		return 0, fmt.Errorf("collect garbage: %w", err)
	}
	return s.emptyTrash()
}

// discard moves the garbage to the trash.
func (s *Store) discard(ctx context.Context, inUse func() (map[Digest]bool, error)) error {
	ingests, err := flock.Lock(ctx, s.path("ingest", "lock"), flock.Exclusive)
	if err != nil {
		return err
	}
	defer ingests.Close()
	claimed, err := s.sweepIngests()
	if err != nil {
		return err
	}
	if err := s.sweepLocks(); err != nil {
		return err
	}
	index, err := flock.Lock(ctx, s.path("index.lock"), flock.Exclusive)
	if err != nil {
		return err
	}
	defer index.Close()
	keep, err := s.wanted(inUse)
	if err != nil {
		return err
	}
	for _, kind := range []string{"blobs", "layers"} {
		for _, alg := range []string{"sha256", "sha512"} {
			if err := s.sweepKind(kind, alg, keep, claimed); err != nil {
				return err
			}
		}
	}
	return nil
}

// wanted is what the index names or a container uses.
func (s *Store) wanted(inUse func() (map[Digest]bool, error)) (map[Digest]bool, error) {
	keep := make(map[Digest]bool)
	err := s.read(func(tx *Tx) error {
		if err := tx.checkTotal(); err != nil {
			return err // nobody knows what is garbage
		}
		images, err := tx.Images()
		if err != nil {
			return err
		}
		keep = namedBy(images)
		for _, bucket := range []string{bucketBlobs, bucketLayers} {
			keys, err := tx.keys(bucket, "")
			if err != nil {
				return err
			}
			for _, key := range keys {
				keep[Digest(key)] = true
			}
		}
		return nil
	})
	if err != nil || inUse == nil {
		return keep, err
	}
	used, err := inUse()
	if err != nil {
		return nil, err
	}
	for d := range used {
		keep[d] = true
	}
	return keep, nil
}

func (s *Store) sweepKind(kind, alg string, keep map[Digest]bool, claimed map[string]bool) error {
	dir := s.path(kind, alg)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if keep[Digest(alg+":"+e.Name())] || claimed[kind+"-"+alg+"-"+e.Name()] {
			continue
		}
		if err := s.trash(dir + "/" + e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// sweepIngests discards the ingests that nobody holds and reads the claims of
// the others.
func (s *Store) sweepIngests() (claimed map[string]bool, err error) {
	claimed = make(map[string]bool)
	entries, err := os.ReadDir(s.path("ingest"))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() == "lock" {
			continue
		}
		dir := s.path("ingest", e.Name())
		lock, err := flock.TryLock(dir+"/lock", flock.Exclusive)
		if errors.Is(err, flock.ErrLocked) {
			if err := readClaims(dir, claimed); err != nil {
				return nil, err
			}
			continue
		}
		if lock != nil {
			defer lock.Close()
		}
		if err := s.trash(dir); err != nil {
			return nil, err
		}
	}
	return claimed, nil
}

func readClaims(dir string, claimed map[string]bool) error {
	claims, err := os.ReadDir(dir + "/claims")
	if err != nil && !errors.Is(err, os.ErrNotExist) { // it is just being closed
		return err
	}
	for _, c := range claims {
		claimed[c.Name()] = true
	}
	return nil
}

// sweepLocks removes the lock files of processes that were killed.
func (s *Store) sweepLocks() error {
	entries, err := os.ReadDir(s.path("locks"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := s.path("locks", e.Name())
		lock, err := flock.TryLock(path, flock.Exclusive)
		if err != nil {
			continue // held, or gone
		}
		os.Remove(path)
		lock.Close()
	}
	return nil
}

// trash takes path out of sight by a rename, which is quick and can't be half
// done; on a disk too full for that, it is removed at once.
func (s *Store) trash(path string) error {
	name := strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + path[strings.LastIndexByte(path, '/')+1:]
	err := os.Rename(path, s.path("trash", name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		_, err = RemoveTree(path)
	}
	return err
}

// emptyTrash goes on after a tree that it can't remove and says so at the end.
func (s *Store) emptyTrash() (freed int64, err error) {
	entries, err := os.ReadDir(s.path("trash"))
	if err != nil {
		return 0, fmt.Errorf("empty trash: %w", err)
	}
	var errs []error
	for _, e := range entries {
		n, err := RemoveTree(s.path("trash", e.Name()))
		freed += n
		errs = append(errs, err)
	}
	return freed, errors.Join(errs...)
}

// Abandoned says, without taking a lock of the store's, whether there is an
// ingest that nobody holds any more, for Collect to sweep.
func (s *Store) Abandoned() bool {
	entries, _ := os.ReadDir(s.path("ingest"))
	for _, e := range entries {
		if e.Name() == "lock" {
			continue
		}
		lock, err := flock.TryLock(s.path("ingest", e.Name(), "lock"), flock.Exclusive)
		if err == nil {
			lock.Close()
		}
		if !errors.Is(err, flock.ErrLocked) {
			return true
		}
	}
	return false
}
