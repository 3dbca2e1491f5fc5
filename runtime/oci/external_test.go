package oci

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"minict/runtime"
	"minict/runtime/criu"
)

// A mount belongs to what was last mounted above it, by the place that its
// destination leads to.
func TestMountsToDump(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/real", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	list := []runtime.Shown{
		{Destination: "/tmpfs"}, {Destination: "/tmpfs/host", Source: "/host"}, {Destination: "/tmpfs/host/own"},
		{Destination: dir + "/link", Source: "/other"},
		{Destination: "/masked", Source: "/dev/null", File: true}, {Destination: "/covered", Source: "/dev/null", File: true},
		{Destination: "/host file", Source: "/file"},
	}
	mounts := []mountEntry{
		{1, "/", "/"}, {2, "/", "/tmpfs"}, {3, "/host", "/tmpfs/host"}, {4, "/", "/tmpfs/host/below"}, {5, "/", "/tmpfs/host/own"},
		{6, "/other", dir + "/real"}, {7, "/null", "/masked"}, {8, "/", "/covered"}, {9, "/file", "/host file"}, {10, "/x", "/tmpfs/hostile"},
	}
	got, err := toDump(list, os.Getpid(), mounts)
	want := []criu.Pair{{Key: "/tmpfs/host", Value: "/tmpfs/host"}, {Key: "/tmpfs/host/below", Value: "/tmpfs/host/below"},
		{Key: dir + "/real", Value: dir + "/link"}, {Key: "/masked", Value: "/masked"}, {Key: "/host file", Value: "/host file"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

// What is mounted below a source is found below its place.
func TestMountsToRestore(t *testing.T) {
	dir := t.TempDir()
	below := filepath.Join(dir, "be low")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("below", below, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(below, unix.MNT_DETACH)
	list := []runtime.Shown{
		{Destination: "/own"}, {Destination: "/all", Source: dir, Recursive: true}, {Destination: "/one", Source: dir},
		{Destination: "/gone", Source: dir + "/gone", Recursive: true},
	}
	got, err := toRestore(list, func(i int) string { return "/place/" + strconv.Itoa(i) })
	want := []criu.Pair{{Key: "/all", Value: "/place/1"}, {Key: "/all/be low", Value: "/place/1/be low"},
		{Key: "/gone", Value: "/place/3"}, {Key: "/one", Value: "/place/2"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}
