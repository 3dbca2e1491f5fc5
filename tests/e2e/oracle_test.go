package e2e

import (
	"strings"
	"testing"

	"minict/tests/leaks"
)

// The oracle that every test ends with has to see a container when there is
// one, or its silence says nothing.
func TestTheOracleSeesARunningContainer(t *testing.T) {
	h := newHarness(t)
	rootfs := h.rootfs()
	before, err := leaks.Take(h.Dirs)
	h.must(err)
	h.ok("run", "-d", "--name", "web", "--rootfs", rootfs, "--", "sleep", "1000")
	found, err := before.Since(0)
	h.must(err)
	for _, want := range []string{"process ", "(sleep)", "cgroup ", "file " + h.Root, "file " + h.State} {
		if !strings.Contains(strings.Join(found, "\n"), want) {
			t.Errorf("a container runs, and there is no %q in\n  %s", want, strings.Join(found, "\n  "))
		}
	}
	for _, line := range found {
		if strings.HasPrefix(line, "mount ") {
			t.Errorf("a running container shows in the host's table of mounts: %s", line)
		}
	}
	h.ok("rm", "-f", "web")
}
