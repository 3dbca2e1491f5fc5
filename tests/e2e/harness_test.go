package e2e

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
	"testing"
	"time"

	"minict/tests/fixture"
	"minict/tests/leaks"
)

// patience is how long anything may take that a test waits for. It is long,
// since the virtual machine is slow: a test that gets there has failed.
const patience = 30 * time.Second

// harness is one minict: its own store, state and temporary directory.
type harness struct {
	t   *testing.T
	dir string // a place for the test's own files; also where commands run
	leaks.Dirs
	env    []string       // every command's environment
	before leaks.Snapshot // the host when the test began
}

// newHarness makes a harness. When the test has ended, nothing may be left of
// what it made the harness do: every container removed, every process ended.
func newHarness(t *testing.T) *harness {
	t.Helper()
	top := t.TempDir()
	h := &harness{t: t, dir: filepath.Join(top, "work"), Dirs: leaks.Dirs{
		Root:  filepath.Join(top, "root"),
		State: filepath.Join(top, "state"),
		Temp:  filepath.Join(top, "tmp"),
	}}
	for _, dir := range []string{h.dir, h.Temp, filepath.Join(top, "home")} {
		h.must(os.Mkdir(dir, 0o755))
	}
	h.env = []string{
		"PATH=" + filepath.Dir(shared.binary) + ":/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + filepath.Join(top, "home"),
		"TMPDIR=" + h.Temp,
		"MINICT_ROOT=" + h.Root,
		"MINICT_STATE=" + h.State,
	}
	var err error
	h.before, err = leaks.Take(h.Dirs)
	h.must(err)
	t.Cleanup(h.compare)
	return h
}

func (h *harness) compare() {
	left, err := h.before.Since(20 * time.Second)
	if leaks.OfBridges(left) {
		h.ok("ps")
		left, err = h.before.Since(20 * time.Second)
	}
	if err != nil {
		h.t.Error(err)
	}
	switch {
	case len(left) == 0:
	case h.t.Failed():
		h.t.Logf("left behind after the failure:\n  %s", strings.Join(left, "\n  "))
	default:
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

// result is what became of a command.
type result struct {
	args           []string
	stdout, stderr string
	code           int // 128+n after signal n
}

func (r result) String() string {
	return fmt.Sprintf("minict %s\nexit code %d\nstdout: %q\nstderr: %q", strings.Join(r.args, " "), r.code, r.stdout, r.stderr)
}

// command is minict with these arguments, not started yet.
func (h *harness) command(args ...string) *exec.Cmd {
	cmd := exec.Command(shared.binary, args...)
	cmd.Env, cmd.Dir = h.env, h.dir
	return cmd
}

// run runs minict to its end, with nothing on standard input. Somebody who
// keeps the command's output open after its end (a monitor, say) fails the
// test.
func (h *harness) run(args ...string) result {
	h.t.Helper()
	return h.finish(h.command(args...))
}

// runWith is run with a standard input.
func (h *harness) runWith(stdin string, args ...string) result {
	h.t.Helper()
	cmd := h.command(args...)
	cmd.Stdin = strings.NewReader(stdin)
	return h.finish(cmd)
}

func (h *harness) finish(cmd *exec.Cmd) result {
	h.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 10 * time.Second
	h.must(cmd.Start())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	late := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	late()
	r := result{args: cmd.Args[1:], stdout: stdout.String(), stderr: stderr.String(), code: exitCode(cmd)}
	if ctx.Err() != nil {
		h.t.Fatalf("no end after %v: %v", patience, r)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		h.t.Fatalf("the command has ended, but its output is still open: %v", r)
	}
	return r
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
		h.t.Fatalf("minict %s\nprints %q\nwant   %q", strings.Join(args, " "), got, stdout)
	}
}

// fails is run for a command that has to fail with this code and one line on
// standard error which has all these words in it.
func (h *harness) fails(code int, words []string, args ...string) result {
	h.t.Helper()
	r := h.run(args...)
	h.failed(r, code, words)
	return r
}

// failed checks the result of a command that had to fail.
func (h *harness) failed(r result, code int, words []string) {
	h.t.Helper()
	if r.code != code {
		h.t.Errorf("want exit code %d: %v", code, r)
	}
	if r.stdout != "" {
		h.t.Errorf("want nothing on standard output: %v", r)
	}
	line, rest, _ := strings.Cut(r.stderr, "\n")
	if !strings.HasPrefix(line, "minict: ") || rest != "" {
		h.t.Errorf("want one line, minict: …: %v", r)
	}
	for _, word := range words {
		if !strings.Contains(line, word) {
			h.t.Errorf("want %q in the message: %v", word, r)
		}
	}
}

// rootfs makes a busybox root file system for this test alone.
func (h *harness) rootfs() string {
	h.t.Helper()
	dir := filepath.Join(h.dir, "rootfs")
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		h.must(fixture.Rootfs(dir))
	}
	return dir
}

// pull pulls the shared image and returns its name.
func (h *harness) pull() string {
	h.t.Helper()
	ref := shared.registry.Ref(imageName)
	if r := h.run("pull", ref); r.code != 0 {
		h.t.Fatal(r)
	}
	return ref
}

// inspected is what the tests read of inspect's answer.
type inspected struct {
	ID    string `json:"Id"`
	Name  string
	Image string
	Path  string
	Args  []string
	State struct {
		Status     string
		Running    bool
		OOMKilled  bool
		Pid        int
		ExitCode   int
		StartedAt  time.Time
		FinishedAt time.Time
	}
	Config struct {
		Image  string
		Env    []string
		Labels map[string]string
	}
}

func (h *harness) inspect(container string) inspected {
	h.t.Helper()
	out := h.ok("inspect", container)
	var all []inspected
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
		h.t.Fatalf("inspect %s: %v: %s", container, err, out)
	}
	return all[0]
}

// file makes a file in the test's directory and returns its path.
func (h *harness) file(name, content string) string {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	h.must(os.WriteFile(path, []byte(content), 0o644))
	return path
}
