package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// resctrl is a directory with the files that the kernel would have in a
// resctrl filesystem, and groups in it.
func resctrl(t *testing.T, groups ...string) string {
	t.Helper()
	mount := t.TempDir()
	for _, g := range append(groups, "") {
		for file, text := range map[string]string{"tasks": "", "schemata": "    MB:0=100;1=100\n    L3:0=7ff;1=01f\n", "mon_groups/box/tasks": ""} {
			name := filepath.Join(mount, g, file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(filepath.Join(mount, g, "mon_groups/box")); err != nil {
			t.Fatal(err)
		}
	}
	return mount
}

func TestResctrl(t *testing.T) {
	for name, tt := range map[string]struct {
		rdt    specs.LinuxIntelRdt
		tasks  string // the file that has the process, or …
		failed string // … what is wrong
	}{
		"a group that is there":    {specs.LinuxIntelRdt{ClosID: "gold"}, "gold/tasks", ""},
		"one that is not":          {specs.LinuxIntelRdt{ClosID: "silver"}, "", "silver/schemata: no such file"},
		"the root":                 {specs.LinuxIntelRdt{ClosID: "/"}, "tasks", ""},
		"as it is":                 {specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "L3:0=7FF;1=1f", MemBwSchema: "MB:1=100"}, "gold/tasks", ""},
		"other cache":              {specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "L3:0=7f"}, "", "L3:0=7ff, not 7f"},
		"other bandwidth":          {specs.LinuxIntelRdt{ClosID: "gold", MemBwSchema: "MB:0=70"}, "", "MB:0=100, not 70"},
		"its own, left by another": {specs.LinuxIntelRdt{L3CacheSchema: "L3:0=1"}, "box/tasks", ""},
	} {
		mount := resctrl(t, "gold", "box")
		err := joinResctrl(mount, &tt.rdt, "box", 42)
		if tt.failed != "" {
			if err == nil || !strings.Contains(err.Error(), tt.failed) {
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		if raw, _ := os.ReadFile(filepath.Join(mount, tt.tasks)); err != nil || string(raw) != "42" {
			t.Errorf("%s: %q, %v", name, raw, err)
		}
	}
}

func TestResctrlSchemata(t *testing.T) {
	mount := resctrl(t, "gold", "box")
	rdt := &specs.LinuxIntelRdt{L3CacheSchema: "L3:0=f", MemBwSchema: "MB:0=70", Schemata: []string{"L2:0=1", "L2:1=3"}}
	if err := os.Truncate(filepath.Join(mount, "box/schemata"), 0); err != nil {
		t.Fatal(err)
	}
	err := joinResctrl(mount, rdt, "box", 42)
	raw, _ := os.ReadFile(filepath.Join(mount, "box/schemata"))
	if want := "L3:0=f\nMB:0=70\nL2:0=1\nL2:1=3\n"; err != nil || string(raw) != want {
		t.Errorf("got %q, %v, want %q", raw, err, want)
	}
}

// What is made for a container goes with it, and nothing else.
func TestLeaveResctrl(t *testing.T) {
	mount := t.TempDir()
	for _, dir := range []string{"gold/mon_groups/box", "box"} {
		if err := os.MkdirAll(filepath.Join(mount, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for _, rdt := range []*specs.LinuxIntelRdt{{}, {ClosID: "gold", EnableMonitoring: true}} {
			if err := leaveResctrl(mount, rdt, "box"); err != nil {
				t.Error(err)
			}
		}
	}
	left, _ := filepath.Glob(filepath.Join(mount, "*/*"))
	if _, err := os.Stat(filepath.Join(mount, "box")); err == nil || len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// This machine has no such processor, and says so.
func TestWithoutResctrl(t *testing.T) {
	if _, err := resctrlMount(); err == nil {
		return // it has
	}
	if err := JoinResctrl(&specs.LinuxIntelRdt{}, "box", 1); !errors.Is(err, errNoResctrl) {
		t.Errorf("got %v", err)
	}
	if err := LeaveResctrl(&specs.LinuxIntelRdt{}, "box"); err != nil {
		t.Errorf("where there is nothing to leave: %v", err)
	}
	if err := errors.Join(JoinResctrl(nil, "box", 1), LeaveResctrl(nil, "box")); err != nil {
		t.Errorf("without the field: %v", err)
	}
}
