package oci

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// sleeper starts a container that does nothing.
func (h *harness) sleeper(id string, change ...func(*specs.Spec)) {
	h.t.Helper()
	s := spec("exec sleep 1000")
	for _, f := range change {
		f(s)
	}
	h.prints("", "run", "--detach", "--bundle", h.bundle(s), id)
	h.t.Cleanup(func() { h.stop(id) })
}

func TestExec(t *testing.T) {
	h := newHarness(t)
	h.sleeper("c")
	h.prints("box\n", "exec", "c", "hostname")
	r := h.run("exec", "c", "sh", "-c", "echo out; echo err >&2; exit 7")
	if r.code != 7 || r.stdout != "out\n" || r.stderr != "err\n" {
		t.Error(r)
	}
	if r := h.run("exec", "c", "sh", "-c", "kill -9 $$"); r.code != 128+9 {
		t.Error(r)
	}
	h.prints("/tmp\n", "exec", "--cwd", "/tmp", "c", "pwd")
	h.prints("2 /x\n", "exec", "-e", "A=1", "--env", "A=2", "-e", "HOME=/x", "c", "sh", "-c", "echo $A $HOME")
	h.prints("1000\n1001\n1001 7 8\n", "exec", "--user", "1000:1001", "-g", "7", "--additional-gids", "8", "c", "sh", "-c", "id -u; id -g; id -G")
	h.prints("NoNewPrivs:\t1\n", "exec", "--no-new-privs", "c", "grep", "NoNewPrivs", "/proc/self/status")
	h.prints("CapPrm:\t00000000002020eb\n", "exec", "--cap", "CAP_SYS_ADMIN", "c", "grep", "CapPrm", "/proc/self/status")
	h.prints("CapInh:\t0000000000000000\n", "exec", "--cap", "CAP_SYS_ADMIN", "c", "grep", "CapInh", "/proc/self/status") // CVE-2022-29162
	h.prints("-x\n", "exec", "c", "echo", "-x")                                                                           // a program's flags are its own
	h.fails(255, []string{"executable file not found in $PATH", "missing"}, "exec", "c", "missing")
	h.fails(255, []string{"no such file or directory"}, "exec", "c", "/missing")
	h.fails(255, []string{"permission denied"}, "exec", "c", "/etc")
	h.fails(255, []string{"a program is needed"}, "exec", "c")
}

// Numbers that some would take for others are no users (CVE-2024-40635).
func TestUsersThatAreNone(t *testing.T) {
	h := newHarness(t)
	h.sleeper("c")
	for _, user := range []string{"", "4294967296", "2147483648", "0x0", "+1", "-1", "1:", ":1", "1000:4294967296", "root", " 0"} {
		h.fails(255, []string{"is not an id"}, "exec", "--user="+user, "c", "id")
	}
}

func TestExecProcess(t *testing.T) {
	h := newHarness(t)
	h.sleeper("c")
	p := specs.Process{Args: []string{"sh", "-c", "pwd; id -u; echo $X"}, Env: []string{"PATH=/bin", "X=y"}, Cwd: "/tmp", User: specs.User{UID: 5}}
	data, err := json.Marshal(p)
	h.must(err)
	h.prints("/tmp\n5\ny\n", "exec", "--process", h.file("process.json", string(data)), "c")
	h.fails(255, []string{"process.json"}, "exec", "--process", h.file("process.json", "{"), "c")
	fifo := filepath.Join(h.dir, "fifo")
	h.must(unix.Mkfifo(fifo, 0o600))
	h.fails(255, []string{"not a regular file"}, "exec", "--process", fifo, "c")
}

func TestExecDetached(t *testing.T) {
	h := newHarness(t)
	h.sleeper("c")
	pidFile := filepath.Join(h.dir, "pid")
	h.prints("", "exec", "--detach", "--pid-file", pidFile, "c", "sleep", "1001")
	pid, err := strconv.Atoi(content(pidFile))
	h.must(err)
	if got := content("/proc/" + content(pidFile) + "/comm"); got != "sleep" {
		t.Errorf("process %d is %q", pid, got)
	}
	var pids []int
	h.must(json.Unmarshal([]byte(h.ok("ps", "-f", "json", "c")), &pids))
	if len(pids) != 2 {
		t.Errorf("processes %v", pids)
	}
	h.must(unix.Kill(pid, unix.SIGKILL))
	h.ended(pid)
}

// A created container can be entered too: its namespaces are there.
func TestExecBeforeStart(t *testing.T) {
	h := newHarness(t)
	h.prints("", "create", "--bundle", h.bundle(spec("exec sleep 1000")), "c")
	defer h.stop("c")
	h.prints("box\n", "exec", "c", "hostname")
	h.is("c", "created")
}

// Signals that the command gets, its program gets.
func TestSignalsAreForwarded(t *testing.T) {
	h := newHarness(t)
	h.sleeper("c")
	script := "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
	for name, args := range map[string][]string{
		"exec": {"exec", "c", "sh", "-c", script},
		"run":  {"run", "--bundle", h.bundle(spec(script)), "r"},
	} {
		cmd := h.command(args...)
		out, err := cmd.StdoutPipe()
		h.must(err)
		h.must(cmd.Start())
		buf := make([]byte, 6)
		if _, err := out.Read(buf); err != nil || string(buf) != "ready\n" {
			t.Fatalf("%s: %q, %v", name, buf, err)
		}
		h.must(cmd.Process.Signal(unix.SIGTERM))
		rest := make([]byte, 64)
		n, _ := out.Read(rest)
		cmd.Wait()
		if string(rest[:n]) != "caught\n" || cmd.ProcessState.ExitCode() != 9 {
			t.Errorf("%s: %q, %v", name, rest[:n], cmd.ProcessState)
		}
	}
}

func TestPreservedDescriptors(t *testing.T) {
	h := newHarness(t)
	h.sleeper("c")
	passed := h.file("passed", "text")
	with := func(env []string, args ...string) result {
		t.Helper()
		cmd := h.command(args...)
		cmd.Env = append(cmd.Env, env...)
		for range 2 {
			f, err := os.Open(passed)
			h.must(err)
			defer f.Close()
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
		return h.finish(cmd)
	}
	const show = "cat <&3; cat <&4; ls /proc/self/fd | wc -l; echo $LISTEN_FDS $LISTEN_PID"
	for _, r := range []result{
		with(nil, "run", "--preserve-fds", "2", "--bundle", h.bundle(spec(show)), "r"),
		with(nil, "exec", "--preserve-fds", "2", "c", "sh", "-c", show),
	} {
		if r.code != 0 || r.stdout != "texttext6\n\n" {
			t.Error(r)
		}
	}
	if r := with([]string{"LISTEN_FDS=1"}, "run", "--preserve-fds", "1", "--bundle", h.bundle(spec(show)), "r"); r.stdout != "texttext6\n1 1\n" {
		t.Error(r)
	}
	// Without being asked for, none.
	if r := with(nil, "run", "--bundle", h.bundle(spec("ls /proc/self/fd | wc -l")), "r"); r.stdout != "4\n" {
		t.Error(r)
	}
	h.fails(1, []string{"descriptor 3", "not open"}, "run", "--preserve-fds", "1", "--bundle", h.bundle(spec("true")), "r")
}

// A cgroup below the container's can be chosen, if it is there.
func TestExecCgroup(t *testing.T) {
	h := newHarness(t)
	h.sleeper("c")
	h.fails(255, nil, "exec", "--cgroup", "missing", "c", "true")
	h.fails(255, []string{"cgroup"}, "exec", "--cgroup", "../..", "c", "true")
}

func TestFeatures(t *testing.T) {
	h := newHarness(t)
	var f struct {
		OCIVersionMin, OCIVersionMax string
		Hooks, MountOptions          []string
		Linux                        struct{ Namespaces, Capabilities []string }
	}
	h.must(json.Unmarshal([]byte(h.ok("features")), &f))
	if f.OCIVersionMin != "1.0.0" || f.OCIVersionMax != specs.Version || len(f.Hooks) != 6 || len(f.MountOptions) < 30 || len(f.Linux.Namespaces) < 7 || len(f.Linux.Capabilities) != 41 {
		t.Errorf("%+v", f)
	}
}

// What spec proposes runs.
func TestSpec(t *testing.T) {
	h := newHarness(t)
	dir := filepath.Join(h.dir, "bundle")
	h.must(os.Mkdir(dir, 0o755))
	h.prints("", "spec", "--bundle", dir)
	h.fails(1, []string{"exists"}, "spec", "--bundle", dir)
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	h.must(err)
	var s specs.Spec
	h.must(json.Unmarshal(data, &s))
	if !s.Process.Terminal || s.Process.Args[0] != "sh" || s.Root.Path != "rootfs" {
		t.Errorf("proposal %s", data)
	}
	h.must(os.Symlink(shared.rootfs, filepath.Join(dir, "rootfs")))
	s.Process.Terminal, s.Process.Args = false, []string{"echo", "works"}
	data, err = json.Marshal(s)
	h.must(err)
	h.must(os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644))
	h.prints("works\n", "run", "--bundle", dir, "c")
	cmd := h.command("run", "d") // the current directory is the bundle
	cmd.Dir = dir
	if r := h.finish(cmd); r.stdout != "works\n" {
		t.Error(r)
	}
}

func TestHelpAndVersion(t *testing.T) {
	h := newHarness(t)
	if out := h.ok("--version"); !strings.HasPrefix(out, "minict-oci version ") || !strings.Contains(out, "\nspec: "+specs.Version+"\n") {
		t.Errorf("version %q", out)
	}
	for _, args := range [][]string{{}, {"--help"}, {"help"}} {
		if out := h.ok(args...); !strings.Contains(out, "checkpoint") || !strings.Contains(out, "--systemd-cgroup") {
			t.Errorf("%v prints %q", args, out)
		}
	}
	for _, args := range [][]string{{"exec", "--help"}, {"help", "exec"}} {
		if out := h.ok(args...); !strings.Contains(out, "--preserve-fds") || !strings.Contains(out, "CONTAINER [PROGRAM") {
			t.Errorf("%v prints %q", args, out)
		}
	}
	h.fails(3, []string{"unknown command"}, "fly")
	h.fails(1, []string{"flag", "nonsense"}, "run", "--nonsense", "c")
	h.fails(1, []string{"usage"}, "create")
	h.fails(1, []string{"usage"}, "create", "a", "b")
}
