package runtime

import (
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestWarnings(t *testing.T) {
	spec := ordinary("/", "true")
	spec.Linux.MountLabel = "x"
	kernel, hierarchy := int64(1<<20), false
	spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Kernel: &kernel, UseHierarchy: &hierarchy}}
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/b", Source: "/etc", Options: []string{"bind", "ro", "mode=755"}})
	want := []string{`linux.mountLabel "x": this kernel runs without SELinux`,
		"linux.resources.memory.kernel: Linux ignores it since 5.11", "linux.resources.memory.useHierarchy: it is always on since Linux 5.11",
		`mount /b: a bind mount knows no option "mode=755"`}
	if got := Warnings(spec, Host{LastCap: 40}); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// What was warned of does not keep the container from starting.
func TestStartsInSpiteOfWarnings(t *testing.T) {
	dir := t.TempDir()
	out := must(t, "ls -d /b; grep -c ' /b ' /proc/mounts", func(s *specs.Spec) {
		s.Linux.MountLabel = "x"
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/b", Source: dir, Options: []string{"bind", "ro", "mode=755"}})
	})
	if out != "/b\n1\n" {
		t.Errorf("got %q", out)
	}
}
