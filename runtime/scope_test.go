package runtime

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"minict/runtime/cgroup"
	"minict/runtime/launch"
)

// What systemd would make around the child, the test makes; the child's cgroup
// namespace begins there.
func TestScope(t *testing.T) {
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	spec := ordinary(bundle(t), "cat /proc/self/cgroup")
	spec.Linux.CgroupsPath = fmt.Sprintf("/minict-test-%d.slice", os.Getpid())
	limit := int64(50)
	spec.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}
	p, err := Compile(spec, host, Options{Engine: true, Scope: true})
	if err != nil {
		t.Fatal(err)
	}
	first := host.Cgroup.Unified
	if len(host.Cgroup.V1) > 0 {
		first = host.Cgroup.V1[0].Mount
	}
	t.Cleanup(func() { removeGroup(t, host.Cgroup, spec.Linux.CgroupsPath) })
	var limited string
	r, err := launchPaused(t, p, nil, func(number uint32, child *launch.Child) error {
		if number != PauseCgroup {
			return fmt.Errorf("pause %d", number)
		}
		if err := os.Mkdir(first+spec.Linux.CgroupsPath, 0o755); err != nil {
			return err
		}
		pid := strconv.Itoa(child.Pid)
		if err := os.WriteFile(first+spec.Linux.CgroupsPath+"/cgroup.procs", []byte(pid), 0); err != nil {
			return err
		}
		g, err := cgroup.Open(host.Cgroup, spec.Linux.CgroupsPath)
		if err != nil {
			return err
		}
		defer g.Close()
		if err := g.Adopt(spec.Linux.Resources, cgroup.Options{Engine: true, Optional: cgroup.Devices}); err != nil {
			return err
		}
		s, err := g.Stats()
		limited = fmt.Sprint(s.PidsLimit)
		return err
	})
	if err != nil || r.status != 0 {
		t.Fatalf("%v, status %v: %s", err, r.status, r.stderr)
	}
	if limited != "50" {
		t.Errorf("limited to %s processes", limited)
	}
	for line := range strings.Lines(r.stdout) {
		if !strings.Contains(line, "name=") && !strings.HasSuffix(line, ":/\n") {
			t.Errorf("it sees %q", line)
		}
	}
}

func removeGroup(t *testing.T, l cgroup.Layout, path string) {
	g, err := cgroup.Open(l, path)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := g.Remove(ctx); err != nil {
		t.Error(err)
	}
}
