package engines

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// ctr is containerd with its bare command line, which knows a runtime's words
// and nothing above them.
func ctr(t *testing.T) (e *engine, run []string) {
	t.Helper()
	dir := t.TempDir()
	socket, config := filepath.Join(dir, "containerd.sock"), filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	e = &engine{name: "ctr", env: environment(), argv: []string{"/usr/bin/ctr", "-a", socket}}
	ready := func() error {
		_, code, err := e.run("version")
		if err == nil && code != 0 {
			err = fmt.Errorf("ctr version: exit code %d", code)
		}
		return err
	}
	daemon(t, environment(), ready, "/usr/bin/containerd", "--config", config)
	e.ok(t, "image", "import", archive(t))
	return e, []string{"run", "--runc-binary", runtime(t), "--runc-root", filepath.Join(dir, "runtime")}
}

func TestContainerd(t *testing.T) {
	e, run := ctr(t)
	start := func(t *testing.T, id string, command ...string) {
		t.Helper()
		e.ok(t, append(append(run[:len(run):len(run)], "-d", imageName, id), command...)...)
		t.Cleanup(func() {
			e.ok(t, "task", "rm", "-f", id)
			e.ok(t, "container", "rm", id)
		})
	}
	rm := func(options []string, id string, command ...string) []string {
		args := append(append(run[:len(run):len(run)], "--rm"), options...)
		return append(append(args, imageName, id), command...)
	}
	status := func(id string) string {
		for line := range strings.Lines(e.ok(t, "task", "ls")) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == id {
				return f[2]
			}
		}
		return "none"
	}
	t.Run("hello", func(t *testing.T) {
		if out := e.ok(t, rm(nil, "hello", "echo", "hello")...); out != "hello" {
			t.Errorf("got %q", out)
		}
		e.exits(t, 42, rm(nil, "code", "sh", "-c", "exit 42")...)
	})
	t.Run("terminal", func(t *testing.T) {
		x := e.onTerminal(rm([]string{"-t"}, "terminal", "sh", "-c", "tty; echo one two three | tr ' ' '\\n' | wc -l")...)
		if out := plain(x.ok(t)); !strings.Contains(out, "/dev/") || !strings.HasSuffix(out, "\n3") {
			t.Errorf("got %q", out)
		}
	})
	t.Run("memory limit", func(t *testing.T) {
		e.exits(t, 137, rm([]string{"--memory-limit", "33554432"}, "hungry", "sh", "-c", "x=$(tail -c 300000000 /dev/zero)")...)
	})
	t.Run("exec, pause, kill", func(t *testing.T) {
		start(t, "box", "sleep", "1000")
		if out := e.ok(t, "task", "exec", "--exec-id", "one", "box", "echo", "inside"); out != "inside" {
			t.Errorf("got %q", out)
		}
		e.exits(t, 3, "task", "exec", "--exec-id", "two", "box", "sh", "-c", "exit 3")
		if out := e.ok(t, "task", "metrics", "box"); !strings.Contains(out, "memory") {
			t.Errorf("metrics: %q", out)
		}
		if out := e.ok(t, "task", "ps", "box"); len(strings.Split(out, "\n")) != 2 {
			t.Errorf("ps: %q", out)
		}
		e.ok(t, "task", "pause", "box")
		if got := status("box"); got != "PAUSED" {
			t.Errorf("status %s", got)
		}
		e.ok(t, "task", "resume", "box")
		e.ok(t, "task", "kill", "-s", "KILL", "box")
	})
	t.Run("twenty at once", func(t *testing.T) {
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				out, code, err := e.run(rm(nil, fmt.Sprint("many-", i), "echo", fmt.Sprint("number ", i))...)
				if err != nil || code != 0 || strings.TrimSpace(out) != fmt.Sprint("number ", i) {
					t.Errorf("number %d: %q, %d, %v", i, out, code, err)
				}
			})
		}
		all.Wait()
	})
	nothingLeft(t, "default")
}
