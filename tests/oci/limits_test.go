package oci

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minict/tests/host"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// limit reads a file of a container's cgroup, by its name on version 1 or 2.
func (h *harness) limit(id, v1, v2 string) string {
	h.t.Helper()
	hierarchies, err := host.Cgroups()
	h.must(err)
	for _, g := range hierarchies {
		name := v1
		if g.Unified {
			name = v2
		}
		if data, err := os.ReadFile(filepath.Join(g.Dir, "minict", id, name)); err == nil {
			return strings.TrimSpace(string(data))
		}
	}
	h.t.Fatalf("%s has neither %s nor %s", id, v1, v2)
	return ""
}

func TestUpdate(t *testing.T) {
	h := newHarness(t)
	h.sleeper("c")
	memory := func() string { return h.limit("c", "memory.limit_in_bytes", "memory.max") }
	pids := func() string { return h.limit("c", "pids.max", "pids.max") }
	h.prints("", "update", "--memory", "67108864", "--pids-limit", "77", "c")
	if memory() != "67108864" || pids() != "77" {
		t.Errorf("memory %s, pids %s", memory(), pids())
	}
	h.prints("", "update", "--memory", "64M", "c") // what is not named stays
	if memory() != "67108864" || pids() != "77" {
		t.Errorf("memory %s, pids %s", memory(), pids())
	}
	h.prints("", "update", "--pids-limit=-1", "c")
	if pids() != "max" {
		t.Errorf("pids %s", pids())
	}
	file := h.file("resources.json", `{"memory":{"limit":134217728},"pids":{"limit":5}}`)
	h.prints("", "update", "--resources", file, "c")
	if memory() != "134217728" || pids() != "5" {
		t.Errorf("memory %s, pids %s", memory(), pids())
	}
	cmd := h.command("update", "-r", "-", "c")
	cmd.Stdin = strings.NewReader(`{"pids":{"limit":6}}`)
	if r := h.finish(cmd); r.code != 0 || pids() != "6" {
		t.Errorf("%v, pids %s", r, pids())
	}
	h.fails(1, []string{"--memory"}, "update", "--memory", "much", "c")
	h.fails(1, []string{"resources"}, "update", "-r", h.file("bad.json", "{"), "c")
	h.fails(1, []string{"does not exist"}, "update", "--memory", "1G", "d")
}

func TestEvents(t *testing.T) {
	h := newHarness(t)
	h.sleeper("c")
	var e struct {
		Type, ID string
		Data     struct {
			CPU struct {
				Usage struct{ Total, Kernel, User uint64 }
			}
			Memory struct {
				Usage struct{ Limit, Usage uint64 }
			}
			Pids struct{ Current uint64 }
		}
	}
	h.must(json.Unmarshal([]byte(h.ok("events", "--stats", "c")), &e))
	if e.Type != "stats" || e.ID != "c" || e.Data.CPU.Usage.Total == 0 || e.Data.Memory.Usage.Usage == 0 || e.Data.Memory.Usage.Limit == 0 || e.Data.Pids.Current != 1 {
		t.Errorf("%+v", e)
	}
	// Without --stats it goes on until the container has stopped.
	h.prints("", "run", "--detach", "--bundle", h.bundle(spec("exec sleep 1000")), "d")
	cmd := h.command("events", "--interval", "10ms", "d")
	out, err := cmd.StdoutPipe()
	h.must(err)
	h.must(cmd.Start())
	lines := bufio.NewScanner(out)
	for range 3 {
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), `{"type":"stats","id":"d","data":{"cpu":`) {
			t.Errorf("line %q", lines.Text())
		}
	}
	h.prints("", "kill", "d", "KILL")
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	h.prints("", "delete", "d")
	h.fails(1, []string{"--interval"}, "events", "--interval", "0s", "c")
}

// Who takes more memory than he may is killed, and that is told.
func TestMemoryLimitKills(t *testing.T) {
	h := newHarness(t)
	s := spec("touch /tmp/ready; read go </tmp/go; tail /dev/zero")
	limit, swap := int64(16<<20), int64(16<<20)
	s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &swap}}
	s.Process.Args[2] = "mkfifo /tmp/go; " + s.Process.Args[2] + "; sleep 1000"
	h.prints("", "run", "--detach", "--bundle", h.bundle(s), "c")
	h.ready("c")
	cmd := h.command("events", "--interval", "10ms", "c")
	out, err := cmd.StdoutPipe()
	h.must(err)
	h.must(cmd.Start())
	lines := bufio.NewScanner(out)
	lines.Scan()
	h.prints("", "exec", "c", "sh", "-c", "echo go >/tmp/go")
	for lines.Scan() && !strings.HasPrefix(lines.Text(), `{"type":"oom"`) {
	}
	if lines.Text() != fmt.Sprintf(`{"type":"oom","id":"%s"}`, "c") {
		t.Errorf("last line %q", lines.Text())
	}
	h.stop("c")
	cmd.Wait()
}
