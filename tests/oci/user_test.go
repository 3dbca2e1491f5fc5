package oci

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// An ordinary user's containers are his own: he is root in them.
func TestOrdinaryUser(t *testing.T) {
	h := newHarness(t)
	const uid = 1000
	for dir := h.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		h.must(os.Chmod(dir, 0o755))
	}
	h.must(os.Chmod(filepath.Dir(shared.rootfs), 0o755))
	run := filepath.Join(h.dir, "run")
	h.must(os.Mkdir(run, 0o700))
	h.must(os.Chown(run, uid, uid))
	user := func(args ...string) result {
		cmd := exec.Command(shared.runtime, args...)
		cmd.Env, cmd.Dir = []string{"PATH=/usr/bin:/bin", "XDG_RUNTIME_DIR=" + run}, run
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return h.finish(cmd)
	}
	ok := func(stdout string, args ...string) {
		t.Helper()
		if r := user(args...); r.code != 0 || r.stdout != stdout || r.stderr != "" {
			t.Fatalf("want %q: %v", stdout, r)
		}
	}
	ok("", "spec", "--rootless")
	config := filepath.Join(run, "config.json")
	data, err := os.ReadFile(config)
	h.must(err)
	var s specs.Spec
	h.must(json.Unmarshal(data, &s))
	s.Root.Path, s.Process.Terminal, s.Process.Args = shared.rootfs, false, []string{"sh", "-c", "id -u; cat /proc/self/uid_map"}
	write := func() {
		t.Helper()
		data, err := json.Marshal(s)
		h.must(err)
		h.must(os.WriteFile(config, data, 0o644))
	}
	write()
	if r := user("run", "c"); r.code != 0 || strings.Join(strings.Fields(r.stdout), " ") != "0 0 1000 1" {
		t.Fatal(r)
	}
	limit := int64(10)
	s.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}
	s.Process.Args = []string{"echo", "unlimited"}
	write()
	h.failed(user("run", "c"), 1, []string{"linux.resources", "--rootless=true"})
	ok("unlimited\n", "--rootless", "true", "run", "c")
	s.Process.Args, s.Linux.Resources = []string{"sleep", "1000"}, nil
	write()
	ok("", "run", "--detach", "c")
	ok("0\n", "exec", "c", "id", "-u")
	ok("c\n", "list", "-q")
	var pids []int
	r := user("ps", "--format", "json", "c")
	if err := json.Unmarshal([]byte(r.stdout), &pids); err != nil || len(pids) != 1 {
		t.Error(r)
	}
	ok("", "kill", "--all", "c", "KILL")
	h.ended(pids[0])
	ok("", "delete", "c")
	// Root in a user namespace, as an engine of the user's is, has no more.
	s.Linux.Namespaces, s.Linux.UIDMappings, s.Linux.GIDMappings = s.Linux.Namespaces[:4], nil, nil
	s.Mounts = s.Mounts[:len(s.Mounts)-1] // cgroups can't be mounted by whom they don't belong to
	s.Process.Args = []string{"cat", "/proc/self/uid_map"}
	write()
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", shared.runtime, "run", "d")
	cmd.Env, cmd.Dir = []string{"PATH=/usr/bin:/bin", "XDG_RUNTIME_DIR=" + run}, run
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if r := h.finish(cmd); r.code != 0 || strings.Join(strings.Fields(r.stdout), " ") != "0 1000 1" {
		t.Error(r)
	}
	if info, err := os.Stat(filepath.Join(run, "minict-oci")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}
