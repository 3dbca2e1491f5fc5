package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// limit is a file of a cgroup and what has to be in it.
type limit struct {
	controller string
	v1, v1want string
	v2, v2want string
}

func (h *harness) limited(pid int, limits []limit) {
	h.t.Helper()
	for _, l := range limits {
		dir, unified := h.cgroupOf(pid, l.controller)
		if !strings.Contains(dir, "/minict/") {
			h.t.Errorf("%s: the cgroup is %s, want one below minict", l.controller, dir)
		}
		file, want := l.v1, l.v1want
		if unified {
			file, want = l.v2, l.v2want
		}
		got, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			h.t.Error(err)
		} else if strings.TrimSpace(string(got)) != want {
			h.t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

var somelimits = []limit{
	{"memory", "memory.limit_in_bytes", "67108864", "memory.max", "67108864"},
	{"memory", "memory.memsw.limit_in_bytes", "100663296", "memory.swap.max", "33554432"},
	{"cpu", "cpu.shares", "256", "cpu.weight", "35"},
	{"cpu", "cpu.cfs_quota_us", "50000", "cpu.max", "50000 100000"},
	{"cpuset", "cpuset.cpus", "1", "cpuset.cpus", "1"},
	{"pids", "pids.max", "50", "pids.max", "50"},
}

func TestLimitsOfFlags(t *testing.T) {
	h := newHarness(t)
	h.ok("run", "-d", "--name", "web", "--memory", "64M", "--memory-swap", "96M", "--cpu-shares", "256",
		"--cpus", "0.5", "--cpuset-cpus", "1", "--pids-limit", "50", "--rootfs", h.rootfs(), "--", "sleep", "1000")
	h.limited(h.inspect("web").State.Pid, somelimits)
	h.prints("web\n", "rm", "-f", "web")
}

func TestLimitsOfTheFile(t *testing.T) {
	h := newHarness(t)
	h.rootfs()
	h.file("minict.yaml", `
rootfs: ./rootfs
cgroups:
  memory: 128M
  memory_swap: 96M
  cpu_shares: 256
  cpus: 0.5
  cpuset_cpus: "1"
  pids: 50
`)
	// The flag overrides the file.
	h.ok("run", "-d", "--name", "web", "--config", "minict.yaml", "--memory", "64M", "--", "sleep", "1000")
	h.limited(h.inspect("web").State.Pid, somelimits)
	h.prints("web\n", "rm", "-f", "web")
}

// Without limits there is one all the same: Docker has none on processes, and
// one fork bomb takes the machine.
func TestLimitsOfTheDefault(t *testing.T) {
	h := newHarness(t)
	h.ok("run", "-d", "--name", "web", "--rootfs", h.rootfs(), "--", "sleep", "1000")
	h.limited(h.inspect("web").State.Pid, []limit{
		{"pids", "pids.max", "2048", "pids.max", "2048"},
	})
	h.prints("web\n", "rm", "-f", "web")
}

func TestProcessesBeyondTheLimitAreRefused(t *testing.T) {
	h := newHarness(t)
	r := h.run("run", "--rm", "--pids-limit", "5", "--rootfs", h.rootfs(), "--",
		"/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo survived")
	if strings.Contains(r.stdout, "survived") || !strings.Contains(r.stderr, "can't fork") {
		t.Error(r)
	}
}

func TestUlimits(t *testing.T) {
	h := newHarness(t)
	h.prints("100\n200\n", "run", "--rm", "--ulimit", "nofile=100:200", "--rootfs", h.rootfs(), "--",
		"/bin/sh", "-c", "ulimit -Sn; ulimit -Hn")
}

// The process and its children are in the cgroup from their first instruction
// on: a child can't have been forked outside it.
func TestEveryProcessIsInTheCgroup(t *testing.T) {
	h := newHarness(t)
	s := h.start("run", "--name", "web", "--rootfs", h.rootfs(), "--", "/bin/sh", "-c", "sleep 1000 & sleep 1000 & echo up; wait")
	s.expect("up\n")
	pid := h.inspect("web").State.Pid
	h.prints("", "exec", "web", "true")
	dir, _ := h.cgroupOf(pid, "pids")
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	h.must(err)
	if got := strings.Fields(string(procs)); len(got) != 3 || !strings.Contains(string(procs), fmt.Sprint(pid)) {
		t.Errorf("processes %q, want the shell (%d) and two sleeps", got, pid)
	}
	h.prints("web\n", "kill", "web")
	s.wait()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the cgroup stays: %v", err)
	}
	h.prints("web\n", "rm", "web")
}
