package runtime

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"minict/runtime/cgroup"
	"minict/runtime/launch"
)

// The root of a user namespace manages the cgroups below its own, where it sees
// them and may write.
func TestCgroupIsDelegated(t *testing.T) {
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	host.Cgroup.V1 = nil // as on a machine that has version 2 alone
	spec := ordinary(bundle(t), `cd /sys/fs/cgroup; stat -c %u . cgroup.procs cgroup.subtree_control; mkdir below && echo $$ >below/cgroup.procs && cat /proc/self/cgroup | grep ^0
		touch pids.max 2>/dev/null || touch cgroup.max.depth 2>/dev/null || echo not the limits; echo $$ >cgroup.procs; rmdir below`)
	ownUsers(t)(spec)
	spec.Linux.CgroupsPath = fmt.Sprintf("/minict/runtime-delegate-test-%d", os.Getpid())
	spec.Mounts = slices.DeleteFunc(spec.Mounts, func(m specs.Mount) bool { return m.Type == "cgroup" })
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup"})
	spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/true"}}} // for the pause
	p, err := Compile(spec, host, Options{Optional: cgroup.Memory | cgroup.Pids})
	if err != nil {
		t.Fatal(err)
	}
	r, err := launchPaused(t, p, nil, func(number uint32, c *launch.Child) error {
		if number != PauseCreateRuntime {
			return Prepare(spec, c.Pid)
		}
		uid, ok := CgroupOwner(spec)
		if !ok {
			t.Error("it is nobody's")
		}
		return host.Cgroup.Delegate(spec.Linux.CgroupsPath, uid)
	})
	want := "0\n0\n0\n0::/below\nnot the limits\n"
	if err != nil || r.stdout != want {
		t.Errorf("got %q %q, %v, want %q", r.stdout, r.stderr, err, want)
	}
}

func TestCgroupOwner(t *testing.T) {
	tests := map[string]struct {
		change func(*specs.Spec)
		uid    int
		ok     bool
	}{
		"root":          {func(*specs.Spec) {}, 0, true},
		"user":          {func(s *specs.Spec) { s.Process.User.UID = 7 }, 7, true},
		"mapped user":   {func(s *specs.Spec) { mapUsers(s); s.Process.User.UID = 7 }, firstID + 7, true},
		"unknown users": {func(s *specs.Spec) { joining(1, specs.UserNamespace)(s) }, 0, false},
		"read-only":     {func(s *specs.Spec) { s.Mounts[4].Options = []string{"ro"} }, 0, false},
		"not its own":   {without(specs.CgroupNamespace), 0, false},
		"joined":        {joining(1, specs.CgroupNamespace), 0, false},
		"not seen":      {func(s *specs.Spec) { s.Mounts = s.Mounts[:3] }, 0, false},
	}
	for name, tt := range tests {
		spec := ordinary("/rootfs", "true")
		spec.Mounts[4].Options = nil // of /sys/fs/cgroup
		tt.change(spec)
		uid, ok := CgroupOwner(spec)
		if ok != tt.ok || ok && uid != tt.uid {
			t.Errorf("%s: got %d, %v, want %d, %v", name, uid, ok, tt.uid, tt.ok)
		}
	}
}
