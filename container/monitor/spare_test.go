package monitor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// used makes a container's directory as one that has run leaves it.
func used(t *testing.T, top string) string {
	t.Helper()
	dir := filepath.Join(top, "container")
	for _, d := range []string{"", "upper", "work", "work/work", "work/work/incompat", "work/work/incompat/volatile", "next", "next/work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"log", "log.1", "work/work/incompat/volatile/dirty"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func prepared(t *testing.T, dir string) {
	t.Helper()
	a, err := prepare(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Wait(plan.NoSlot); err != nil {
		t.Fatal(err)
	}
}

func TestSpareIsAsGoodAsNew(t *testing.T) {
	top := t.TempDir()
	spare := filepath.Join(top, "spare")
	if err := os.Mkdir(spare, 0o700); err != nil {
		t.Fatal(err)
	}
	for n := range spares {
		name, ok := SpareName(n)
		dir := used(t, top)
		prepared(t, dir)
		if !ok || !keep(dir, spare) {
			t.Fatalf("number %d is not kept", n)
		}
		for _, empty := range []string{"upper", "work", "next/work"} {
			if entries, err := os.ReadDir(filepath.Join(spare, name, empty)); err != nil || len(entries) > 0 {
				t.Errorf("%s: %v, %v", empty, entries, err)
			}
		}
		if entries, _ := os.ReadDir(filepath.Join(spare, name)); len(entries) != 3 {
			t.Errorf("%v", entries)
		}
	}
	dir := used(t, top)
	if prepared(t, dir); keep(dir, spare) {
		t.Error("one more than there is room for")
	}
}

// A directory serves for a mount once more, a volatile one too, without anything
// being made or removed by minict in between.
func TestSpareIsMountedAgain(t *testing.T) {
	top, err := os.MkdirTemp("/var/tmp", "spare") // what overlayfs takes as upper
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(top)
	dir := filepath.Join(top, "container")
	for _, d := range []string{"lower", "merged", "spare", "container", "container/upper", "container/work"} {
		if err := os.Mkdir(filepath.Join(top, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if entries, err := os.ReadDir(dir + "/work"); err != nil || len(entries) > 0 {
			t.Errorf("the kernel has to clear away %v, %v", entries, err)
		}
		options := "volatile,lowerdir=" + top + "/lower,upperdir=" + dir + "/upper,workdir=" + dir + "/work"
		if err := unix.Mount("overlay", top+"/merged", "overlay", 0, options); err != nil {
			t.Fatal(err)
		}
		prepared(t, dir)
		if err := unix.Unmount(top+"/merged", 0); err != nil {
			t.Fatal(err)
		}
		if !keep(dir, top+"/spare") {
			t.Fatal("it is not kept")
		}
		dir = top + "/spare/0"
		if err := os.Rename(dir, top+"/container"); err != nil {
			t.Fatal(err)
		}
		dir = top + "/container"
	}
}

// Where the kernel would refuse to mount, or finds what is not its own, is no
// spare.
func TestUsedWorkDirectoryIsNoSpare(t *testing.T) {
	for name, use := range map[string]func(work string) error{
		"as a volatile mount leaves it": func(string) error { return nil },
		"a rest in it":                  func(work string) error { return os.Mkdir(work+"/work/#1", 0o700) },
		"a stranger in it":              func(work string) error { return os.Mkdir(work+"/index", 0o700) },
		"a link": func(work string) error {
			return errors.Join(os.RemoveAll(work+"/work"), os.Symlink("/etc", work+"/work"))
		},
		"none":       os.RemoveAll,
		"no other":   func(work string) error { return os.RemoveAll(filepath.Dir(work) + "/next") },
		"full other": func(work string) error { return os.Mkdir(filepath.Dir(work)+"/next/x", 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			spare, dir := filepath.Join(top, "spare"), used(t, top)
			if name != "as a volatile mount leaves it" {
				prepared(t, dir)
			}
			if err := errors.Join(os.Mkdir(spare, 0o700), use(filepath.Join(dir, "work"))); err != nil {
				t.Fatal(err)
			}
			if keep(dir, spare) {
				t.Error("it is kept")
			}
		})
	}
}

// What a container may have done to its root directory is not handed to the
// next.
func TestUsedDirectoryIsNoSpare(t *testing.T) {
	for name, use := range map[string]func(upper string) error{
		"a file":       func(upper string) error { return os.WriteFile(upper+"/file", nil, 0o600) },
		"a whiteout":   func(upper string) error { return unix.Mknod(upper+"/gone", unix.S_IFCHR, 0) },
		"another mode": func(upper string) error { return os.Chmod(upper, 0o777) },
		"set-gid":      func(upper string) error { return os.Chmod(upper, 0o755|os.ModeSetgid) },
		"an owner":     func(upper string) error { return os.Chown(upper, 1000, 0) },
		"a group":      func(upper string) error { return os.Chown(upper, 0, 1000) },
		"an attribute": func(upper string) error { return unix.Setxattr(upper, "user.left", []byte("x"), 0) },
		"one of overlayfs'": func(upper string) error {
			return unix.Setxattr(upper, "trusted.overlay.opaque", []byte("y"), 0)
		},
		"a link": func(upper string) error { return errors.Join(os.Remove(upper), os.Symlink("/etc", upper)) },
		"none":   os.Remove,
		"a stranger beside it": func(upper string) error {
			return os.Mkdir(filepath.Join(filepath.Dir(upper), "more"), 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			top, err := os.MkdirTemp("/var/tmp", "spare") // a file system with attributes
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(top)
			spare := filepath.Join(top, "spare")
			dir := used(t, top)
			prepared(t, dir)
			if err := errors.Join(os.Mkdir(spare, 0o700), use(filepath.Join(dir, "upper"))); err != nil {
				t.Fatal(err)
			}
			if keep(dir, spare) {
				t.Error("it is kept")
			}
		})
	}
}
