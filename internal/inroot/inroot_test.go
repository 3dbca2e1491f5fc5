package inroot

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// world is a root directory beside a secret that nothing in it may reach.
func world(t *testing.T) (root *os.File, dir string) {
	t.Helper()
	top := t.TempDir()
	if err := os.WriteFile(filepath.Join(top, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(top, "root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir
}

func TestReadFileStaysInside(t *testing.T) {
	root, dir := world(t)
	top := filepath.Dir(dir)
	links := map[string]string{
		"absolute": filepath.Join(top, "secret"),
		"relative": "../secret",
		"proc":     "/proc/self/cwd/secret",
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"absolute", "relative", "proc", "../secret", "/../secret", "a/../../secret"} {
		if data, err := ReadFile(root, name, 100); err == nil {
			t.Errorf("%s: read %q from outside", name, data)
		}
	}
}

func TestReadFileFollowsInside(t *testing.T) {
	root, dir := world(t)
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("inside"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	data, err := ReadFile(root, "link", 100)
	if err != nil || string(data) != "inside" {
		t.Fatalf("got %q, %v", data, err)
	}
}

func TestReadFileRefuses(t *testing.T) {
	root, dir := world(t)
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(root, "fifo", 100); err == nil {
		t.Error("a FIFO was read")
	}
	sparse := filepath.Join(dir, "sparse")
	if err := os.WriteFile(sparse, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(sparse, 2<<30); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(root, "sparse", 1<<20); !errors.Is(err, ErrTooLarge) {
		t.Errorf("2 GiB file: got %v, want %v", err, ErrTooLarge)
	}
}

func TestMkdirAll(t *testing.T) {
	root, dir := world(t)
	if err := os.Symlink("/real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../..", filepath.Join(dir, "up")); err != nil {
		t.Fatal(err)
	}
	for name, made := range map[string]string{
		"a/b/c":       "a/b/c",
		"link/d":      "real/d",
		"up/e":        "e",
		"../../../f":  "f",
		"/absolute/g": "absolute/g",
	} {
		f, err := MkdirAll(root, name, 0o755)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		f.Close()
		if st, err := os.Stat(filepath.Join(dir, made)); err != nil || !st.IsDir() {
			t.Errorf("%s: %s was not made: %v", name, made, err)
		}
	}
	outside, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	if len(outside) != 2 {
		t.Errorf("something was made outside: %v", outside)
	}
}
