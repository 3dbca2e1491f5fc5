package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Every refusal is one line that names the thing, an exit code, and nothing
// left behind (the harness looks).
func TestRefusals(t *testing.T) {
	h := newHarness(t)
	rootfs := h.rootfs()
	file := h.file("file", "no directory\n")
	unknownKey := h.file("unknown-key.yaml", "rootfs: ./rootfs\ncgroup:\n  memory: 128M\n")
	wrongType := h.file("wrong-type.yaml", "rootfs: ./rootfs\ncgroups:\n  cpu_shares: many\n")
	noYAML := h.file("no.yaml", "rootfs: [\n")
	withRootfs := func(args ...string) []string {
		return append(append([]string{"run", "--rm", "--rootfs", rootfs}, args...), "--", "true")
	}
	for _, c := range []struct {
		words []string
		args  []string
	}{
		{[]string{filepath.Join(h.dir, "nowhere")}, []string{"run", "--rootfs", filepath.Join(h.dir, "nowhere"), "--", "true"}},
		{[]string{file, "not a directory"}, []string{"run", "--rootfs", file, "--", "true"}},
		{[]string{"nowhere.yaml"}, []string{"run", "--config", "nowhere.yaml", "--", "true"}},
		{[]string{unknownKey, "cgroup"}, []string{"run", "--config", unknownKey, "--", "true"}},
		{[]string{wrongType + ":3", "many"}, []string{"run", "--config", wrongType, "--", "true"}},
		{[]string{noYAML}, []string{"run", "--config", noYAML, "--", "true"}},
		{[]string{"memory"}, withRootfs("--memory", "1K")},
		{[]string{"-5"}, withRootfs("--memory=-5")},
		{[]string{"10Q"}, withRootfs("--memory", "10Q")},
		{[]string{"FLY"}, withRootfs("--cap-add", "FLY")},
		{[]string{"FLY"}, withRootfs("--cap-drop", "FLY")},
		{[]string{"container:"}, withRootfs("--network", "container:")},
		{[]string{"no port can be published", "none"}, withRootfs("--network", "none", "-p", "80")},
		{[]string{"80:70000"}, withRootfs("-p", "80:70000")},
		{[]string{"10.0.0.256"}, withRootfs("--ip", "10.0.0.256")},
		{[]string{"moon"}, withRootfs("--network", "moon")},
		{[]string{"nobodyhere"}, withRootfs("-u", "nobodyhere")},
		{[]string{"nofile"}, withRootfs("--ulimit", "nofile=lots")},
		{[]string{"bad name"}, withRootfs("--name", "bad name")},
		{[]string{"--no-such-flag"}, withRootfs("--no-such-flag")},
		{[]string{"no-such-profile.json"}, withRootfs("--security-opt", "seccomp=no-such-profile.json")},
		{[]string{"frobnicate"}, []string{"frobnicate"}},
		{[]string{"alpine/UPPER"}, []string{"pull", "alpine/UPPER"}},
		{[]string{"4096"}, withRootfs("--cpuset-cpus", "4096")},
		{[]string{"nobody"}, []string{"inspect", "nobody"}},
		{[]string{"nobody"}, []string{"stop", "nobody"}},
		{[]string{"nobody"}, []string{"kill", "nobody"}},
		{[]string{"nobody"}, []string{"rm", "nobody"}},
		{[]string{"nobody"}, []string{"logs", "nobody"}},
		{[]string{"nobody"}, []string{"exec", "nobody", "true"}},
		{[]string{"nobody"}, []string{"rmi", "nobody"}},
	} {
		h.fails(1, c.words, c.args...)
	}
	if out := h.ok("ps", "-aq"); out != "" {
		t.Errorf("containers of refused commands: %q", out)
	}
}

func TestNameIsTaken(t *testing.T) {
	h := newHarness(t)
	rootfs := h.rootfs()
	h.ok("run", "-d", "--name", "web", "--rootfs", rootfs, "--", "sleep", "1000")
	h.fails(1, []string{"web"}, "run", "-d", "--name", "web", "--rootfs", rootfs, "--", "true")
	h.prints("web\n", "rm", "-f", "web")
	h.prints("", "run", "--rm", "--name", "web", "--rootfs", rootfs, "--", "true")
}

// Until there is a way for them, users without root are told so.
func TestNotRoot(t *testing.T) {
	h := newHarness(t)
	rootfs := h.rootfs()
	// The user has to get at the binary.
	open, err := os.MkdirTemp("/tmp", "minict-test-")
	h.must(err)
	defer os.RemoveAll(open)
	h.must(os.Chmod(open, 0o755))
	program, err := os.ReadFile(shared.binary)
	h.must(err)
	binary := filepath.Join(open, "minict")
	h.must(os.WriteFile(binary, program, 0o755))

	for _, args := range [][]string{{"run", "--rootfs", rootfs, "--", "true"}, {"ps"}, {"pull", "alpine"}} {
		cmd := h.command(args...)
		cmd.Path, cmd.Dir = binary, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		h.failed(h.finish(cmd), 1, []string{"root"})
	}
}
