package monitor

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"minict/container/wire"
)

func TestCountOOM(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		text, key string
		want      uint64
	}{
		{"low 0\nhigh 0\nmax 3\noom 2\noom_kill 7\noom_group_kill 0\n", "oom_kill", 7},
		{"oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", "oom_kill", 1},
		{"oom_kill_disable 5\n", "oom_kill", 0},
		{"", "oom_kill", 0},
		{"oom_kill many\n", "oom_kill", 0},
	} {
		must(t, os.WriteFile(dir+"/events", []byte(tt.text), 0o600))
		m := &monitor{start: &wire.Start{OOMFile: dir + "/events", OOMKey: tt.key}}
		if got := m.countOOM(); got != tt.want {
			t.Errorf("%q: got %d", tt.text, got)
		}
	}
	m := &monitor{start: &wire.Start{OOMFile: dir + "/missing"}}
	if got := m.countOOM(); got != 0 {
		t.Errorf("without a file: %d", got)
	}
}

func TestStartTime(t *testing.T) {
	if startTime(os.Getpid()) == 0 || startTime(os.Getpid()) < startTime(1) {
		t.Errorf("mine %d, that of PID 1 %d", startTime(os.Getpid()), startTime(1))
	}
	// A name that looks like the fields behind it.
	must(t, os.WriteFile("/proc/self/comm", []byte(") S 1 2"), 0))
	if startTime(os.Getpid()) < startTime(1) {
		t.Error("fooled by the program's name")
	}
	if startTime(1<<22+1) != 0 {
		t.Error("nobody has a start time")
	}
}

func TestEnds(t *testing.T) {
	for _, s := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGUSR1, unix.SIGPIPE, unix.Signal(34)} {
		if !ends(s) {
			t.Errorf("%v ends nothing", s)
		}
	}
	for _, s := range []unix.Signal{0, unix.SIGWINCH, unix.SIGCHLD, unix.SIGTSTP} {
		if ends(s) {
			t.Errorf("%v ends a process", s)
		}
	}
}

// Where the kernel can't kill a whole cgroup, its processes are killed one by
// one, and nobody else.
func TestKillCgroup(t *testing.T) {
	dir := t.TempDir()
	c := exec.Command("/bin/sleep", "1000")
	must(t, c.Start())
	other := exec.Command("/bin/sleep", "1000")
	must(t, other.Start())
	must(t, os.WriteFile(dir+"/cgroup.procs", []byte("0\n"+itoa(c.Process.Pid)+"\nx\n"), 0o600))
	if n := killAll(dir); n != 1 {
		t.Errorf("killed %d", n)
	}
	c.Wait()
	if err := other.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("killed another: %v", err)
	}
	other.Process.Kill()
	other.Wait()
	killCgroup(t.TempDir())
}
