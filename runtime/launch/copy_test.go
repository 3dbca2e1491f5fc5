package launch

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// copyDir carries out plan.Copy.
func copyDir(t *testing.T, from, to string, what int) error {
	t.Helper()
	var b plan.Builder
	dirs := [2]plan.Slot{b.Slot(), b.Slot()}
	b.Step(plan.Step{Phase: plan.Child, Verb: "copy"})
	for i, dir := range []string{from, to} {
		at := unix.AT_FDCWD
		b.Call(unix.SYS_OPENAT, plan.Int(at), b.Str(dir), plan.Int(unix.O_PATH|unix.O_CLOEXEC)).Into(dirs[i])
	}
	b.Call(unix.SYS_UMASK, plan.Int(0))
	b.Call(plan.Copy, dirs[0].Value(), dirs[1].Value(), plan.Int(what))
	execve(&b, "/bin/true")
	_, err := carryOut(t, b.Plan(0, plan.NoSlot))
	return err
}

// listing describes a tree.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		content, _ := os.Readlink(path)
		if info.Mode().IsRegular() {
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = fmt.Sprint(len(raw), string(raw[:min(len(raw), 10)]))
		}
		rel, _ := filepath.Rel(dir, path)
		fmt.Fprintf(&b, "%s %o %d:%d %x %s", rel, st.Mode, st.Uid, st.Gid, st.Rdev, content)
		if info.IsDir() || info.Mode().IsRegular() {
			fmt.Fprintf(&b, " %d", st.Mtim.Nano())
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCopy(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	big := make([]byte, 3<<20)
	for _, err := range []error{
		os.MkdirAll(filepath.Join(from, "a/b/c"), 0o755),
		os.WriteFile(filepath.Join(from, "a/b/c/file"), []byte("hello"), 0o640),
		os.WriteFile(filepath.Join(from, "big"), big, 0o644),
		os.Chown(filepath.Join(from, "big"), 12, 34),
		os.Chmod(filepath.Join(from, "big"), 0o755|os.ModeSetuid),
		os.Symlink("/etc/passwd", filepath.Join(from, "link")),
		os.Lchown(filepath.Join(from, "link"), 5, 6),
		unix.Mkfifo(filepath.Join(from, "fifo"), 0o600),
		unix.Mknod(filepath.Join(from, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		os.Chmod(filepath.Join(from, "a/b"), 0o1777),
		os.Chown(from, 7, 8),
		os.Chmod(from, 0o711),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 500 { // more than fit into one buffer of entries
		if err := os.MkdirAll(filepath.Join(from, fmt.Sprintf("a/%s-%d/x", strings.Repeat("n", 100), i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Unix(1e9, 5)
	for _, p := range []string{"a/b/c/file", "a/b/c", "a", ""} {
		if err := os.Chtimes(filepath.Join(from, p), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyDir(t, from, to, plan.CopyTop|plan.CopyInside); err != nil {
		t.Fatal(err)
	}
	got, want := strings.Split(listing(t, to), "\n"), strings.Split(listing(t, from), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}

// Without CopyTop the directory itself stays as it is.
func TestCopyEntriesOnly(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, err := range []error{os.Chmod(from, 0o711), os.Chmod(to, 0o750), os.Mkdir(from+"/x", 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := copyDir(t, from, to, plan.CopyInside); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// Without CopyInside it is the directory alone.
func TestCopyTopOnly(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, err := range []error{os.Chown(from, 3, 4), os.Chmod(from, 0o711), os.Mkdir(from+"/x", 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := copyDir(t, from, to, plan.CopyTop); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(to, &st); err != nil || st.Mode&0o7777 != 0o711 || st.Uid != 3 || st.Gid != 4 {
		t.Errorf("mode %o of %d:%d, %v", st.Mode, st.Uid, st.Gid, err)
	}
	if left, _ := os.ReadDir(to); len(left) > 0 {
		t.Errorf("copied: %v", left)
	}
}

// A tree that is too deep is refused, and no descriptor is lost.
func TestCopyTooDeep(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(from+strings.Repeat("/d", maxDepth+10), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := copyDir(t, from, to, plan.CopyInside); err == nil || err.(*Failure).Errno != unix.ENAMETOOLONG {
		t.Errorf("got %v", err)
	}
}
