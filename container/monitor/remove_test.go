package monitor

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemovePath(t *testing.T) {
	top := t.TempDir()
	outside := top + "/outside"
	tree := top + "/tree"
	must(t,
		os.MkdirAll(tree+"/a/b/c", 0o700),
		os.MkdirAll(tree+"/closed/x", 0o700), os.Chmod(tree+"/closed", 0),
		os.Mkdir(outside, 0o700),
		os.WriteFile(outside+"/file", nil, 0o600),
		os.Symlink(outside, tree+"/a/link"),
		os.Symlink(outside, top+"/toplink"),
		os.WriteFile(tree+"/.deep.1", nil, 0o600),
		unix.Mkfifo(tree+"/fifo", 0o600),
		unix.Mknod(tree+"/whiteout", unix.S_IFCHR, 0),
	)
	for i := range 3000 {
		must(t, os.WriteFile(tree+"/a/"+strconv.Itoa(i), nil, 0o600))
	}
	must(t, removePath(tree), removePath(top+"/toplink"), removePath(tree))
	left, _ := filepath.Glob(top + "/*")
	if len(left) != 1 || left[0] != outside {
		t.Errorf("left: %v", left)
	}
	if _, err := os.Stat(outside + "/file"); err != nil {
		t.Error(err)
	}
}

// Deeper than there may be open descriptors, and than a path may be long.
func TestRemoveDeepTree(t *testing.T) {
	top := t.TempDir()
	must(t, os.Mkdir(top+"/tree", 0o700))
	dir, err := unix.Open(top+"/tree", unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	for range 5000 {
		must(t, unix.Mkdirat(dir, "deep", 0o700))
		next, err := unix.Openat(dir, "deep", unix.O_PATH|unix.O_CLOEXEC, 0)
		must(t, err)
		unix.Close(dir)
		dir = next
	}
	unix.Close(dir)
	must(t, removePath(top+"/tree"))
	if _, err := os.Lstat(top + "/tree"); err == nil {
		t.Error("it is there")
	}
}

// What is mounted in a tree is not the tree's.
func TestRemoveStopsAtMounts(t *testing.T) {
	top := t.TempDir()
	must(t, os.MkdirAll(top+"/tree/mnt", 0o700), os.Mkdir(top+"/other", 0o700), os.WriteFile(top+"/other/file", nil, 0o600))
	must(t, unix.Mount(top+"/other", top+"/tree/mnt", "", unix.MS_BIND, ""))
	defer unix.Unmount(top+"/tree/mnt", unix.MNT_DETACH)
	err := removePath(top + "/tree")
	if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EBUSY) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(top + "/other/file"); err != nil {
		t.Error(err)
	}
}

func TestEmptyKeepsOne(t *testing.T) {
	top := t.TempDir()
	must(t, os.MkdirAll(top+"/a/lock", 0o700), os.WriteFile(top+"/lock", nil, 0o600), os.WriteFile(top+"/sock", nil, 0o600))
	dir, err := unix.Open(top, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(dir)
	must(t, empty(dir, "lock"))
	left, _ := filepath.Glob(top + "/*")
	if len(left) != 1 || left[0] != top+"/lock" {
		t.Errorf("left: %v", left)
	}
}
