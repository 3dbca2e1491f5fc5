package attach

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkSpawn measures what a command waits for its monitor, with the end of
// one that gets nothing to do left out.
func BenchmarkSpawn(b *testing.B) {
	state := b.TempDir()
	for b.Loop() {
		m, err := Spawn(state)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		m.Close()
		b.StartTimer()
	}
}

// BenchmarkRun measures a container that is hardly one: from the start of the
// monitor to its end.
func BenchmarkRun(b *testing.B) {
	t := &testing.T{}
	for b.Loop() {
		h := &host{t: t, state: b.TempDir(), data: b.TempDir()}
		h.run = h.state + "/containers/c0ffee"
		if err := os.MkdirAll(h.run, 0o700); err != nil {
			b.Fatal(err)
		}
		s, err := h.start(program{exec: []string{"/bin/true"}}, Container{Process: Process{Output: true}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Relay(context.Background(), Streams{}); err != nil {
			b.Fatal(err)
		}
		h.monitor.Wait()
	}
}

// The memory of monitors that have been idle for a moment, beside conmon's.
func TestMemory(t *testing.T) {
	const count = 3
	var pids []int
	for range count {
		h := newHost(t)
		s := h.mustStart(program{exec: []string{"/bin/sleep", "1000"}}, Container{LogDir: h.data})
		s.Close()
		pids = append(pids, h.monitor.pid)
	}
	before := memory(t, pids[0])
	for deadline := time.Now().Add(5 * time.Second); ; {
		for _, pid := range pids {
			if memory(t, pid) >= before && time.Now().Before(deadline) {
				waitALittle(t, pid)
			}
		}
		break
	}
	for _, pid := range pids {
		t.Logf("monitor: %d kB PSS, %d kB before it was idle", memory(t, pid), before)
	}
	_ = exec.ErrDot
}

func waitALittle(t *testing.T, pid int) {
	fds := []unix.PollFd{}
	unix.Poll(fds, 1200)
}

// memory gives the proportional set size of a process in kB.
func memory(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			n, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no Pss")
	return 0
}
