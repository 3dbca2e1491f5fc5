package oci

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A create that fails leaves nothing, and says why in one line.
func TestCreateFails(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*specs.Spec)
		words  string
	}{
		"no such root":      {func(s *specs.Spec) { s.Root.Path = "/nonexistent" }, "no such file or directory"},
		"no such program":   {func(s *specs.Spec) { s.Process.Args = []string{"missing"} }, "executable file not found in $PATH"},
		"no program at all": {func(s *specs.Spec) { s.Process.Args = nil }, "process.args"},
		"no process":        {func(s *specs.Spec) { s.Process = nil }, "process"},
		"no such mount": {func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Source: "/nonexistent", Type: "bind"})
		}, "/x"},
		"no such filesystem":  {func(s *specs.Spec) { s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Type: "nofs"}) }, "no such device"},
		"foreign version":     {func(s *specs.Spec) { s.Version = "2.0.0" }, "ociVersion"},
		"bad cgroup":          {func(s *specs.Spec) { s.Linux.CgroupsPath = "/a/../../b" }, "cgroup"},
		"terminal, no socket": {func(s *specs.Spec) { s.Process.Terminal = true }, "--console-socket"},
		"bad sysctl":          {func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.core_pattern": "|x"} }, "sysctl"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			s := spec("true")
			c.change(s)
			h.fails(1, []string{c.words}, "create", "--bundle", h.bundle(s), "c")
			h.prints("", "list", "-q")
		})
	}
}

// What only execve can tell, start tells.
func TestStartFails(t *testing.T) {
	h := newHarness(t)
	for program, words := range map[string]string{"/bin/notexecutable": "permission denied", "/etc": "permission denied", "/bin/garbage": "exec format error"} {
		s := spec("")
		s.Process.Args = []string{program}
		h.prints("", "create", "--bundle", h.bundle(s), "c")
		pid := h.state("c").Pid
		h.fails(1, []string{program, words}, "start", "c")
		h.ended(pid)
		h.is("c", "stopped")
		h.prints("", "delete", "c")
		h.fails(1, []string{program, words}, "run", "--bundle", h.bundle(s), "c")
		h.fails(1, []string{program, words}, "run", "--detach", "--bundle", h.bundle(s), "c")
		h.prints("", "list", "-q")
	}
}

// config.json is somebody else's: whatever it is, it is refused in time.
func TestConfigThatIsNone(t *testing.T) {
	h := newHarness(t)
	for name, write := range map[string]func(path string) error{
		"missing":   func(string) error { return nil },
		"empty":     func(p string) error { return os.WriteFile(p, nil, 0o644) },
		"no JSON":   func(p string) error { return os.WriteFile(p, []byte("{"), 0o644) },
		"fifo":      func(p string) error { return unix.Mkfifo(p, 0o644) },
		"device":    func(p string) error { return os.Symlink("/dev/zero", p) },
		"directory": func(p string) error { return os.Mkdir(p, 0o755) },
		"endless": func(p string) error {
			f, err := os.Create(p)
			if err != nil {
				return err
			}
			defer f.Close()
			return f.Truncate(1 << 32)
		},
	} {
		dir := filepath.Join(h.dir, strings.ReplaceAll(name, " ", "-"))
		h.must(os.Mkdir(dir, 0o755))
		h.must(write(filepath.Join(dir, "config.json")))
		begin := time.Now()
		h.fails(1, []string{"config.json"}, "create", "--bundle", dir, "c")
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("%s: took %v", name, d)
		}
	}
}

// What engines read: a line of JSON for each error, whatever is in it.
func TestLog(t *testing.T) {
	h := newHarness(t)
	log := filepath.Join(h.dir, "log")
	h.fails(1, []string{"does not exist"}, "--log", log, "--log-format", "json", "state", "c")
	h.fails(1, []string{"invalid"}, "--log", log, "--log-format=json", "state", "a\nb")
	lines := strings.Split(content(log), "\n")
	if len(lines) != 2 {
		t.Fatalf("log %q", lines)
	}
	for _, line := range lines {
		var l struct {
			Level, Msg string
			Time       time.Time
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Level != "error" || l.Msg == "" || time.Since(l.Time) > time.Minute {
			t.Errorf("%v: %q", err, line)
		}
	}
	r := h.run("--log-format", "json", "state", "c")
	if !strings.HasPrefix(r.stderr, `{"level":"error","msg":"container does not exist","time":"`) {
		t.Error(r)
	}
	text := filepath.Join(h.dir, "text")
	h.fails(1, []string{"does not exist"}, "--log", text, "state", "c")
	if got := content(text); !strings.Contains(got, `level=error msg="container does not exist"`) {
		t.Errorf("log %q", got)
	}
	h.fails(1, []string{"--log-format"}, "--log-format", "xml", "list")
}

func TestSignals(t *testing.T) {
	h := newHarness(t)
	h.fails(1, []string{"unknown signal"}, "kill", "c", "FOO")
	for _, name := range []string{"TERM", "SIGTERM", "term", "15", ""} {
		h.prints("", "run", "--detach", "--bundle", h.bundle(spec("trap 'exit 0' TERM; touch /tmp/ready; while :; do sleep 0.02; done")), "c")
		pid := h.state("c").Pid
		h.ready("c")
		args := []string{"kill", "c", name}
		if name == "" {
			args = args[:2]
		}
		h.prints("", args...)
		h.ended(pid)
		h.prints("", "delete", "c")
	}
}

// ready waits until a container's script has made /tmp/ready.
func (h *harness) ready(id string) {
	h.t.Helper()
	h.prints("", "exec", id, "sh", "-c", "until test -e /tmp/ready; do sleep 0.01; done")
}

// With --all each process gets the signal, in a PID namespace that others
// have too.
func TestKillAll(t *testing.T) {
	h := newHarness(t)
	s := spec("sleep 1001 & sleep 1002 & touch /tmp/ready; exec sleep 1003")
	s.Linux.Namespaces = append(s.Linux.Namespaces[1:2:2], s.Linux.Namespaces[2:]...) // no PID namespace
	h.prints("", "run", "--detach", "--bundle", h.bundle(s), "c")
	h.ready("c")
	var pids []int
	h.must(json.Unmarshal([]byte(h.ok("ps", "-f", "json", "c")), &pids))
	if len(pids) != 3 {
		t.Errorf("processes %v", pids)
	}
	h.prints("", "kill", "--all", "c", "KILL")
	for _, pid := range pids {
		h.ended(pid)
	}
	h.prints("", "kill", "--all", "c", "KILL") // nobody left is no error
	h.prints("", "delete", "c")

	h.prints("", "run", "--detach", "--bundle", h.bundle(s), "c")
	h.ready("c")
	pid := h.state("c").Pid
	h.must(json.Unmarshal([]byte(h.ok("ps", "-f", "json", "c")), &pids))
	h.prints("", "kill", "c", "KILL")
	h.ended(pid)
	h.prints("", "delete", "c") // the others go with it
	for _, pid := range pids {
		h.ended(pid)
	}
}
