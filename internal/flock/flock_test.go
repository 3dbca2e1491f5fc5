package flock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestExclusion(t *testing.T) {
	tests := []struct {
		name   string
		first  Mode
		second Mode
		want   error
	}{
		{"shared beside shared", Shared, Shared, nil},
		{"exclusive beside shared", Shared, Exclusive, ErrLocked},
		{"shared beside exclusive", Exclusive, Shared, ErrLocked},
		{"exclusive beside exclusive", Exclusive, Exclusive, ErrLocked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lock")
			f, err := Lock(t.Context(), path, tt.first)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			g, err := TryLock(path, tt.second)
			if !errors.Is(err, tt.want) {
				t.Fatalf("second lock: got %v, want %v", err, tt.want)
			}
			if g != nil {
				g.Close()
			}
		})
	}
}

func TestCloseGivesUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f, err := Lock(t.Context(), path, Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	g, err := TryLock(path, Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
}

func TestWaitEndsWithContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f, err := Lock(t.Context(), path, Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Lock(ctx, path, Exclusive); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want %v", err, context.Canceled)
	}
}

// A lock on a file that was replaced while waiting would guard nothing.
func TestReplacedWhileWaiting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	old, err := Lock(t.Context(), path, Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *os.File)
	go func() {
		f, err := Lock(t.Context(), path, Exclusive)
		if err != nil {
			t.Error(err)
		}
		got <- f
	}()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	old.Close()
	f := <-got
	defer f.Close()
	if !current(f, path) {
		t.Fatal("the lock is on a file that has no name any more")
	}
}

func TestTryLockMakesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if _, err := TryLock(path, Shared); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v, want %v", err, os.ErrNotExist)
	}
}
