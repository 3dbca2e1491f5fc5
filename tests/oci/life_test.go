package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A container's life as an engine leads it, each command by itself.
func TestLife(t *testing.T) {
	h := newHarness(t)
	s := spec("echo hello; exec sleep 1000")
	s.Annotations = map[string]string{"a": "b"}
	bundle := h.bundle(s)
	pidFile := filepath.Join(h.dir, "pid")

	h.prints("", "create", "--bundle", bundle, "--pid-file", pidFile, "c")
	created := h.is("c", "created")
	if created.ID != "c" || created.Bundle != bundle || created.Rootfs != shared.rootfs || created.Owner != "root" ||
		created.Annotations["a"] != "b" || created.Version == "" || content(pidFile) != strconv.Itoa(created.Pid) {
		t.Errorf("state %+v, pid file %q", created, content(pidFile))
	}
	h.fails(1, []string{"not stopped", "created"}, "delete", "c")

	h.prints("", "start", "c")
	if running := h.is("c", "running"); running.Pid != created.Pid {
		t.Errorf("pid %d, and was %d", running.Pid, created.Pid)
	}
	h.fails(1, []string{"already running"}, "start", "c")
	h.fails(1, []string{"not stopped", "running"}, "delete", "c")
	h.fails(1, []string{"already exists"}, "create", "--bundle", bundle, "c")

	h.prints("", "kill", "c", "KILL")
	h.ended(created.Pid)
	if stopped := h.is("c", "stopped"); stopped.Pid != 0 {
		t.Errorf("pid %d of a stopped container", stopped.Pid)
	}
	h.fails(1, []string{"container not running"}, "kill", "c", "TERM")
	h.fails(1, []string{"stopped"}, "start", "c")
	h.fails(255, []string{"stopped"}, "exec", "c", "true")
	h.prints("", "delete", "c")
	for _, command := range []string{"state", "start", "kill", "delete", "pause", "resume", "ps", "events"} {
		h.fails(1, []string{"does not exist"}, command, "c")
	}
	h.prints("", "delete", "--force", "c")
}

func TestRun(t *testing.T) {
	h := newHarness(t)
	s := spec("echo out; echo err >&2; exit 7")
	r := h.run("run", "--bundle", h.bundle(s), "c")
	if r.code != 7 || r.stdout != "out\n" || r.stderr != "err\n" {
		t.Error(r)
	}
	if r := h.run("run", "-b", h.bundle(spec("kill -9 $$")), "c"); r.code != 0 { // PID 1 can't kill itself
		t.Error(r)
	}
	h.prints("", "run", "--detach", "-b", h.bundle(spec("exec sleep 1000")), "d")
	h.is("d", "running")
	h.stop("d")
	if r := h.run("run", "--keep", "-b", h.bundle(spec("true")), "k"); r.code != 0 {
		t.Error(r)
	}
	h.is("k", "stopped")
	h.prints("", "delete", "k")
}

// The binary under its own name has the same commands behind the word oci.
func TestBothNames(t *testing.T) {
	h := newHarness(t)
	cmd := h.command("run", "--bundle", h.bundle(spec("echo same")), "c")
	cmd.Path, cmd.Args = shared.binary, append([]string{"minict", "oci"}, cmd.Args[1:]...)
	if r := h.finish(cmd); r.code != 0 || r.stdout != "same\n" {
		t.Error(r)
	}
}

func TestList(t *testing.T) {
	h := newHarness(t)
	h.prints("", "list", "-q")
	h.prints("[]\n", "list", "--format", "json")
	bundle := h.bundle(spec("exec sleep 1000"))
	for _, id := range []string{"one", "two"} {
		h.prints("", "run", "-d", "-b", bundle, id)
		defer h.stop(id)
	}
	h.prints("one\ntwo\n", "list", "-q")
	var states []state
	h.must(json.Unmarshal([]byte(h.ok("list", "-f", "json")), &states))
	if len(states) != 2 || states[1].ID != "two" || states[1].Status != "running" || states[1].Bundle != bundle {
		t.Errorf("%+v", states)
	}
	lines := strings.Split(h.ok("list"), "\n")
	if fields := strings.Fields(lines[0]); strings.Join(fields, " ") != "ID PID STATUS BUNDLE CREATED OWNER" {
		t.Errorf("header %q", lines[0])
	}
	if fields := strings.Fields(lines[1]); fields[0] != "one" || fields[2] != "running" || fields[3] != bundle || fields[5] != "root" {
		t.Errorf("row %q", lines[1])
	}
	h.fails(1, []string{"--format"}, "list", "--format", "yaml")
}

func TestProcesses(t *testing.T) {
	h := newHarness(t)
	s := spec("")
	s.Process.Args = []string{"sleep", "1234"}
	h.prints("", "run", "-d", "-b", h.bundle(s), "c")
	defer h.stop("c")
	pid := h.state("c").Pid
	h.prints(fmt.Sprintf("[%d]\n", pid), "ps", "--format", "json", "c")
	lines := strings.Split(strings.TrimSpace(h.ok("ps", "c")), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "UID") || !strings.HasSuffix(lines[1], "sleep 1234") {
		t.Errorf("ps: %q", lines)
	}
	if out := h.ok("ps", "c", "-o", "pid,args"); !strings.Contains(out, strconv.Itoa(pid)+" sleep 1234") {
		t.Errorf("ps -o: %q", out)
	}
}

func TestPause(t *testing.T) {
	h := newHarness(t)
	h.prints("", "run", "-d", "-b", h.bundle(spec("exec sleep 1000")), "c")
	h.fails(1, []string{"running"}, "resume", "c")
	h.prints("", "pause", "c")
	h.is("c", "paused")
	h.fails(1, []string{"paused"}, "pause", "c")
	h.fails(255, []string{"paused"}, "exec", "c", "true")
	h.prints("", "resume", "c")
	h.is("c", "running")
	h.prints("hi\n", "exec", "c", "echo", "hi")
	h.prints("", "pause", "c")
	pid := h.state("c").Pid
	h.prints("", "kill", "c", "KILL") // and it dies, though it is frozen
	h.ended(pid)
	h.prints("", "delete", "c")
	h.prints("", "run", "-d", "-b", h.bundle(spec("exec sleep 1000")), "c")
	h.prints("", "pause", "c")
	h.stop("c")
}

func TestNames(t *testing.T) {
	h := newHarness(t)
	bundle := h.bundle(spec("true"))
	for _, id := range []string{"", ".", "..", "../x", "a/b", "-x", "ü", strings.Repeat("x", 300), "a b", "a\nb"} {
		for _, args := range [][]string{{"create", "--bundle", bundle, "--", id}, {"state", "--", id}, {"delete", "--force", "--", id}} {
			h.fails(1, []string{"invalid container ID"}, args...)
		}
	}
	for _, id := range []string{"a", "A_+-.9", strings.Repeat("x", 64)} {
		h.prints("", "run", "--bundle", bundle, id)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(h.root), "*")); err != nil || len(left) != 1 {
		t.Errorf("%v: %v", left, err)
	}
}

// What is kept is for nobody else to read.
func TestPrivate(t *testing.T) {
	h := newHarness(t)
	h.must(os.Remove(h.root))
	h.prints("", "create", "--bundle", h.bundle(spec("true")), "c")
	defer h.stop("c")
	for _, path := range []string{h.root, filepath.Join(h.root, "c")} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	files, err := os.ReadDir(filepath.Join(h.root, "c"))
	h.must(err)
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
}
