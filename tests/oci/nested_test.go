package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A container's init may hand the controllers of its cgroup down, as systemd
// does. Then nobody may be in that cgroup itself, and what is executed goes
// where the first process is.
func TestExecBesideASystemd(t *testing.T) {
	h := newHarness(t)
	top := unified(t)
	parent := fmt.Sprintf("/minict-nested-%d", os.Getpid())
	t.Cleanup(func() {
		groups, _ := filepath.Glob("/sys/fs/cgroup/*" + parent)
		for _, group := range append(groups, "/sys/fs/cgroup"+parent) {
			if err := os.Remove(group); err != nil && !os.IsNotExist(err) {
				t.Error(err)
			}
		}
	})
	h.sleeper("c", func(s *specs.Spec) { s.Linux.CgroupsPath = parent + "/c" })
	group := top + parent + "/c"
	h.must(os.Mkdir(group+"/init.scope", 0o755))
	pid := h.state("c").Pid
	h.write(group+"/init.scope/cgroup.procs", fmt.Sprint(pid))
	controllers, err := os.ReadFile(top + "/cgroup.controllers")
	h.must(err)
	first := strings.Fields(string(controllers))[0]
	for _, dir := range []string{top, top + parent, group} {
		h.write(dir+"/cgroup.subtree_control", "+"+first)
	}
	if out := h.ok("exec", "c", "cat", "/proc/self/cgroup"); !strings.Contains(out, "0::/init.scope\n") {
		t.Errorf("got %q", out)
	}
	h.ok("kill", "c", "KILL")
	h.ended(pid)
}

// unified gives the mount point of cgroup v2.
func unified(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	t.Fatal("cgroup v2 is not mounted")
	return ""
}

func (h *harness) write(name, value string) {
	h.t.Helper()
	h.must(os.WriteFile(name, []byte(value), 0))
}
