// Package store keeps what outlives a command: the bytes of images, their
// unpacked layers, and the index that says which of them count.
//
// # On disk
//
//	ROOT/                          0700
//	├── index.lock                 flock(2): shared to read the index, exclusive to change it
//	├── index.db                   the index, bbolt; absent means empty
//	├── blobs/ALG/HEX              a file named by the digest of its bytes
//	├── layers/ALG/HEX/            an unpacked layer, named by its key
//	├── ingest/
//	│   ├── lock                   flock(2): shared to make an ingest or a claim, exclusive to sweep
//	│   └── N/                     one unfinished pull, load or commit
//	│       ├── lock               held by who fills it; free means garbage
//	│       ├── claims/KIND-ALG-HEX   what a sweep has to leave alone because of it
//	│       ├── blobs/ALG/HEX      finished, not yet published
//	│       ├── layers/ALG/HEX/    finished, not yet published
//	│       └── tmp/               unfinished
//	├── locks/ALG-HEX              flock(2): one process at a time fetches a blob
//	└── trash/                     on its way out; anybody may remove what is here
//
// # Index
//
// The buckets of index.db. Each value is eight bytes of FNV-1a over bucket, key
// and payload (bbolt has check sums for its meta pages alone), followed by the
// payload:
//
//	index.db
//	├── refs
//	│   └── NAME                   → the id of the image that is called so
//	├── images
//	│   └── ALG:HEX                → packed: digests manifest layers created size platform execution
//	├── layers
//	│   └── ALG:HEX                → JSON: diffID size blobs
//	├── blobs
//	│   └── ALG:HEX                → JSON: mediaType size
//	└── total
//	    └── all                    → JSON: records sum
//
// # Promises
//
// The index never names half a thing. Data goes to an ingest, is synced with
// one syncfs(2), is renamed to its name, the directory of that name is
// synced, and then one transaction names it. Removal goes the other way: one
// transaction forgets, then a rename to the trash, then the slow part. So what
// the index does not name, no ingest claims and no container uses is garbage.
//
// Locks are taken in this order: a blob's, ingest/lock, index.lock. The last
// two are held for moments only.
package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotFound says that the index has no such thing.
	ErrNotFound = errors.New("not found")
	// ErrCorrupt says that kept bytes are not the ones that were stored.
	ErrCorrupt = errors.New("corrupt")
)

// Store is a directory that is kept as the package comment draws it. Its
// methods may be called by many goroutines and processes at once.
type Store struct {
	root string
}

// Open makes the directories of a store below root, those that are missing,
// with mode 0700. It opens no database and takes no lock.
func Open(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{root: root}
	// The last one that is made stands for all: the start of a container
	// should not pay for twelve system calls to learn that nothing is missing.
	if _, err := os.Lstat(s.path("trash")); err == nil {
		return s, nil
	}
	dirs := []string{"", "blobs/sha256", "blobs/sha512", "layers/sha256", "layers/sha512", "ingest", "locks", "trash"}
	for _, dir := range dirs {
		if err := os.MkdirAll(s.path(dir), 0o700); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	return s, nil
}

// Root is the absolute path of the store's directory.
func (s *Store) Root() string { return s.root }

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.root}, elem...)...)
}

// Sync waits until everything that was written to the store's file system is
// on the disk: one syncfs(2), which costs less than an fsync per file.
func (s *Store) Sync() error {
	dir, err := os.Open(s.root)
	if err != nil {
		return fmt.Errorf("sync store: %w", err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", s.root, err)
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
