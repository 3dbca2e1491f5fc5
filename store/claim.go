package store

import (
	"context"
	"fmt"
	"os"
	"slices"

	"minict/internal/flock"
)

// LockBlobs waits until no other process or goroutine holds any of the
// digests and holds them until release is called. Who fetches a blob takes its
// lock first and then asks HaveBlob: so two pulls of one image fetch it once.
// All that one pull needs is locked by one call, in one order, before the
// ingest is made: then two pulls can't wait for each other.
func (s *Store) LockBlobs(ctx context.Context, digests ...Digest) (release func(), err error) {
	sorted := slices.Compact(slices.Sorted(slices.Values(digests)))
	var held []*os.File
	release = func() {
		for _, f := range held {
			os.Remove(f.Name()) // while it is locked: who waits for it notices
			f.Close()
		}
		held = nil
	}
	for _, d := range sorted {
		if err := ValidDigest(d); err != nil {
			release()
			return nil, fmt.Errorf("lock blob: %w", err)
		}
		alg, hex := d.split()
		f, err := flock.Lock(ctx, s.path("locks", alg+"-"+hex), flock.Exclusive)
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, f)
	}
	return release, nil
}

// LockBlob is LockBlobs of one.
func (s *Store) LockBlob(ctx context.Context, d Digest) (release func(), err error) {
	return s.LockBlobs(ctx, d)
}
