package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"minict/internal/flock"
)

const (
	bucketRefs   = "refs"
	bucketImages = "images"
	bucketLayers = "layers"
	bucketBlobs  = "blobs"
	bucketTotal  = "total"
)

// counted are the buckets that the total is over.
func counted() []string {
	return []string{bucketRefs, bucketImages, bucketLayers, bucketBlobs}
}

// reserve is how many bytes of the index file are allocated beyond those in
// use, so that images can be removed from a disk with no byte free.
const reserve = 128 << 10

// View calls f with the index as it is, under the shared lock, and does not
// make the index if there is none: that is an empty index. What f makes while
// it runs (a container's directory, say) is seen by any later Collect.
//
// The error is that of f, or ErrCorrupt, or that of ctx if it ends while the
// lock is waited for. The Tx is dead once f has returned.
func (s *Store) View(ctx context.Context, f func(*Tx) error) error {
	lock, err := flock.Lock(ctx, s.path("index.lock"), flock.Shared)
	if err != nil {
		return fmt.Errorf("open index: %w", err)
	}
	defer lock.Close()
	return s.read(f)
}

// read is View for who holds the lock.
func (s *Store) read(f func(*Tx) error) error {
	path := s.path("index.db")
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return f(&Tx{})
	}
	x, err := openIndex(path, true)
	if err != nil {
		return err
	}
	defer x.close()
	tx, err := x.begin(false)
	if err != nil {
		return err
	}
	return f(tx)
}

// Update is View with the exclusive lock, for changing the index. If f returns
// nil, all it did is committed and on the disk when Update returns nil;
// otherwise nothing is.
func (s *Store) Update(ctx context.Context, f func(*Tx) error) error {
	lock, err := flock.Lock(ctx, s.path("index.lock"), flock.Exclusive)
	if err != nil {
		return fmt.Errorf("open index: %w", err)
	}
	defer lock.Close()
	path := s.path("index.db")
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		if err := s.create(path); err != nil {
			return err
		}
	}
	x, err := openIndex(path, false)
	if err != nil {
		return err
	}
	defer x.close()
	tx, err := x.begin(true)
	if err != nil {
		return err
	}
	if err := tx.checkTotal(); err != nil { // or the new one would hide what is wrong
		return err
	}
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.putTotal(); err != nil {
		return err
	}
	return x.commit(tx)
}

// create makes an index with empty buckets beside path and renames it, since
// bbolt itself would leave half a file to who finds it after a power loss.
func (s *Store) create(path string) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("make index: %w", err)
	}
	if err := writeEmpty(tmp); err != nil {
		os.Remove(tmp)
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("make index: %w", err)
	}
	return syncDir(s.root)
}

func writeEmpty(path string) error {
	x, err := openIndex(path, false)
	if err != nil {
		return err
	}
	defer x.close()
	tx, err := x.begin(true)
	if err != nil {
		return err
	}
	tx.grows = true
	for _, name := range append(counted(), bucketTotal) {
		err := x.guard(func() error {
			_, err := x.tx.CreateBucket([]byte(name))
			return err
		})
		if err != nil {
			return fmt.Errorf("make index: %w", err)
		}
	}
	if err := errors.Join(tx.putTotal(), x.commit(tx)); err != nil {
		return err
	}
	if err := x.file.Sync(); err != nil {
		return fmt.Errorf("make index: %w", err)
	}
	return nil
}

// index is an open index.db. bbolt reads a mapped file and trusts what it
// finds, so every call of it is guarded; and once one has panicked its locks
// are in no state to be waited for, so then the file is closed behind it.
type index struct {
	db     *bolt.DB
	tx     *bolt.Tx
	file   *os.File
	broken bool
}

func openIndex(path string, readOnly bool) (*index, error) {
	x := &index{}
	if st, err := os.Lstat(path); readOnly && err == nil && st.Size() == 0 { // bbolt would write to it
		return nil, openError(path, fmt.Errorf("%w (empty)", ErrCorrupt))
	}
	err := x.guard(func() (err error) {
		x.db, err = bolt.Open(path, 0o600, &bolt.Options{
			ReadOnly:     readOnly,
			FreelistType: bolt.FreelistMapType,
			NoStatistics: true,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(name, flag|unix.O_NOFOLLOW, mode)
				x.file = f
				return f, err
			},
		})
		return err
	})
	if err == nil {
		return x, nil
	}
	if x.broken {
		x.abandon()
	}
	var pathErr *os.PathError
	var errno unix.Errno
	if !x.broken && !errors.As(err, &pathErr) && !errors.As(err, &errno) {
		err = fmt.Errorf("%w (%w)", ErrCorrupt, err) // bbolt's own words for what it has read
	}
	return nil, openError(path, err)
}

// openError tells what to do about a damaged index: without one, the images
// are gone, and their containers go on.
func openError(path string, err error) error {
	if errors.Is(err, ErrCorrupt) {
		return fmt.Errorf("open index %s: %w; move it away and pull the images again", path, err)
	}
	return fmt.Errorf("open index %s: %w", path, err)
}

func (x *index) begin(write bool) (*Tx, error) {
	err := x.guard(func() (err error) {
		x.tx, err = x.db.Begin(write)
		if err != nil {
			return err
		}
		st, err := x.file.Stat()
		if err == nil && st.Size() < x.tx.Size() { // a page cut in the middle reads as zeros
			err = fmt.Errorf("%w (%d bytes instead of %d)", ErrCorrupt, st.Size(), x.tx.Size())
		}
		if err != nil {
			return err
		}
		id := x.tx.ID()
		if write {
			id-- // its own, which is not written yet
		}
		return checkTree(x.file, x.db.Info().PageSize, x.tx.Size(), id)
	})
	if err != nil {
		x.close()
		return nil, openError(x.file.Name(), err)
	}
	return &Tx{bolt: x.tx, index: x}, nil
}

// commit allocates the reserve first: a transaction that adds something must
// leave it whole, one that removes something may live on it.
func (x *index) commit(tx *Tx) error {
	if x.broken {
		return fmt.Errorf("write index: %w", ErrCorrupt)
	}
	err := unix.Fallocate(int(x.file.Fd()), 0, 0, x.tx.Size()+reserve)
	if err == nil || !tx.grows || !errors.Is(err, unix.ENOSPC) {
		err = x.guard(x.tx.Commit)
	}
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

// close may be called again.
func (x *index) close() {
	if !x.broken {
		x.guard(func() error {
			if x.tx != nil {
				x.tx.Rollback() // after a commit there is nothing to roll back
			}
			return x.db.Close()
		})
	}
	if x.broken {
		x.abandon()
	}
}

// abandon gives up bbolt's own lock, which closing alone would not: the
// mapping refers to the open file too, and stays until the process ends.
func (x *index) abandon() {
	unix.Flock(int(x.file.Fd()), unix.LOCK_UN)
	x.file.Close()
}

// guard calls f, which calls bbolt. On a damaged file that panics, or reads
// beyond the end of the mapped file, which is SIGBUS: both become ErrCorrupt.
func (x *index) guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			x.broken = true
			err = fmt.Errorf("%w (%.200v)", ErrCorrupt, r)
		}
	}()
	return f()
}
