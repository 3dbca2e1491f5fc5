package security

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"minict/tests/fixture"
	"minict/tests/leaks"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// patience is how long anything may take that a test waits for. The virtual
// machine is slow: a test that gets there has failed.
const patience = 60 * time.Second

// target is a minict that is attacked: its own store, state and files.
type target struct {
	t   *testing.T
	dir string // the test's own files; also where commands run
	leaks.Dirs
	env []string
}

func newTarget(t *testing.T) *target {
	t.Helper()
	top := t.TempDir()
	m := &target{t: t, dir: filepath.Join(top, "work"), Dirs: leaks.Dirs{
		Root: filepath.Join(top, "root"), State: filepath.Join(top, "state"), Temp: filepath.Join(top, "tmp"),
	}}
	m.must(os.Mkdir(m.dir, 0o755))
	m.must(os.Mkdir(m.Temp, 0o755))
	m.env = []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + top, "TMPDIR=" + m.Temp,
		"MINICT_ROOT=" + m.Root, "MINICT_STATE=" + m.State,
	}
	before, err := leaks.Take(m.Dirs)
	m.must(err)
	t.Cleanup(func() {
		left, err := before.Since(20 * time.Second)
		if leaks.OfBridges(left) {
			m.run("ps") // the next command takes them
			left, err = before.Since(20 * time.Second)
		}
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v\n  %s", err, strings.Join(left, "\n  "))
		}
		if err := before.Sweep(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func (m *target) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// result is what became of a command.
type result struct {
	args           []string
	stdout, stderr string
	code           int // -1: killed by a signal
}

func (r result) String() string {
	return fmt.Sprintf("minict %q\nexit code %d\nstdout: %q\nstderr: %q", r.args, r.code, r.stdout, r.stderr)
}

func (m *target) command(args ...string) *exec.Cmd {
	cmd := exec.Command(shared.binary, args...)
	cmd.Env, cmd.Dir = m.env, m.dir
	return cmd
}

// run runs minict to its end.
func (m *target) run(args ...string) result {
	m.t.Helper()
	return m.finish(m.command(args...))
}

func (m *target) finish(cmd *exec.Cmd) result {
	m.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 10 * time.Second
	m.must(cmd.Start())
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	r := result{cmd.Args[1:], stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	if !late.Stop() {
		m.t.Fatalf("no end after %v: %v", patience, r)
	}
	if err == exec.ErrWaitDelay {
		m.t.Fatalf("its output is still open: %v", r)
	}
	return r
}

// ok is run for what has to succeed in silence.
func (m *target) ok(args ...string) string {
	m.t.Helper()
	r := m.run(args...)
	if r.code != 0 || r.stderr != "" {
		m.t.Fatal(r)
	}
	return r.stdout
}

// refused is run for what has to be refused in one line that has the word.
func (m *target) refused(word string, args ...string) {
	m.t.Helper()
	r := m.run(args...)
	line, rest, _ := strings.Cut(r.stderr, "\n")
	if r.code == 0 || r.stdout != "" || rest != "" || !strings.HasPrefix(line, "minict: ") || !strings.Contains(line, word) {
		m.t.Errorf("want a refusal with %q: %v", word, r)
	}
}

// rootfs is a root file system of this test's own.
func (m *target) rootfs() string {
	m.t.Helper()
	dir := filepath.Join(m.dir, "rootfs")
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		m.must(fixture.Rootfs(dir))
	}
	return dir
}

// in runs a command in a container that is removed at its end; flags come
// first, after them "--".
func (m *target) in(args ...string) result {
	m.t.Helper()
	return m.run(append([]string{"run", "--rm", "--rootfs", m.rootfs(), "-v", m.probeMount()}, args...)...)
}

// sh is in for a shell script, which has to succeed; it gives its output.
func (m *target) sh(script string, flags ...string) string {
	m.t.Helper()
	r := m.in(append(flags, "--", "/bin/sh", "-c", script)...)
	if r.code != 0 {
		m.t.Fatal(r)
	}
	return r.stdout
}

// background starts a container that does nothing for a long time.
func (m *target) background(name string, flags ...string) {
	m.t.Helper()
	args := append([]string{"run", "-d", "--name", name, "--rootfs", m.rootfs(), "-v", m.probeMount()}, flags...)
	m.ok(append(args, "--", "sleep", "1000")...)
	m.t.Cleanup(func() { m.run("rm", "-f", name) })
}

func (m *target) probeMount() string { return shared.probe + ":/probe:ro" }

// session is a minict that runs while the test goes on.
type session struct {
	m   *target
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start starts minict with pipes, and returns when it has said a first line.
func (m *target) start(args ...string) *session {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	cmd := exec.CommandContext(ctx, shared.binary, args...)
	cmd.Env, cmd.Dir, cmd.Stderr = m.env, m.dir, os.Stderr
	in, err := cmd.StdinPipe()
	m.must(err)
	out, err := cmd.StdoutPipe()
	m.must(err)
	m.must(cmd.Start())
	s := &session{m, cmd, in, bufio.NewReader(out)}
	m.t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	if line, err := s.out.ReadString('\n'); err != nil || line != "ready\n" {
		m.t.Fatalf("minict %q: %q, %v", args, line, err)
	}
	return s
}

// end ends the session's input and gives the rest of its output.
func (s *session) end() string {
	s.m.t.Helper()
	s.in.Close()
	rest, err := io.ReadAll(s.out)
	s.m.must(err)
	s.cmd.Wait()
	return string(rest)
}

// pid is a container's first process.
func (m *target) pid(name string) int {
	m.t.Helper()
	var all []struct{ State struct{ Pid int } }
	m.must(json.Unmarshal([]byte(m.ok("inspect", name)), &all))
	return all[0].State.Pid
}

// status is a field of a process's status.
func (m *target) status(pid int, field string) string {
	m.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	m.must(err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	m.t.Fatalf("no %s in the status of process %d", field, pid)
	return ""
}

// image makes an image of the base root file system, without what is named
// like one of the entries, and then the entries; it pulls it and gives its name.
func (m *target) image(config v1.Config, entries ...fixture.Entry) string {
	m.t.Helper()
	base, err := fixture.Base()
	m.must(err)
	var kept []fixture.Entry
	for _, e := range base {
		replaced := false
		for _, own := range entries {
			replaced = replaced || e.Name == own.Name || own.Type == '2' && strings.HasPrefix(e.Name, own.Name+"/")
		}
		if !replaced {
			kept = append(kept, e)
		}
	}
	layer, err := fixture.Layer(append(kept, entries...)...)
	m.must(err)
	if config.Env == nil {
		config.Env = fixture.BaseConfig().Env
	}
	img, err := fixture.Image(config, layer)
	m.must(err)
	registry := fixture.StartRegistry()
	defer registry.Close()
	m.must(registry.Push("hostile:1", img))
	ref := registry.Ref("hostile:1")
	if r := m.run("pull", "-q", ref); r.code != 0 {
		m.t.Fatal(r)
	}
	return ref
}

// canary is a directory of the host with one file in it. At the end of the
// test it has to be as it was.
func (m *target) canary() string {
	m.t.Helper()
	dir := filepath.Join(m.dir, "canary")
	file := filepath.Join(dir, "file")
	m.must(os.Mkdir(dir, 0o755))
	m.must(os.WriteFile(file, []byte("alive"), 0o640))
	m.t.Cleanup(func() {
		text, err := os.ReadFile(file)
		info, err2 := os.Stat(file)
		entries, err3 := os.ReadDir(dir)
		if err != nil || err2 != nil || err3 != nil || string(text) != "alive" || info.Mode() != 0o640 || len(entries) != 1 {
			m.t.Errorf("the host's directory has changed: %q %v %v", text, info, entries)
		}
	})
	return dir
}
