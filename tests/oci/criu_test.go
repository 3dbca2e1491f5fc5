package oci

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mustWork is for the machine on which CRIU works. CRIU knows the inside of the
// kernel, and one of Debian knows Debian's: elsewhere it says what is wrong, and
// minict has to pass that on.
var mustWork = flag.Bool("criu", false, "CRIU has to work on this machine")

func TestCRIU(t *testing.T) {
	out, err := exec.Command("criu", "check").CombinedOutput()
	if err != nil && *mustWork {
		t.Fatalf("criu check: %v\n%s", err, out)
	}
	if err != nil {
		t.Logf("CRIU does not work with this kernel: make vm has one\n%s", out)
		testBrokenCRIU(t)
		return
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"life", testLife}, {"memory first", testPreDump}, {"without iptables", testWithoutIptables}, {"terminal", testTerminal}, {"user's terminal", testShellJob},
		{"streams", testStreams}, {"foreground", testForeground}, {"connections", testConnections}, {"locks", testLocks},
		{"sockets", testSockets}, {"network", testNetwork}, {"mounts", testMounts}, {"paused", testPaused},
		{"limits", testLimits}, {"cgroup modes", testCgroupModes}, {"user namespace", testUserNamespace},
		{"hooks", testHooks}, {"bad images", testBadImages}, {"killed", testKilled}, {"overlay", testOverlay}, {"pages", testPages}, {"lazy", testLazy}, {"joined later", testExec}, {"failed", testFailed},
	} {
		t.Run(test.name, test.run)
	}
}

// Where CRIU fails the container runs on, and the error says where to look.
func testBrokenCRIU(t *testing.T) {
	h := newHarness(t)
	h.prints("", "run", "--detach", "--bundle", h.bundle(spec("exec sleep 1000")), "c")
	defer h.stop("c")
	images := filepath.Join(h.dir, "images")
	h.fails(1, []string{"CRIU could not dump: ", "(its log is " + images + "/dump.log)"}, "checkpoint", "--image-path", images, "c")
	h.is("c", "running")
	h.fails(1, []string{"CRIU could not restore: ", "(its log is " + images + "/restore.log)"},
		"restore", "--detach", "--image-path", images, "--bundle", h.bundle(spec("exec sleep 1000")), "d")
	h.fails(1, []string{"does not exist"}, "state", "d")
}

// counter counts as long as it runs, in memory and in a file of a tmpfs.
const counter = "i=0; while :; do i=$((i+1)); echo $i >/tmp/new; mv /tmp/new /tmp/count; sleep 0.05; done"

// criu runs checkpoint or restore, which has to succeed and to say nothing. What
// CRIU said is shown if it does not.
func (h *harness) criu(images string, args ...string) {
	h.t.Helper()
	args = append([]string{args[0], "--image-path", images}, args[1:]...)
	r := h.run(args...)
	if r.code == 0 && r.stderr == "" && r.stdout == "" {
		return
	}
	log := content(filepath.Join(images, map[string]string{"checkpoint": "dump.log", "restore": "restore.log"}[args[0]]))
	lines := strings.Split(log, "\n")
	h.t.Fatalf("%v\n%s", r, strings.Join(lines[max(0, len(lines)-60):], "\n"))
}

// count is where the counter of a container is.
func (h *harness) count(id string) int {
	h.t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(h.ok("exec", id, "cat", "/tmp/count")))
	h.must(err)
	return n
}

// counts waits until the counter has come beyond a number.
func (h *harness) counts(id string, beyond int) int {
	h.t.Helper()
	n := 0
	h.until(fmt.Sprintf("the counter of %s gets beyond %d", id, beyond), func() bool {
		n = h.count(id)
		return n > beyond
	})
	return n
}

// begin starts a container and waits for its counter.
func (h *harness) begin(bundle, id string) {
	h.t.Helper()
	h.prints("", "run", "--detach", "--bundle", bundle, id)
	h.until(id+" counts", func() bool { return h.run("exec", id, "test", "-e", "/tmp/count").code == 0 })
}

// Left running it goes on; without, it is gone; restored under another name,
// more than once, it goes on from where it was.
func testLife(t *testing.T) {
	h := newHarness(t)
	bundle, images, work := h.bundle(spec(counter)), filepath.Join(h.dir, "images"), filepath.Join(h.dir, "work")
	h.begin(bundle, "c")
	pid := h.state("c").Pid
	h.criu(images, "checkpoint", "--leave-running", "--work-path", work, "c")
	if h.is("c", "running").Pid != pid || content(work+"/dump.log") == "" || content(images+"/dump.log") != "" {
		t.Error("left running it is another, or the log is not where it should be")
	}
	h.counts("c", h.counts("c", 0))
	second := filepath.Join(h.dir, "second")
	before := h.count("c")
	h.criu(second, "checkpoint", "c")
	h.ended(pid)
	h.fails(1, []string{"does not exist"}, "state", "c")
	for i, id := range []string{"d", "e"} {
		file := filepath.Join(h.dir, "pid")
		h.criu(second, "restore", "--detach", "--bundle", bundle, "--pid-file", file, id)
		s := h.is(id, "running")
		if strconv.Itoa(s.Pid) != content(file) || s.Bundle != bundle || s.Rootfs != shared.rootfs {
			t.Errorf("state %+v, pid file %q", s, content(file))
		}
		if n := h.count(id); n < before || n > before+1000 {
			t.Errorf("it counts from %d, and was at %d", n, before)
		}
		if group := content(fmt.Sprintf("/proc/%d/cgroup", s.Pid)); !strings.Contains(group, "/"+id) {
			t.Errorf("it is in %q", group)
		}
		if got := h.ok("exec", id, "cat", "/proc/self/cgroup"); strings.Contains(got, "minict") {
			t.Errorf("its cgroup namespace shows %q", got)
		}
		h.prints("box\n", "exec", id, "hostname")
		if i == 0 {
			h.fails(1, []string{"already exists"}, "restore", "--detach", "--bundle", bundle, "--image-path", second, id)
		}
	}
	h.counts("d", h.counts("e", 0))
	for _, id := range []string{"d", "e"} {
		pid := h.state(id).Pid
		h.fails(1, []string{"not stopped"}, "delete", id)
		h.prints("", "kill", id, "KILL")
		h.ended(pid)
		h.is(id, "stopped")
		h.prints("", "delete", id)
	}
}

func testPreDump(t *testing.T) {
	h := newHarness(t)
	bundle, first, then := h.bundle(spec(counter)), filepath.Join(h.dir, "first"), filepath.Join(h.dir, "then")
	h.begin(bundle, "c")
	h.criu(first, "checkpoint", "--pre-dump", "c")
	n := h.counts("c", h.count("c"))
	h.fails(1, []string{"relative"}, "checkpoint", "--image-path", then, "--parent-path", first, "c")
	h.fails(1, []string{"no such file"}, "checkpoint", "--image-path", then, "--parent-path", "../third", "c")
	h.criu(then, "checkpoint", "--parent-path", "../first", "c")
	if _, err := os.Stat(filepath.Join(then, "parent")); err != nil {
		t.Error(err)
	}
	h.criu(then, "restore", "--detach", "--bundle", bundle, "c")
	defer h.stop("c")
	h.counts("c", n)
}

// Where the programs of iptables are missing, CRIU needs none.
func testWithoutIptables(t *testing.T) {
	h := newHarness(t)
	bundle, images, dir := h.bundle(spec(counter)), filepath.Join(h.dir, "images"), filepath.Join(h.dir, "bin")
	h.must(os.Mkdir(dir, 0o755))
	for _, program := range []string{"criu", "ip", "tar", "gzip"} {
		path, err := exec.LookPath(program)
		h.must(err)
		h.must(os.Symlink(path, filepath.Join(dir, program)))
	}
	h.begin(bundle, "c")
	for _, args := range [][]string{
		{"checkpoint", "--image-path", images, "c"},
		{"restore", "--image-path", images, "--detach", "--bundle", bundle, "c"},
	} {
		cmd := h.command(args...)
		cmd.Env = []string{"PATH=" + dir}
		if r := h.finish(cmd); r.code != 0 || r.stderr != "" {
			t.Fatal(r)
		}
	}
	defer h.stop("c")
	h.counts("c", h.counts("c", 0))
}

// What is typed on the other side of the terminal arrives, before and after.
func testTerminal(t *testing.T) {
	h := newHarness(t)
	bundle, images := h.bundle(terminal(spec("while read x; do echo got $x; stty size; done"))), filepath.Join(h.dir, "images")
	l, path := h.listener("console")
	h.prints("", "run", "--detach", "--bundle", bundle, "--console-socket", path, "c")
	master, _ := h.received(l)
	defer master.Close()
	say := func(master *os.File, word string) {
		t.Helper()
		_, err := master.WriteString(word + "\r")
		h.must(err)
		if got := h.screen(master, "12 34\r\n"); !strings.HasSuffix(got, "got "+word+"\r\n12 34\r\n") {
			t.Errorf("screen %q", got)
		}
	}
	say(master, "one")
	h.criu(images, "checkpoint", "c")
	h.fails(1, []string{"--console-socket"}, "restore", "--detach", "--bundle", bundle, "--image-path", images, "c")
	h.criu(images, "restore", "--detach", "--bundle", bundle, "--console-socket", path, "c")
	second, name := h.received(l)
	defer second.Close()
	if name == "" {
		t.Error("no name came with the terminal")
	}
	say(second, "two")

	// Restored by a command that stays, it is on the terminal of that.
	h.criu(images, "checkpoint", "c")
	ours, slave := h.pty()
	cmd := h.on(slave, "restore", "--bundle", bundle, "--image-path", images, "e")
	_, err := ours.WriteString("three\r")
	h.must(err)
	if got := h.screen(ours, "40 90\r\n"); !strings.Contains(got, "got three\r\n40 90\r\n") {
		t.Errorf("screen %q", got)
	}
	h.stop("e")
	cmd.Wait()
}

// A container that has its streams on the terminal of who created it.
func testShellJob(t *testing.T) {
	h := newHarness(t)
	bundle, images := h.bundle(spec("while read x; do echo got $x; done")), filepath.Join(h.dir, "images")
	for i, args := range [][]string{
		{"run", "--detach", "--bundle", bundle, "c"},
		{"restore", "--shell-job", "--detach", "--bundle", bundle, "--image-path", images, "c"},
	} {
		master, slave := h.pty()
		h.must(h.on(slave, args...).Wait())
		_, err := master.WriteString("word\r")
		h.must(err)
		if got := h.screen(master, "got word\r\n"); !strings.Contains(got, "got word\r\n") {
			t.Errorf("screen %q", got)
		}
		if i == 0 {
			h.fails(1, []string{"--shell-job"}, "checkpoint", "--image-path", images, "c")
			h.is("c", "running")
			h.criu(images, "checkpoint", "--shell-job", "c")
			h.fails(1, []string{"--shell-job"}, "restore", "--detach", "--bundle", bundle, "--image-path", images, "c")
		}
	}
	h.stop("c")
}

// The streams of one who is restored are those of who restores: files, and pipes.
func testStreams(t *testing.T) {
	h := newHarness(t)
	images := filepath.Join(h.dir, "images")
	bundle := h.bundle(spec("echo begin; while read x; do echo got $x; done; echo end >&2; exec sleep 1000"))
	before := newPipes(h)
	h.must(before.command("run", "--detach", "--bundle", bundle, "c").Run())
	before.expects("begin\n")
	before.says("one", "got one\n")
	h.criu(images, "checkpoint", "c")
	after := newPipes(h)
	h.must(after.command("restore", "--detach", "--bundle", bundle, "--image-path", images, "c").Run())
	defer h.stop("c")
	after.says("two", "got two\n")
	after.in.Close()
	after.expects("end\n")
}

// A restore that stays with the container ends with its exit status, and so does
// a run whose container is checkpointed.
func testForeground(t *testing.T) {
	h := newHarness(t)
	images := filepath.Join(h.dir, "images")
	bundle := h.bundle(spec("echo begin; read x; echo got $x; exit 7"))
	p := newPipes(h)
	run := p.command("run", "--bundle", bundle, "c")
	h.must(run.Start())
	p.expects("begin\n")
	h.criu(images, "checkpoint", "c")
	run.Wait()
	if code := run.ProcessState.ExitCode(); code != 128+int(unix.SIGKILL) {
		t.Errorf("run ended with %d", code)
	}
	q := newPipes(h)
	restore := q.command("restore", "--bundle", bundle, "--image-path", images, "c")
	h.must(restore.Start())
	q.says("two", "got two\n")
	restore.Wait()
	if code := restore.ProcessState.ExitCode(); code != 7 {
		t.Errorf("restore ended with %d", code)
	}
	h.fails(1, []string{"does not exist"}, "state", "c")
}

func testPaused(t *testing.T) {
	h := newHarness(t)
	bundle, images := h.bundle(spec(counter)), filepath.Join(h.dir, "images")
	h.begin(bundle, "c")
	h.prints("", "pause", "c")
	h.criu(images, "checkpoint", "--leave-running", "c")
	h.is("c", "paused")
	h.prints("", "resume", "c")
	h.counts("c", h.counts("c", 0))
	h.prints("", "pause", "c")
	h.criu(images, "checkpoint", "c")
	h.criu(images, "restore", "--detach", "--bundle", bundle, "c")
	defer h.stop("c")
	h.is("c", "running")
	h.counts("c", h.counts("c", 0))
}

func testUserNamespace(t *testing.T) {
	h := newHarness(t)
	s := spec(counter)
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 65536}}
	s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.MaskedPaths = []string{"/proc/kcore", "/proc/timer_list"}
	bundle, images := h.bundle(s), filepath.Join(h.dir, "images")
	h.begin(bundle, "c")
	h.criu(images, "checkpoint", "c")
	h.criu(images, "restore", "--detach", "--bundle", bundle, "c")
	defer h.stop("c")
	h.counts("c", h.counts("c", 0))
	h.prints("ok\n", "exec", "c", "sh", "-c", "echo >/dev/null && echo ok")
}

// The hooks that prepare the host for a container do so for a restored one, and
// those that tell of its end tell of a checkpoint.
func testHooks(t *testing.T) {
	h := newHarness(t)
	log := filepath.Join(h.dir, "log")
	s := spec(counter)
	hook := func(name string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", `read state; case $state in *'"pid":'*) n=1;; *) n=0;; esac; echo ` + name + ` $n >>` + log}}}
	}
	s.Hooks = &specs.Hooks{Prestart: hook("prestart"), CreateRuntime: hook("createRuntime"), Poststop: hook("poststop")}
	bundle, images := h.bundle(s), filepath.Join(h.dir, "images")
	h.begin(bundle, "c")
	h.must(os.Remove(log))
	h.criu(images, "checkpoint", "c")
	h.criu(images, "restore", "--detach", "--bundle", bundle, "c")
	h.stop("c")
	if got, want := content(log), "poststop 0\nprestart 1\ncreateRuntime 1\npoststop 0"; got != want {
		t.Errorf("hooks: %q, want %q", got, want)
	}
	s.Hooks.CreateRuntime = []specs.Hook{{Path: "/bin/false"}}
	h.fails(1, []string{"createRuntime hook 0", "/bin/false"}, "restore", "--detach", "--bundle", h.bundle(s), "--image-path", images, "c")
	h.fails(1, []string{"does not exist"}, "state", "c")
}

func testBadImages(t *testing.T) {
	h := newHarness(t)
	bundle, images := h.bundle(spec(counter)), filepath.Join(h.dir, "images")
	h.must(os.Mkdir(images, 0o700))
	h.fails(1, []string{"CRIU could not restore: ", "(its log is "}, "restore", "--detach", "--bundle", bundle, "--image-path", images, "c")
	h.begin(bundle, "c")
	h.criu(images, "checkpoint", "c")
	h.must(os.Remove(images + "/core-1.img"))
	h.fails(1, []string{"CRIU could not restore: ", "(its log is "}, "restore", "--detach", "--bundle", bundle, "--image-path", images, "c")
	h.fails(1, []string{"does not exist"}, "state", "c")
}

// A dump that fails changes nothing.
func testFailed(t *testing.T) {
	h := newHarness(t)
	bundle, images := h.bundle(h.withProgram("connect")), filepath.Join(h.dir, "images")
	h.begin(bundle, "c")
	defer h.stop("c")
	h.fails(1, []string{"CRIU could not dump: ", "onnected TCP socket", "(its log is "}, "checkpoint", "--image-path", images, "c")
	h.is("c", "running")
	h.counts("c", h.counts("c", 0))
}

// A checkpoint and a restore that are killed are undone by CRIU, which finds
// nobody to tell any more, or by delete.
func testKilled(t *testing.T) {
	h := newHarness(t)
	bundle, images := h.bundle(spec(counter)), filepath.Join(h.dir, "images")
	h.begin(bundle, "c")
	killAt := func(log string, args ...string) {
		t.Helper()
		cmd := h.command(args...)
		h.must(cmd.Start())
		h.until(strings.Join(args, " ")+" has written "+log, func() bool { return content(log) != "" })
		h.must(cmd.Process.Kill())
		cmd.Wait()
	}
	killAt(images+"/dump.log", "checkpoint", "--image-path", images, "c")
	h.counts("c", h.counts("c", 0))
	h.is("c", "running")
	h.criu(images, "checkpoint", "c")
	killAt(images+"/restore.log", "restore", "--detach", "--image-path", images, "--bundle", bundle, "c")
	h.prints("", "delete", "--force", "c")
	h.criu(images, "restore", "--detach", "--bundle", bundle, "c")
	h.counts("c", h.counts("c", 0))
	h.stop("c")
	for _, pattern := range []string{"/tmp/.criu*", images + "/.criu*"} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("left: %q, %v", left, err)
		}
	}
}
