package attach

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkSpawn measures what a command waits for its monitor.
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
	h := &host{t: &testing.T{}, state: b.TempDir()}
	h.run = h.state + "/containers/c0ffee"
	for b.Loop() {
		if err := os.MkdirAll(h.run, 0o700); err != nil {
			b.Fatal(err)
		}
		p := program{exec: []string{"/bin/true"}, flags: unix.CLONE_NEWPID}
		s, err := h.start(p, Container{Process: Process{Output: true}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Relay(context.Background(), Streams{}); err != nil {
			b.Fatal(err)
		}
		if err := h.monitor.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMemory shows what monitors take that have nothing to do: one alone, and
// three of one program.
func TestMemory(t *testing.T) {
	h := newHost(t)
	state := h.state
	var pids []int
	for range 3 {
		h := newHost(t)
		h.state = state
		s := h.mustStart(program{exec: []string{"/bin/sleep", "1000"}}, Container{LogDir: h.data})
		s.Close()
		began := memory(t, h.monitor.pid)
		pids = append(pids, h.monitor.pid)
		for range 100 { // it becomes idle after a second
			unix.Nanosleep(&unix.Timespec{Nsec: 2e7}, nil)
			if len(pids) > 1 && len(pids) < 3 || memory(t, h.monitor.pid) < began*2/3 {
				break
			}
		}
		t.Logf("%d: %d kB PSS, %d kB before it was idle", len(pids), memory(t, h.monitor.pid), began)
	}
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
