package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"minict/tests/fixture"
	"minict/tests/host"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// sh is run --rm of a shell script in the test's own root file system.
func (h *harness) sh(script string, flags ...string) result {
	h.t.Helper()
	args := append([]string{"run", "--rm"}, flags...)
	return h.run(append(args, "--rootfs", h.rootfs(), "--", "/bin/sh", "-c", script)...)
}

func TestWhatTheFlagsOfRunDo(t *testing.T) {
	h := newHarness(t)
	h.file("env", "# a comment\nFROM_FILE=1\nBOTH=file\n")
	h.must(os.Mkdir(filepath.Join(h.dir, "shared"), 0o755))
	h.file("shared/hello", "hello from the host\n")
	for _, c := range []struct {
		name, script, want string
		flags              []string
	}{
		{"host name", "hostname; cat /etc/hostname", "box\nbox\n", []string{"-h", "box"}},
		{"environment", "echo $A $B", "1 two words\n", []string{"-e", "A=1", "-e", "B=two words"}},
		{"environment from a file", "echo $FROM_FILE $BOTH", "1 flag\n", []string{"--env-file", "env", "-e", "BOTH=flag"}},
		{"home", "echo $HOME; cd; pwd", "/home/alice\n/home/alice\n", []string{"-u", "alice"}},
		{"working directory", "pwd", "/usr/bin\n", []string{"-w", "/usr/bin"}},
		{"working directory that is not there", "pwd", "/not/there\n", []string{"-w", "/not/there"}},
		{"user by name, with groups", "id -u; id -g; id -G", "1000\n1000\n1000 50\n", []string{"-u", "alice"}},
		{"user by number", "id -u; id -g; id -G", "7\n0\n0\n", []string{"-u", "7"}},
		{"user and group", "id -u; id -g; id -G", "1000\n50\n50\n", []string{"-u", "alice:staff"}},
		{"added host", "grep -w db /etc/hosts", "10.0.0.9\tdb\n", []string{"--add-host", "db:10.0.0.9"}},
		{"volume", "cat /data/hello; echo written > /data/new", "hello from the host\n", []string{"-v", h.dir + "/shared:/data"}},
		{"volume, read only", "touch /data/x 2>&1 || cat /data/new", "touch: /data/x: Read-only file system\nwritten\n", []string{"-v", h.dir + "/shared:/data:ro"}},
		{"mount", "cat /data/hello", "hello from the host\n", []string{"--mount", "type=bind,source=" + h.dir + "/shared,target=/data,readonly"}},
		{"tmpfs", "stat -f -c %T /scratch; stat -c %a /scratch", "tmpfs\n1777\n", []string{"--tmpfs", "/scratch"}},
		{"tmpfs with options", "df -k /scratch | tail -1 | awk '{print $2}'", "1024\n", []string{"--tmpfs", "/scratch:size=1m"}},
		{"read-only root", "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo shm", "refused\nshm\n", []string{"--read-only"}},
		{"no network", "ls /sys/class/net; ip addr show lo | grep -o 127.0.0.1/8", "lo\n127.0.0.1/8\n", []string{"--network", "none"}},
		{"network of the host", "hostname", host.Name + "\n", []string{"--network", "host"}},
		{"no new privileges", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n", []string{"--security-opt", "no-new-privileges"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.sh(c.script, c.flags...)
			if r.code != 0 || r.stderr != "" || r.stdout != c.want {
				t.Errorf("want %q: %v", c.want, r)
			}
		})
	}
}

func TestWhatTheImageSays(t *testing.T) {
	h := newHarness(t)
	base, err := shared.image.Layers()
	h.must(err)
	img, err := fixture.Image(v1.Config{
		Entrypoint: []string{"/bin/sh", "-c", `echo "$GREETING from $(id -un) in $(pwd): $0 $*"`},
		Cmd:        []string{"zero", "one"},
		Env:        []string{"PATH=/bin:/usr/bin", "GREETING=hello"},
		User:       "alice:staff",
		WorkingDir: "/home/alice",
		StopSignal: "SIGUSR1",
		Volumes:    map[string]struct{}{"/home/alice/data": {}},
		Labels:     map[string]string{"made": "by code"},
	}, base...)
	h.must(err)
	registry := fixture.StartRegistry()
	defer registry.Close()
	h.must(registry.Push("greeter:1", img))
	ref := registry.Ref("greeter:1")

	if r := h.run("run", "--rm", ref); r.code != 0 || r.stdout != "hello from alice in /home/alice: zero one\n" {
		t.Error(r)
	}
	h.prints("hello from alice in /home/alice: two \n", "run", "--rm", ref, "two")
	h.prints("good day from root in /tmp: a b\n", "run", "--rm", "-e", "GREETING=good day", "-u", "0", "-w", "/tmp", ref, "a", "b")
	h.prints("x\n", "run", "--rm", "--entrypoint", "/bin/echo", ref, "x")

	h.ok("run", "-d", "--name", "web", "--cidfile", "id", "--entrypoint", "/bin/sh", ref, "-c",
		"trap 'echo stopped; exit 5' USR1; echo up; while :; do sleep 0.1; done")
	id, err := os.ReadFile(filepath.Join(h.dir, "id"))
	h.must(err)
	got := h.inspect("web")
	if string(id) != got.ID || got.Config.Labels["made"] != "by code" {
		t.Errorf("cidfile %q, inspect %+v", id, got)
	}
	h.prints("0\n", "exec", "-u", "root", "web", "id", "-u")
	h.prints("1000\n", "exec", "web", "id", "-u")
	h.followed("web", "up\n")
	h.prints("web\n", "stop", "web")
	if got := h.inspect("web").State; got.ExitCode != 5 {
		t.Errorf("after its stop signal: %+v", got)
	}
	h.prints("web\n", "rm", "-v", "web")
}

// followed waits until the container has said text.
func (h *harness) followed(container, text string) {
	h.t.Helper()
	s := h.start("logs", "-f", container)
	s.expect(text)
	s.cmd.Process.Kill()
	<-s.done
}

// What a container writes is its own: neither the image nor another container
// of it sees it.
func TestContainersOfAnImageDontShareWrites(t *testing.T) {
	h := newHarness(t)
	ref := h.pull()
	h.prints("", "run", "--name", "one", ref, "sh", "-c", "echo mine > /etc/release; rm -f /bin/garbage; mkdir -p /new")
	h.prints("fixture 1\n", "run", "--rm", ref, "sh", "-c", "cat /etc/release; test -e /bin/garbage && test ! -e /new && test ! -e /sbin/init")
	h.prints("one\n", "start", "one") // its command again, on what it has written
	h.prints("0\n", "wait", "one")
	h.prints("one\n", "rm", "one")
	h.ok("rmi", ref)
}

func TestCreateStartRestart(t *testing.T) {
	h := newHarness(t)
	id := strings.TrimSpace(h.ok("create", "--name", "web", "--rootfs", h.rootfs(), "--", "/bin/sh", "-c", "echo run >> /count; exit 4"))
	if state := h.inspect("web").State; state.Status != "created" || state.Running {
		t.Errorf("state %+v", state)
	}
	for range 2 {
		h.prints("web\n", "start", "web")
		h.prints("4\n", "wait", id[:12])
	}
	count, err := os.ReadFile(filepath.Join(h.rootfs(), "count"))
	h.must(err)
	if string(count) != "run\nrun\n" {
		t.Errorf("count %q", count)
	}
	h.prints("web\n", "rm", "web")
}

func TestStopAsksBeforeItKills(t *testing.T) {
	h := newHarness(t)
	h.ok("run", "-d", "--name", "polite", "--rootfs", h.rootfs(), "--", "/bin/sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done")
	h.followed("polite", "up\n")
	h.prints("polite\n", "stop", "polite")
	if got := h.inspect("polite").State.ExitCode; got != 3 {
		t.Errorf("exit code %d, want 3", got)
	}
	h.ok("run", "-d", "--name", "stubborn", "--stop-signal", "USR1", "--rootfs", h.rootfs(), "--", "/bin/sh", "-c", "trap '' USR1; echo up; while :; do sleep 0.1; done")
	h.followed("stubborn", "up\n")
	h.prints("stubborn\n", "stop", "-t", "1", "stubborn")
	if got := h.inspect("stubborn").State.ExitCode; got != 137 {
		t.Errorf("exit code %d, want 137", got)
	}
	h.prints("polite\nstubborn\n", "rm", "polite", "stubborn")
}

// The small init reaps what the command leaves behind, and hands signals on.
func TestInitReapsAndForwards(t *testing.T) {
	h := newHarness(t)
	h.ok("run", "-d", "--name", "web", "--init", "--rootfs", h.rootfs(), "--", "/bin/sh", "-c",
		"trap 'echo caught; exit 9' HUP; (sleep 0.01 & exit) ; (true & exit); echo up; while :; do sleep 0.1; done")
	h.followed("web", "up\n")
	h.ok("exec", "web", "/bin/sh", "-c", "for i in 1 2 3 4 5; do (true &); done")
	if out := h.ok("exec", "web", "/bin/sh", "-c", "sleep 0.2; ps -o stat,args | grep '^Z' || echo none"); out != "none\n" {
		t.Errorf("zombies: %q", out)
	}
	h.prints("web\n", "kill", "-s", "HUP", "web")
	h.prints("9\n", "wait", "web")
	h.prints("up\ncaught\n", "logs", "web")
	h.prints("web\n", "rm", "web")
}

func TestGeneratedNames(t *testing.T) {
	h := newHarness(t)
	h.ok("create", "--rootfs", h.rootfs(), "--", "true")
	name := strings.TrimSpace(h.ok("ps", "-a", "--format", "{{.Names}}"))
	if !regexp.MustCompile(`^[a-z]+_[a-z]+\d?$`).MatchString(name) {
		t.Errorf("name %q", name)
	}
	h.prints(name+"\n", "rm", name)
}

func TestExplain(t *testing.T) {
	h := newHarness(t)
	rootfs := h.rootfs()
	plan := h.run("run", "--explain=plan", "--memory", "64M", "--rootfs", rootfs, "--", "/bin/echo", "hello")
	text := plan.stdout + plan.stderr
	for _, want := range []string{"pivot_root", "/proc", "mount", "67108864", "seccomp", "exec"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the plan:\n%s", want, text)
		}
	}
	if plan.code != 0 || strings.Contains(text, "\nhello\n") {
		t.Errorf("want the plan alone: %v", plan)
	}
	run := h.run("run", "--rm", "--explain", "--rootfs", rootfs, "--", "/bin/echo", "hello")
	if run.code != 0 || run.stdout != "hello\n" || !regexp.MustCompile(`\d ?[µm]s`).MatchString(run.stderr) {
		t.Errorf("want the plan with times on standard error: %v", run)
	}
}

// What reads the file takes the place of the command that was called: its
// streams, its exit code and its name, and nothing of it is open in the
// container.
func TestTheFileRunsAsFlagsDo(t *testing.T) {
	h := newHarness(t)
	rootfs := h.rootfs()
	h.file("minict.yaml", "rootfs: ./rootfs\nremove: true\ninteractive: true\n")
	command := []string{"--", "/bin/sh", "-c", "cat; echo /proc/self/fd/*; exit 7"}
	flags := h.runWith("in\n", append([]string{"run", "--rm", "-i", "--rootfs", rootfs}, command...)...)
	file := h.runWith("in\n", append([]string{"run", "--config", "minict.yaml"}, command...)...)
	if file.stdout != flags.stdout || file.stderr != "" || file.code != 7 {
		t.Errorf("by the file:\n%v\nby flags:\n%v", file, flags)
	}
	s := h.start("run", "--config", "minict.yaml", "--", "cat")
	s.send("up\n")
	s.expect("up\n")
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", s.cmd.Process.Pid))
	if err != nil || string(name) != "minict\n" {
		t.Errorf("the process is called %q (%v)", name, err)
	}
	s.closeInput()
	if r := s.wait(); r.code != 0 {
		t.Error(r)
	}
}
