package engines

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// scenario is what people do with docker and podman, whose words are the same.
func scenario(t *testing.T, e *engine) {
	t.Run("hello", e.hello)
	t.Run("exit code", e.exitCode)
	t.Run("terminal", e.terminal)
	t.Run("memory limit", e.memoryLimit)
	t.Run("exec", e.exec)
	t.Run("stop", e.stop)
	t.Run("pause", e.pause)
	t.Run("update", e.update)
	t.Run("twenty at once", e.twenty)
}

// start runs a container in the background that is removed with the test.
func (e *engine) start(t *testing.T, options []string, command ...string) (id string) {
	t.Helper()
	args := append([]string{"run", "-d"}, e.create...)
	args = append(append(args, options...), imageName)
	id = e.ok(t, append(args, command...)...)
	t.Cleanup(func() { e.ok(t, append(e.remove, id)...) })
	return id
}

// rm runs a container that is removed when it ends.
func (e *engine) rm(options []string, command ...string) []string {
	args := append([]string{"run", "--rm"}, e.create...)
	args = append(append(args, options...), imageName)
	return append(args, command...)
}

func (e *engine) hello(t *testing.T) {
	if out := e.ok(t, e.rm(nil, "echo", "hello")...); out != "hello" {
		t.Errorf("got %q", out)
	}
}

func (e *engine) exitCode(t *testing.T) {
	e.exits(t, 42, e.rm(nil, "sh", "-c", "exit 42")...)
	e.exits(t, 127, e.rm(nil, "nothing-of-this-name")...)
}

// size prints the terminal's, once it has one: Docker sets it when the program
// runs already.
const size = `until [ "$(stty size 2>/dev/null)" ]; do sleep 0.05; done; stty size`

// plain takes out what terminals add: carriage returns, and script's own ^@.
func plain(s string) string { return strings.NewReplacer("\r", "", "^@", "", "\b", "").Replace(s) }

func (e *engine) terminal(t *testing.T) {
	x := e.onTerminal(e.rm([]string{"-i", "-t"}, "sh", "-c", "tty; echo one two three | tr ' ' '\\n' | wc -l; "+size)...)
	out := plain(x.ok(t))
	for _, want := range []string{"/dev/", "\n3\n", "40 100"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %q", want, out)
		}
	}
}

// The kernel kills who wants more than there is, and the engine says so.
func (e *engine) memoryLimit(t *testing.T) {
	id := e.start(t, []string{"-m", "32m"}, "sh", "-c", "x=$(tail -c 300000000 /dev/zero)")
	if code := e.ok(t, "wait", id); code != "137" {
		t.Errorf("exit code %s", code)
	}
	if e.blind {
		return
	}
	if killed := e.ok(t, "inspect", "-f", "{{.State.OOMKilled}}", id); killed != "true" {
		t.Errorf("OOMKilled is %s", killed)
	}
}

func (e *engine) exec(t *testing.T) {
	id := e.start(t, []string{"-e", "WHO=box"}, "sleep", "1000")
	if out := e.ok(t, "exec", id, "sh", "-c", "echo $WHO; id -u"); out != "box\n0" {
		t.Errorf("got %q", out)
	}
	if out := e.ok(t, "exec", "-u", "1000:1000", "-w", "/tmp", id, "sh", "-c", "pwd; id -u"); out != "/tmp\n1000" {
		t.Errorf("got %q", out)
	}
	e.exits(t, 3, "exec", id, "sh", "-c", "exit 3")
	x := e.onTerminal("exec", "-i", "-t", id, "sh", "-c", "tty; "+size)
	if out := x.ok(t); !strings.Contains(out, "/dev/pts/") || !strings.Contains(out, "40 100") {
		t.Errorf("on a terminal: %q", out)
	}
}

func (e *engine) stop(t *testing.T) {
	polite := e.start(t, nil, "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 1; done")
	e.ok(t, "stop", "-t", "20", polite)
	if code := e.ok(t, "inspect", "-f", "{{.State.ExitCode}}", polite); code != "7" {
		t.Errorf("exit code %s", code)
	}
	deaf := e.start(t, nil, "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
	e.ok(t, "stop", "-t", "1", deaf)
	if code := e.ok(t, "inspect", "-f", "{{.State.ExitCode}}", deaf); code != "137" {
		t.Errorf("exit code %s", code)
	}
	e.ok(t, "start", deaf)
	if running := e.ok(t, "inspect", "-f", "{{.State.Running}}", deaf); running != "true" {
		t.Errorf("started again, running is %s", running)
	}
}

func (e *engine) pause(t *testing.T) {
	id := e.start(t, nil, "sleep", "1000")
	e.ok(t, "pause", id)
	if status := e.ok(t, "inspect", "-f", "{{.State.Status}}", id); status != "paused" {
		t.Errorf("status %s", status)
	}
	e.ok(t, "unpause", id)
	if out := e.ok(t, "exec", id, "echo", "awake"); out != "awake" {
		t.Errorf("got %q", out)
	}
}

func (e *engine) update(t *testing.T) {
	id := e.start(t, []string{"-m", "64m"}, "sleep", "1000")
	group := filepath.Join(e.parent, e.prefix+id)
	for _, size := range []int{128, 48} {
		e.ok(t, "update", "-m", fmt.Sprintf("%dm", size), "--memory-swap", fmt.Sprintf("%dm", size), id)
		if got := limit(t, "memory", group, "memory.limit_in_bytes", "memory.max"); got != fmt.Sprint(size<<20) {
			t.Errorf("limit %s, want %d MiB", got, size)
		}
	}
}

func (e *engine) twenty(t *testing.T) {
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			out, code, err := e.run(e.rm(nil, "echo", fmt.Sprint("number ", i))...)
			if err != nil || code != 0 || strings.TrimSpace(out) != fmt.Sprint("number ", i) {
				t.Errorf("number %d: %q, %d, %v", i, out, code, err)
			}
		})
	}
	all.Wait()
}

func TestDocker(t *testing.T) {
	dir := t.TempDir()
	socket := "unix://" + filepath.Join(dir, "docker.sock")
	e := &engine{name: "docker", env: environment("DOCKER_HOST=" + socket), argv: []string{"/usr/bin/docker"},
		create: []string{"--runtime", "minict", "--network", "none"}, remove: []string{"rm", "-f"}, parent: "docker"}
	ready := func() error {
		_, code, err := e.run("version")
		if err == nil && code != 0 {
			err = fmt.Errorf("docker version: exit code %d", code)
		}
		return err
	}
	daemon(t, environment(), ready, "/usr/sbin/dockerd", "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--host", socket, "--iptables=false", "--ip6tables=false", "--bridge=none",
		"--storage-driver", "overlay2", "--add-runtime", "minict="+runtime(t))
	e.ok(t, "import", rootfs(t), imageName)
	scenario(t, e)
	nothingLeft(t, "docker", filepath.Join(dir, "exec/runtime-minict/moby"))
}

func TestPodman(t *testing.T) {
	dir := t.TempDir()
	e := &engine{name: "podman", env: environment(), argv: []string{"/usr/bin/podman",
		"--root", filepath.Join(dir, "graph"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
		"--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", runtime(t)},
		create: []string{"--network", "none", "--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000"},
		remove: []string{"rm", "-f", "-t", "0"}, parent: "libpod_parent", prefix: "libpod-", blind: true}
	e.ok(t, "import", rootfs(t), imageName)
	scenario(t, e)
	nothingLeft(t, "libpod_parent")
}
