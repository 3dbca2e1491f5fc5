package leaks

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minict/tests/host"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	os.Exit(host.Run(m.Run))
}

func TestEveryKindOfLeakIsSeen(t *testing.T) {
	dirs := Dirs{Root: t.TempDir(), State: t.TempDir(), Temp: t.TempDir()}
	before, err := Take(dirs)
	if err != nil {
		t.Fatal(err)
	}
	wants := func(kind string) {
		t.Helper()
		found, err := before.Since(0)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != 1 || !strings.HasPrefix(found[0], kind) {
			t.Fatalf("found %q, want one %s", found, kind)
		}
	}
	nothing := func(patience time.Duration) {
		t.Helper()
		found, err := before.Since(patience)
		if err != nil || len(found) != 0 {
			t.Fatalf("found %q %v, want nothing", found, err)
		}
	}
	nothing(0)

	place := t.TempDir()
	check(t, unix.Mount("tmpfs", place, "tmpfs", 0, ""))
	wants("mount ")
	check(t, unix.Unmount(place, 0))

	hierarchies, err := host.Cgroups()
	check(t, err)
	ours := filepath.Join(dirs.State, "containers", "leak-of-a-test")
	check(t, os.Mkdir(ours, 0o700))
	check(t, os.Remove(ours))
	for _, hierarchy := range hierarchies {
		foreign := filepath.Join(hierarchy.Dir, "minict", "leak-of-a-neighbour")
		check(t, os.MkdirAll(foreign, 0o755))
		nothing(0)
		check(t, os.Remove(foreign))
		group := filepath.Join(hierarchy.Dir, "minict", "leak-of-a-test")
		check(t, os.MkdirAll(group, 0o755))
		wants("cgroup " + group)
		check(t, before.Sweep())
		nothing(0)
	}

	sleeper := exec.Command("sleep", "1000")
	check(t, sleeper.Start())
	wants("process ")
	check(t, before.Sweep())
	wants("process ") // a zombie, since nobody waited for it
	sleeper.Wait()
	nothing(0)

	socket, err := net.Listen("unix", "@leak")
	check(t, err)
	wants("socket @leak")
	socket.Close()

	link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "leak"}}
	check(t, netlink.LinkAdd(link))
	wants("link leak")
	check(t, netlink.LinkDel(link))

	for _, dir := range []string{dirs.Root, dirs.State, dirs.Temp} {
		file := filepath.Join(dir, "leak")
		check(t, os.WriteFile(file, nil, 0o600))
		wants("file " + file)
		check(t, os.Remove(file))
	}
	inside := filepath.Join(dirs.Root, "containers", "leak")
	check(t, os.MkdirAll(inside, 0o700))
	wants("file " + inside)
	check(t, os.Remove(inside))
	check(t, os.MkdirAll(filepath.Join(dirs.Root, "layers", "sha256", "abc"), 0o700))
	nothing(0)
}

// The orphan lives for a while after the test has started to look.
func TestProcessesAreWaitedFor(t *testing.T) {
	before, err := Take(Dirs{State: t.TempDir()})
	check(t, err)
	check(t, exec.Command("sh", "-c", "sleep 0.3 >/dev/null 2>&1 &").Run())
	if found, err := before.Since(0); err != nil || len(found) != 1 {
		t.Fatalf("found %q %v, want the orphan", found, err)
	}
	if found, err := before.Since(10 * time.Second); err != nil || len(found) != 0 {
		t.Fatalf("found %q %v, want nothing", found, err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
