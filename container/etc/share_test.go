package etc

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The file that was made is shared, both ways; another one in its place is not,
// and one that is not there is not missed.
func TestShare(t *testing.T) {
	for _, readonly := range []string{"", "yes"} {
		c := newContainer(t, readonly)
		before, err := os.Readlink("/proc/self/ns/mnt")
		if err != nil {
			t.Fatal(err)
		}
		mounts, err := Share(c.proc, []string{"/etc/resolv.conf", "/data/resolv.conf", "/etc/hosts"})
		if err != nil || len(mounts) != 1 || mounts["/etc/resolv.conf"] == nil {
			t.Fatalf("%v, %v", mounts, err)
		}
		if after, err := os.Readlink("/proc/self/ns/mnt"); err != nil || after != before {
			t.Errorf("in %s, not %s: %v", after, before, err)
		}
		at := filepath.Join(t.TempDir(), "shared")
		if err := os.WriteFile(at, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		f := mounts["/etc/resolv.conf"]
		defer f.Close()
		if err := unix.MoveMount(int(f.Fd()), "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(at, unix.MNT_DETACH)
		if err := os.WriteFile(at, []byte("second"), 0); err != nil {
			t.Error(err)
		}
		if got := c.run("cat /etc/resolv.conf"); got != "second" {
			t.Errorf("the container reads %q", got)
		}
		if err := Change(c.proc, "/etc/resolv.conf", func(string) string { return "third" }); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(at); err != nil || string(got) != "third" {
			t.Errorf("got %q, %v", got, err)
		}
	}
}
