package e2e

import (
	"regexp"
	"strings"
	"testing"

	"minict/tests/fixture"
)

// The main job as the first five minutes have it, on Debian's own registry.
func TestMainJob(t *testing.T) {
	h := newHarness(t)
	registry, err := fixture.StartDockerRegistry(registryAt, t.TempDir())
	h.must(err)
	defer registry.Close()
	h.must(registry.Push("alpine:3.20", shared.image))
	ref := registry.Ref("alpine:3.20")

	if r := h.run("pull", ref); r.code != 0 {
		t.Fatal(r)
	}
	h.table([]string{
		`REPOSITORY +TAG +IMAGE ID +CREATED +SIZE`,
		`127\.0\.0\.1:5000/alpine +3\.20 +[0-9a-f]{12} +\d+ \w+ ago +\d[.\d]*[kM]B`,
	}, "images")

	h.prints("hello\n", "run", "--rm", ref, "--", "/bin/echo", "hello")
	h.prints("hello\n", "run", "--rm", ref, "/bin/echo", "hello")
	h.prints("fixture 1\n", "run", "--rm", ref, "cat", "/etc/release")

	id := strings.TrimSpace(h.ok("run", "-d", "--name", "web", ref, "--", "sleep", "1000"))
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(id) {
		t.Errorf("run -d prints %q, want a full id", id)
	}
	columns := `CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES`
	h.table([]string{columns,
		id[:12] + ` +127\.0\.0\.1:5000/alpine:3\.20 +"sleep 1000" +.* ago +Up .* +web`}, "ps")
	if got := h.inspect("web"); got.ID != id || got.Name != "/web" || !got.State.Running || got.State.Status != "running" || got.State.Pid == 0 {
		t.Errorf("inspect %+v", got)
	}
	if got := h.inspect(id[:12]); got.ID != id {
		t.Errorf("inspect by the short id: %+v", got)
	}
	h.prints("", "logs", "web")
	processes := h.ok("exec", "web", "--", "ps", "-o", "pid,args")
	if got := strings.Join(strings.Fields(processes), " "); !strings.HasPrefix(got, "PID COMMAND 1 sleep 1000 ") {
		t.Errorf("exec ps shows %q", got)
	}
	h.fails(1, []string{"web"}, "rm", "web")        // it runs
	h.fails(1, []string{"alpine:3.20"}, "rmi", ref) // a container uses it

	h.prints("web\n", "stop", "-t", "0", "web")
	h.table([]string{columns}, "ps")
	h.table([]string{columns,
		id[:12] + ` +127\.0\.0\.1:5000/alpine:3\.20 +"sleep 1000" +.* ago +Exited \(137\) .*ago +web`}, "ps", "-a")
	if got := h.inspect("web").State; got.Running || got.Status != "exited" || got.ExitCode != 137 || got.Pid != 0 {
		t.Errorf("state after stop: %+v", got)
	}
	h.prints("web\n", "rm", "web")
	h.table([]string{columns}, "ps", "-a")
	if got := h.ok("rmi", ref); !strings.Contains(got, "Untagged: "+ref+"\n") || !strings.Contains(got, "Deleted: sha256:") {
		t.Errorf("rmi prints %q", got)
	}
	h.table([]string{`REPOSITORY +TAG +IMAGE ID +CREATED +SIZE`}, "images")
	h.fails(1, []string{"web"}, "inspect", "web")
}

// table runs minict and matches its output line by line.
func (h *harness) table(lines []string, args ...string) {
	h.t.Helper()
	out := h.ok(args...)
	got := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(got) != len(lines) {
		h.t.Fatalf("minict %s: %d lines, want %d:\n%s", strings.Join(args, " "), len(got), len(lines), out)
	}
	for i, pattern := range lines {
		if !regexp.MustCompile(`^` + pattern + ` *$`).MatchString(got[i]) {
			h.t.Errorf("minict %s: line %q does not match %s", strings.Join(args, " "), got[i], pattern)
		}
	}
}

func TestLogsKeepWhatADetachedContainerSays(t *testing.T) {
	h := newHarness(t)
	h.ok("run", "-d", "--name", "talk", "--rootfs", h.rootfs(), "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
	h.prints("3\n", "wait", "talk")
	r := h.run("logs", "talk")
	if r.code != 0 || r.stdout != "out\n" || r.stderr != "err\n" {
		t.Error(r)
	}
	h.ok("rm", "talk")
}

func TestExecTellsTheCommandsOwnCode(t *testing.T) {
	h := newHarness(t)
	h.ok("run", "-d", "--name", "web", "--rootfs", h.rootfs(), "--", "sleep", "1000")
	for code, args := range map[int][]string{
		0:   {"true"},
		5:   {"/bin/sh", "-c", "exit 5"},
		143: {"/bin/sh", "-c", "kill -TERM $$"},
		127: {"/bin/missing"},
		126: {"/bin/notexecutable"},
	} {
		if r := h.run(append([]string{"exec", "web", "--"}, args...)...); r.code != code {
			t.Errorf("want exit code %d: %v", code, r)
		}
	}
	if r := h.runWith("from outside\n", "exec", "-i", "web", "cat"); r.stdout != "from outside\n" || r.code != 0 {
		t.Error(r)
	}
	h.ok("rm", "-f", "web")
	h.fails(1, []string{"web"}, "exec", "web", "true")
}
