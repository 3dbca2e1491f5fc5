package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Twenty containers at once, each through its whole life.
func TestManyAtOnce(t *testing.T) {
	h := newHarness(t)
	bundle := h.bundle(spec("exec sleep 1000"))
	short := h.bundle(spec("echo $$; exit 3"))
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			id := fmt.Sprintf("c%d", i)
			for _, args := range [][]string{
				{"create", "--bundle", bundle, id}, {"start", id}, {"exec", id, "true"}, {"state", id},
				{"kill", id, "KILL"}, {"delete", "--force", id},
			} {
				if r := h.run(args...); r.code != 0 || r.stderr != "" {
					t.Error(r)
				}
			}
			if r := h.run("run", "--bundle", short, id); r.code != 3 || r.stdout != "1\n" {
				t.Error(r)
			}
		})
	}
	all.Wait()
}

// Of many creates of one name one wins, and the others say so.
func TestOneWins(t *testing.T) {
	h := newHarness(t)
	bundle := h.bundle(spec("exec sleep 1000"))
	for range 5 {
		results := make([]result, 16)
		var all sync.WaitGroup
		for i := range results {
			all.Go(func() { results[i] = h.run("create", "--bundle", bundle, "c") })
		}
		all.Wait()
		won := 0
		for _, r := range results {
			switch {
			case r.code == 0 && r.stderr == "":
				won++
			case r.code != 1 || !strings.Contains(r.stderr, "already exists"):
				t.Error(r)
			}
		}
		if won != 1 {
			t.Errorf("%d of them won", won)
		}
		h.is("c", "created")
		// And of many starts.
		for i := range results {
			all.Go(func() { results[i] = h.run("start", "c") })
		}
		all.Wait()
		won = 0
		for _, r := range results {
			if r.code == 0 {
				won++
			}
		}
		if won != 1 {
			t.Errorf("%d starts succeeded", won)
		}
		h.stop("c")
	}
}

// A process that has the id of one that has ended is somebody else's.
func TestReusedProcessID(t *testing.T) {
	h := newHarness(t)
	h.prints("", "run", "--detach", "--bundle", h.bundle(spec("exec sleep 1000")), "c")
	pid := h.state("c").Pid
	file := filepath.Join(h.root, "c", "pid")
	whole := content(file) + "\n"
	var start uint64
	if n, err := fmt.Sscanf(whole, "%d %d\n", new(int), &start); n != 2 || err != nil {
		t.Fatalf("pid file %q", whole)
	}
	h.must(os.WriteFile(file, fmt.Appendf(nil, "%d %d\n", os.Getpid(), start), 0o600)) // this test's
	h.is("c", "stopped")
	h.fails(1, []string{"container not running"}, "kill", "c", "KILL")
	h.must(os.WriteFile(file, fmt.Appendf(nil, "%d %d\n", pid, start-1), 0o600))
	h.is("c", "stopped")
	// Another boot: neither ids nor times mean anything.
	h.must(os.WriteFile(file, []byte(whole), 0o600))
	state := filepath.Join(h.root, "c", "state.json")
	before := content(state)
	boot := content("/proc/sys/kernel/random/boot_id")
	h.must(os.WriteFile(state, []byte(strings.ReplaceAll(before, boot, "another")), 0o600))
	h.is("c", "stopped")
	h.must(os.WriteFile(state, []byte(before), 0o600))
	h.is("c", "running")
	h.stop("c")
}
