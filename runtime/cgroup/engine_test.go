package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/launch"
	"minict/runtime/plan"
)

// carryOut makes a group for an engine, and says what went wrong. The group is
// removed when the test ends.
func carryOut(t *testing.T, l Layout, path string, r *specs.LinuxResources) error {
	t.Helper()
	var b plan.Builder
	if _, err := l.Plan(&b, path, r, Options{Optional: Devices, Engine: true}); err != nil {
		t.Fatal(err)
	}
	p := b.Plan(0, plan.NoSlot)
	prog, err := launch.New(p.Ready(), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := prog.Run(plan.Undo); err != nil {
			t.Error(err)
		}
		prog.Close()
	})
	return describe(p, prog.Run(plan.Host))
}

func TestEngineFindsTheGroupEverywhere(t *testing.T) {
	everywhere(t, 0, func(t *testing.T, l Layout) {
		path := testPath(t, l)
		if err := carryOut(t, l, path, nil); err != nil {
			t.Fatal(err)
		}
		for _, m := range l.mounts() {
			if _, err := os.Stat(m.mount + path); err != nil {
				t.Error(err)
			}
		}
	})
}

// premade makes the groups that an engine would hand over.
func premade(t *testing.T, l Layout, path string) {
	t.Helper()
	for _, m := range l.mounts() {
		if err := os.MkdirAll(m.mount+path, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(m.mount + path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		})
	}
}

func TestEngineMayHaveMadeTheGroup(t *testing.T) {
	everywhere(t, 0, func(t *testing.T, l Layout) {
		path := testPath(t, l)
		premade(t, l, path)
		t.Run("use", func(t *testing.T) {
			if err := carryOut(t, l, path, nil); err != nil {
				t.Fatal(err)
			}
		})
		for _, m := range l.mounts() {
			if _, err := os.Stat(m.mount + path); err != nil {
				t.Errorf("another's group was removed: %v", err)
			}
		}
	})
}

func TestEngineGetsNoGroupWithProcesses(t *testing.T) {
	everywhere(t, 0, func(t *testing.T, l Layout) {
		x := start(t, l, nil, "wait").ready()
		if err := carryOut(t, l, x.path, nil); !errors.Is(err, unix.EBUSY) {
			t.Errorf("got %v", err)
		}
		if pids, err := x.Processes(); err != nil || len(pids) != 1 {
			t.Errorf("the first is no longer whole: %v, %v", pids, err)
		}
	})
}

func TestEngineGetsNoFrozenGroup(t *testing.T) {
	everywhere(t, Freezer, func(t *testing.T, l Layout) {
		path := testPath(t, l)
		premade(t, l, path)
		c, err := Open(l, path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Freeze(soon(t)); err != nil {
			t.Fatal(err)
		}
		if err := carryOut(t, l, path, nil); !errors.Is(err, unix.EBUSY) {
			t.Errorf("got %v", err)
		}
	})
}

// Below a threaded group there are only threaded ones.
func TestEngineBelowAThreadedGroup(t *testing.T) {
	l, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	l.V1, l.Available = nil, 0
	path := testPath(t, l)
	above := l.Unified + filepath.Dir(path)
	if err := os.Mkdir(above, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(above+"/cgroup.type", []byte("threaded"), 0); err != nil {
		t.Fatal(err)
	}
	if err := carryOut(t, l, path, nil); err != nil {
		t.Fatal(err)
	}
	if kind, err := os.ReadFile(l.Unified + path + "/cgroup.type"); err != nil || string(kind) != "threaded\n" {
		t.Errorf("type %q, %v", kind, err)
	}
}

func TestEngineFilter(t *testing.T) {
	deny := specs.LinuxDeviceCgroup{Access: "rwm"}
	allow := specs.LinuxDeviceCgroup{Allow: true, Access: "rwm"}
	fuse := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: ptr(int64(10)), Minor: ptr(int64(229)), Access: "rw"}
	noZero := specs.LinuxDeviceCgroup{Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(5)), Access: "w"}
	one := func(major, minor int64) rule { return rule{kind: 'c', major: major, minor: minor} }
	tests := []struct {
		name             string
		list             []specs.LinuxDeviceCgroup
		null, zero, fuse uint8
	}{
		{"no rules", nil, accessAll, accessAll, accessMknod},
		{"nothing", []specs.LinuxDeviceCgroup{deny}, accessAll, accessAll, accessMknod},
		{"everything", []specs.LinuxDeviceCgroup{allow}, accessAll, accessAll, accessAll},
		{"one more", []specs.LinuxDeviceCgroup{deny, fuse}, accessAll, accessAll, accessAll},
		{"one less", []specs.LinuxDeviceCgroup{deny, noZero}, accessAll, accessMknod, accessMknod},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := pure.deviceFilter(&specs.LinuxResources{Devices: tt.list}, Options{Engine: true})
			if err != nil {
				t.Fatal(err)
			}
			got := [3]uint8{f.verdict(one(1, 3)), f.verdict(one(1, 5)), f.verdict(one(10, 229))}
			if want := [3]uint8{tt.null, tt.zero, tt.fuse}; !reflect.DeepEqual(got, want) {
				t.Errorf("null, zero and fuse have %v, want %v", got, want)
			}
			if _, err := legacy.deviceFilter(&specs.LinuxResources{Devices: tt.list}, Options{Engine: true}); err != nil {
				t.Errorf("version 1: %v", err)
			}
		})
	}
}

func TestEnterBelow(t *testing.T) {
	everywhere(t, Memory|Pids, func(t *testing.T, l Layout) {
		x := start(t, l, nil, "wait").ready()
		for _, d := range x.dirs {
			if err := os.MkdirAll(d.mount+x.path+"/a/b", 0o755); err != nil {
				t.Fatal(err)
			}
		}
		places := func(below ...string) string {
			inner, err := l.below(x.path, below)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(inner[x.dirs[0].mount])
		}
		if got := places("a/b"); got != "/a/b" {
			t.Errorf("got %q", got)
		}
		if got := places("/"); got != "" {
			t.Errorf("got %q", got)
		}
		for _, bad := range []string{"../x", "a/../../x", "nothing:a", "memory:../x"} {
			var b plan.Builder
			if _, err := l.Enter(&b, x.path, bad); !errors.Is(err, ErrPath) {
				t.Errorf("%q: %v", bad, err)
			}
		}
	})
}

// systemd makes the group with a process in it, in one hierarchy.
func TestAdopt(t *testing.T) {
	everywhere(t, Pids|Freezer, func(t *testing.T, l Layout) {
		one := l
		one.V1 = nil
		for _, h := range l.V1 {
			if l.Unified == "" && h.Controllers&Freezer != 0 {
				one.V1 = []Hierarchy{h}
			}
		}
		x, err := tryStart(t, one, testPath(t, l), nil, "fork", "2")
		if err != nil {
			t.Fatal(err)
		}
		x.ready()
		c, err := Open(l, x.path)
		if err != nil {
			t.Fatal(err)
		}
		x.Close()
		x.Cgroup, x.layout = c, l
		r := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(55))}}
		if err := c.Adopt(r, Options{Engine: true, Optional: Devices}); err != nil {
			t.Fatal(err)
		}
		x.expect(Pids, "pids.max", "55", "pids.max", "55")
		for _, m := range l.mounts() {
			d := dir{m, nil}
			if d.f, err = openGroup(m.mount, x.path); err != nil {
				t.Fatal(err)
			}
			pids, err := d.procs(d.f)
			d.f.Close()
			if err != nil || len(pids) != 3 {
				t.Errorf("%s has %v, %v", m.mount, pids, err)
			}
		}
	})
}
