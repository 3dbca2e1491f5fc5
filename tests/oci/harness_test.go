package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"minict/tests/leaks"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// patience is how long anything may take that a test waits for.
const patience = 30 * time.Second

// harness is one state directory, and bundles.
type harness struct {
	t      *testing.T
	dir    string // for the test's own files
	root   string // --root
	before leaks.Snapshot
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	top := t.TempDir()
	// In a state directory's place, so that our cgroups are known by the
	// containers' names.
	h := &harness{t: t, dir: filepath.Join(top, "work"), root: filepath.Join(top, "state", "containers")}
	h.must(os.Mkdir(h.dir, 0o755))
	var err error
	h.before, err = leaks.Take(leaks.Dirs{State: filepath.Join(top, "state")})
	h.must(err)
	t.Cleanup(h.compare)
	return h
}

func (h *harness) compare() {
	left, err := h.before.Since(20 * time.Second)
	if err != nil {
		h.t.Error(err)
	}
	if len(left) > 0 {
		h.t.Errorf("left behind:\n  %s", strings.Join(left, "\n  "))
	}
	if err := h.before.Sweep(); err != nil {
		h.t.Error(err)
	}
}

func (h *harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// spec is an ordinary container of a shell script.
func spec(script string) *specs.Spec {
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_NET_RAW"}
	plain := []string{"nosuid", "noexec", "nodev"}
	return &specs.Spec{
		Version:  specs.Version,
		Root:     &specs.Root{Path: shared.rootfs},
		Hostname: "box",
		Process: &specs.Process{
			Args:         []string{"/bin/sh", "-c", script},
			Env:          []string{"PATH=/bin:/usr/bin:/sbin:/usr/sbin", "HOME=/"},
			Cwd:          "/",
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: plain},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.IPCNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.CgroupNamespace},
			},
		},
	}
}

// bundle writes a bundle of a specification.
func (h *harness) bundle(s *specs.Spec) string {
	h.t.Helper()
	dir, err := os.MkdirTemp(h.dir, "bundle-")
	h.must(err)
	data, err := json.Marshal(s)
	h.must(err)
	h.must(os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644))
	return dir
}

// result is what became of a command.
type result struct {
	args           []string
	stdout, stderr string
	code           int // 128+n after signal n
}

func (r result) String() string {
	return fmt.Sprintf("minict-oci %s\nexit code %d\nstdout: %q\nstderr: %q", strings.Join(r.args, " "), r.code, r.stdout, r.stderr)
}

// command is the runtime with these arguments, not started yet.
func (h *harness) command(args ...string) *exec.Cmd {
	cmd := exec.Command(shared.runtime, append([]string{"--root", h.root}, args...)...)
	cmd.Env, cmd.Dir = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, h.dir
	return cmd
}

// run runs a command to its end. Its streams are files: what it starts may keep
// them.
func (h *harness) run(args ...string) result {
	h.t.Helper()
	return h.finish(h.command(args...))
}

func (h *harness) finish(cmd *exec.Cmd) result {
	h.t.Helper()
	var outputs [2]*os.File
	for i := range outputs {
		f, err := os.CreateTemp(h.dir, "output-")
		h.must(err)
		defer f.Close()
		outputs[i] = f
	}
	cmd.Stdout, cmd.Stderr = outputs[0], outputs[1]
	h.must(cmd.Start())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	late := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	cmd.Wait()
	late()
	r := result{args: cmd.Args[1:], code: exitCode(cmd)}
	for i, text := range []*string{&r.stdout, &r.stderr} {
		data, err := os.ReadFile(outputs[i].Name())
		h.must(err)
		*text = string(data)
	}
	if ctx.Err() != nil {
		h.t.Fatalf("no end after %v: %v", patience, r)
	}
	return r
}

func exitCode(cmd *exec.Cmd) int {
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

// ok is run for a command that has to succeed and say nothing on standard
// error. It returns its standard output.
func (h *harness) ok(args ...string) string {
	h.t.Helper()
	r := h.run(args...)
	if r.code != 0 || r.stderr != "" {
		h.t.Fatal(r)
	}
	return r.stdout
}

// prints is run for a command that has to succeed and print exactly this.
func (h *harness) prints(stdout string, args ...string) {
	h.t.Helper()
	if got := h.ok(args...); got != stdout {
		h.t.Fatalf("minict-oci %s\nprints %q\nwant   %q", strings.Join(args, " "), got, stdout)
	}
}

// fails is run for a command that has to fail with this code and one line on
// standard error which has all these words in it.
func (h *harness) fails(code int, words []string, args ...string) {
	h.t.Helper()
	h.failed(h.run(args...), code, words)
}

func (h *harness) failed(r result, code int, words []string) {
	h.t.Helper()
	line, rest, _ := strings.Cut(r.stderr, "\n")
	if r.code != code || r.stdout != "" || !strings.HasPrefix(line, "minict-oci: ") || rest != "" {
		h.t.Errorf("want exit code %d and one line, minict-oci: …: %v", code, r)
	}
	for _, word := range words {
		if !strings.Contains(line, word) {
			h.t.Errorf("want %q in the message: %v", word, r)
		}
	}
}

// state is what the tests read of a state.
type state struct {
	Version     string `json:"ociVersion"`
	ID          string
	Pid         int
	Status      string
	Bundle      string
	Rootfs      string
	Created     time.Time
	Annotations map[string]string
	Owner       string
}

func (h *harness) state(id string) (s state) {
	h.t.Helper()
	h.must(json.Unmarshal([]byte(h.ok("state", id)), &s))
	return s
}

// is checks a container's status.
func (h *harness) is(id, status string) state {
	h.t.Helper()
	s := h.state(id)
	if s.Status != status {
		h.t.Fatalf("%s is %s, want %s", id, s.Status, status)
	}
	return s
}

// ended waits for the end of a process.
func (h *harness) ended(pid int) {
	h.t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	h.must(err)
	defer unix.Close(fd)
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, int(patience.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		h.must(err)
		if n == 0 {
			h.t.Fatalf("process %d did not end", pid)
		}
		return
	}
}

// stop kills a container and removes it.
func (h *harness) stop(id string) {
	h.t.Helper()
	h.prints("", "delete", "--force", id)
}

// until waits for what nobody tells of.
func (h *harness) until(what string, is func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patience); !is(); {
		if time.Now().After(end) {
			h.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// file writes a file of the test's and returns its path.
func (h *harness) file(name, content string) string {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	h.must(os.WriteFile(path, []byte(content), 0o755))
	return path
}

// content reads a file, "" if it is not there.
func content(path string) string {
	data, _ := os.ReadFile(path)
	return string(bytes.TrimSuffix(data, []byte("\n")))
}
