package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"minict/internal/flock"
	"minict/internal/randomid"
)

// manager is one with directories of its own, and nothing in them.
func manager(t *testing.T) *Manager {
	t.Helper()
	top := t.TempDir()
	m := &Manager{Root: filepath.Join(top, "root"), State: filepath.Join(top, "state")}
	if err := m.layOut(); err != nil {
		t.Fatal(err)
	}
	return m
}

// rootfs is a directory that can be a container's root.
func rootfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"etc", "bin", "data"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func create(t *testing.T, m *Manager, o Options) string {
	t.Helper()
	if o.Rootfs == "" {
		o.Rootfs = rootfs(t)
	}
	o.Args, o.Networks = []string{"/bin/true"}, on(NetworkNone)
	id, err := m.Create(t.Context(), &o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// everything lists what is below the manager's directories but what it always
// has: nothing may be left behind.
func everything(t *testing.T, m *Manager) []string {
	t.Helper()
	var left []string
	for _, root := range []string{m.Root, m.State} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch rel, _ := filepath.Rel(root, path); rel {
			case ".", "containers", "names", "volumes", "root", "containers/.lock", "containers/.swept", "names/.lock", "bin", "cache":
				return err
			case "base", "spare":
				return fs.SkipDir
			}
			left = append(left, path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return left
}

func checkEmpty(t *testing.T, m *Manager) {
	t.Helper()
	if left := everything(t, m); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCreateAndRemove(t *testing.T) {
	m := manager(t)
	id := create(t, m, Options{Name: "web"})
	if _, err := os.Stat(m.runDir(id)); err == nil {
		t.Error("a container that does not run has a run directory")
	}
	for _, ref := range []string{"web", "/web", id, id[:12], id[:4]} {
		if got, err := m.Lookup(ref); err != nil || got != id {
			t.Errorf("%s: got %s, %v", ref, got, err)
		}
	}
	for _, ref := range []string{"", "we", "nope", "../web", "..", id + "0", strings.Repeat("f", 64), id[:12] + "\n"} {
		if _, err := m.Lookup(ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: got %v", ref, err)
		}
	}
	list, err := m.List(t.Context(), true)
	if err != nil || len(list) != 1 || list[0].State != Created || list[0].Name != "web" {
		t.Errorf("got %+v, %v", list, err)
	}
	if list, err := m.List(t.Context(), false); err != nil || len(list) != 0 {
		t.Errorf("running: got %+v, %v", list, err)
	}
	if err := m.Stop(t.Context(), "web", nil); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := m.Kill(t.Context(), "web", ""); !errors.Is(err, ErrNotRunning) {
		t.Errorf("kill: %v", err)
	}
	if err := m.Remove(t.Context(), "web", false, false); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove(t.Context(), "web", true, false); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	checkEmpty(t, m)
}

func TestAmbiguousPrefix(t *testing.T) {
	m := manager(t)
	seen := map[byte]string{}
	for range 17 { // by the pigeonhole, two begin with the same digit
		id := create(t, m, Options{})
		if _, ok := seen[id[0]]; ok {
			if _, err := m.Lookup(id[:1]); !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v", err)
			}
			return
		}
		seen[id[0]] = id
	}
}

func TestCreateLeavesNothingWhenItFails(t *testing.T) {
	m := manager(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"no root":        {Rootfs: filepath.Join(t.TempDir(), "missing")},
		"root is a file": {Rootfs: file},
		"nothing":        {},
		"limits":         {Rootfs: "/", Resources: Resources{Memory: 1}},
		"cpuset":         {Rootfs: "/", Resources: Resources{CpusetCpus: "8000"}},
		"volume":         {Rootfs: t.TempDir(), Mounts: []Mount{{Type: MountVolume, Target: strings.Repeat("/"+strings.Repeat("x", 200), 30)}}},
	} {
		o.Args = []string{"x"}
		o.Networks = on(NetworkNone)
		if _, err := m.Create(t.Context(), &o, nil); err == nil {
			t.Errorf("%s: created", name)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q is not one line", name, err)
		}
	}
	checkEmpty(t, m)
}

// A name is one container's, whether it is to last or not.
func TestNameOfEitherKind(t *testing.T) {
	for _, first := range []bool{false, true} {
		m := manager(t)
		if err := m.layOut(); err != nil {
			t.Fatal(err)
		}
		id := randomid.New()
		if err := os.Mkdir(m.runDir(id), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := m.takeName(t.Context(), "web", id, first); err != nil {
			t.Fatal(err)
		}
		for _, second := range []bool{false, true} {
			if err := m.takeName(t.Context(), "web", randomid.New(), second); !errors.Is(err, ErrNameTaken) {
				t.Errorf("taken by one that is short-lived: %v; by another: %v, error %v", first, second, err)
			}
		}
		if got, err := m.Lookup("web"); err != nil || got != id {
			t.Errorf("the name leads to %s, %v", got, err)
		}
		if err := errors.Join(m.dropName("web", id), os.Remove(m.runDir(id))); err != nil {
			t.Fatal(err)
		}
		checkEmpty(t, m)
	}
}

// Of 64 who want a name exactly one gets it, and the others leave nothing.
func TestNameRace(t *testing.T) {
	m := manager(t)
	root := rootfs(t)
	for round := range 10 {
		if round%2 == 1 {
			// Now it is a name whose container is gone.
			if err := os.Symlink(randomid.New(), m.namePath("web", false)); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		won := make(chan string, 64)
		for range 64 {
			wg.Go(func() {
				o := Options{Name: "web", Rootfs: root, Args: []string{"x"}, Networks: on(NetworkNone)}
				id, err := m.Create(context.Background(), &o, nil)
				if err == nil {
					won <- id
				} else if !errors.Is(err, ErrNameTaken) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		close(won)
		var winners []string
		for id := range won {
			winners = append(winners, id)
		}
		if len(winners) != 1 {
			t.Fatalf("round %d: %d containers have the name", round, len(winners))
		}
		if id, err := m.Lookup("web"); err != nil || id != winners[0] {
			t.Fatalf("round %d: the name leads to %s, %v, want %s", round, id, err, winners[0])
		}
		if err := m.Remove(t.Context(), "web", false, false); err != nil {
			t.Fatal(err)
		}
	}
	checkEmpty(t, m)
}

// Removed by many at once, a container goes once, and all are content or are
// told that it is not there.
func TestRemoveRace(t *testing.T) {
	m := manager(t)
	for range 20 {
		create(t, m, Options{Name: "web", Mounts: []Mount{{Type: MountVolume, Target: "/data"}}})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				err := m.Remove(context.Background(), "web", true, true)
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	checkEmpty(t, m)
}

// What who makes a container leaves when it is killed, at any point, is
// garbage to the next command.
func TestSweepHalfMade(t *testing.T) {
	for _, point := range []string{"claim", "no lock", "name", "config", "directories", "volumes"} {
		t.Run(point, func(t *testing.T) {
			m := manager(t)
			halfMade(t, m, point)
			if err := m.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			checkEmpty(t, m)
		})
	}
}

// halfMade makes a container up to a point, and gives up its lock as a kill
// does.
func halfMade(t *testing.T, m *Manager, point string) string {
	t.Helper()
	c, err := m.claim(t.Context(), randomid.New())
	if err != nil {
		t.Fatal(err)
	}
	defer c.pass()
	d := &draft{m: m, claim: c}
	defer d.close()
	o := Options{Name: "half", Networks: on(NetworkNone), Rootfs: rootfs(t), Args: []string{"x"}, Mounts: []Mount{{Type: MountVolume, Target: "/data"}}}
	steps := []struct {
		name string
		do   func() error
	}{
		{"claim", func() error { return nil }},
		{"name", func() error { return d.begin(t.Context(), &o) }},
		{"config", func() error { return d.resolve(t.Context(), &o, nil) }},
		{"directories", func() error { return os.MkdirAll(filepath.Join(m.durableDir(c.id), "upper", "x"), 0o700) }},
		{"volumes", func() error { return m.makeVolumes(d.config, d.openRoot) }},
	}
	if point == "no lock" {
		if err := os.Remove(m.lockPath(c.id)); err != nil {
			t.Fatal(err)
		}
		return c.id
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if s.name == point {
			return c.id
		}
	}
	t.Fatalf("no point %s", point)
	return ""
}

// After a reboot there are no run directories: everything that is not whole
// goes, everything that is stays.
func TestSweepAfterBoot(t *testing.T) {
	m := manager(t)
	whole := create(t, m, Options{Name: "whole", Mounts: []Mount{
		{Type: MountVolume, Target: "/data"}, {Type: MountVolume, Source: "named", Target: "/named"},
	}})
	halfMade(t, m, "volumes")
	before := everything(t, m)
	if err := os.RemoveAll(m.State); err != nil {
		t.Fatal(err)
	}
	if err := m.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := everything(t, m); len(after) >= len(before) {
		t.Errorf("nothing was swept: %v", after)
	}
	if names, _ := readNames(filepath.Join(m.Root, "names")); !slices.Contains(names, "whole") || slices.Contains(names, "half") {
		t.Errorf("got names %v", names)
	}
	if names, _ := readNames(filepath.Join(m.Root, "containers")); !slices.Equal(names, []string{whole}) {
		t.Errorf("got containers %v", names)
	}
	if names, _ := readNames(m.volumes()); len(names) != 2 {
		t.Errorf("got volumes %v", names)
	}
	if err := m.Remove(t.Context(), "whole", false, true); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(m.volumes(), "named")); err != nil {
		t.Fatal(err)
	}
	checkEmpty(t, m)
}

// A container that is being made is nobody's to sweep.
func TestSweepLeavesTheLiving(t *testing.T) {
	m := manager(t)
	c, err := m.claim(t.Context(), randomid.New())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !m.alive(c.id) {
		t.Fatal("it was swept")
	}
	if _, err := m.claim(t.Context(), c.id); !errors.Is(err, flock.ErrLocked) {
		t.Errorf("claimed twice: %v", err)
	}
	if err := c.release(); err != nil {
		t.Fatal(err)
	}
	checkEmpty(t, m)
}

// Looking whether a container lives does not stop others from claiming it.
func TestLookingDoesNotLock(t *testing.T) {
	m := manager(t)
	id := create(t, m, Options{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					m.alive(id)
				}
			}
		})
	}
	for range 100 {
		c, err := m.claim(t.Context(), id)
		if err != nil {
			t.Error(err)
			break
		}
		if err := c.release(); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	wg.Wait()
}

func TestRemoveKeepsVolumes(t *testing.T) {
	m := manager(t)
	for _, volumes := range []bool{false, true} {
		create(t, m, Options{Name: "web", Mounts: []Mount{
			{Type: MountVolume, Target: "/data"}, {Type: MountVolume, Source: "named", Target: "/named"},
		}})
		if err := m.Remove(t.Context(), "web", false, volumes); err != nil {
			t.Fatal(err)
		}
		names, err := readNames(m.volumes())
		if err != nil {
			t.Fatal(err)
		}
		want := 2 // that of the first round, which was kept, and the named one
		if len(names) != want || !slices.Contains(names, "named") {
			t.Errorf("volumes %v: got %v", volumes, names)
		}
		if err := os.RemoveAll(m.State); err != nil {
			t.Fatal(err)
		}
		if err := m.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after, _ := readNames(m.volumes()); len(after) != want {
			t.Errorf("volumes %v: the sweep took what was kept: %v", volumes, after)
		}
	}
}

// The condition of a container is told from its files and its lock together.
func TestCondition(t *testing.T) {
	m := manager(t)
	id := create(t, m, Options{})
	is := func(want State, status int) {
		t.Helper()
		got, err := m.condition(id)
		if err != nil || got.state != want || got.ending.Status != status {
			t.Errorf("got %+v, %v, want %s %d", got, err, want, status)
		}
	}
	is(Created, 0)
	if err := m.markStarted(id); err != nil {
		t.Fatal(err)
	}
	is(Exited, lostStatus)
	if err := os.WriteFile(m.exitPath(id), []byte(`{"status":137,"signal":9,"oomKilled":true,"finished":"2026-11-23T17:00:00Z"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	is(Exited, 137)
	c, err := m.claim(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	is(Exited, 137) // it is being removed, say
	state := fmt.Sprintf(`{"pid":%d,"startTime":1,"monitor":2,"started":"2026-11-23T17:00:00Z"}`, os.Getpid())
	if err := os.WriteFile(filepath.Join(m.runDir(id), "state"), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	is(Running, 0)
	if err := os.WriteFile(m.pausedPath(id), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	is(Paused, 0)
	if err := m.markStarted(id); err != nil {
		t.Fatal(err)
	}
	c.pass() // the monitor is killed
	is(Exited, lostStatus)
	if err := m.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	is(Exited, lostStatus)
	if err := m.Remove(t.Context(), id, false, false); err != nil {
		t.Fatal(err)
	}
	checkEmpty(t, m)
}

// A full disk does not keep anybody from removing a container.
func TestRemoveOnAFullDisk(t *testing.T) {
	m := manager(t)
	top := filepath.Dir(m.Root)
	if err := unix.Mount("tmpfs", top, "tmpfs", 0, "size=4m,nr_inodes=200"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(top, unix.MNT_DETACH)
	id := create(t, m, Options{Name: "web", Mounts: []Mount{{Type: MountVolume, Target: "/data"}}})
	if err := os.WriteFile(filepath.Join(m.durableDir(id), "log"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ { // to the last inode
		if err := os.WriteFile(filepath.Join(top, fmt.Sprintf("fill%d", i)), make([]byte, 1<<16), 0o600); errors.Is(err, unix.ENOSPC) && i > 200 {
			break
		} else if err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	if err := m.Remove(t.Context(), "web", true, true); err != nil {
		t.Fatal(err)
	}
	checkEmpty(t, m)
}

// A container whose config was damaged is shown, hides no other, and can be
// removed with all that it has.
func TestDamagedConfig(t *testing.T) {
	m := manager(t)
	create(t, m, Options{Name: "good"})
	bad := create(t, m, Options{Name: "bad"})
	if err := os.WriteFile(m.durableConfig(bad), []byte(`{"id":`), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := m.List(t.Context(), true)
	if err != nil || len(list) != 2 {
		t.Fatalf("got %+v, %v", list, err)
	}
	for _, s := range list {
		if (s.ID == bad) != (s.State == Dead) {
			t.Errorf("got %+v", s)
		}
	}
	if _, err := m.InUse(); err == nil {
		t.Error("what it claims was taken for nothing")
	}
	for _, name := range []string{"bad", "good"} {
		if err := m.Remove(t.Context(), name, false, true); err != nil {
			t.Error(err)
		}
	}
	checkEmpty(t, m)
}

// A claim whose run directory somebody else has removed, and made anew for
// themselves, leaves theirs alone.
func TestReleaseOfALostClaim(t *testing.T) {
	m := manager(t)
	id := randomid.New()
	old, err := m.claim(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(m.runDir(id)); err != nil {
		t.Fatal(err)
	}
	theirs, err := m.claim(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.release(); err != nil {
		t.Fatal(err)
	}
	if !m.alive(id) {
		t.Error("their claim is gone")
	}
	if err := theirs.release(); err != nil {
		t.Fatal(err)
	}
	checkEmpty(t, m)
}
