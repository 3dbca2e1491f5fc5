package quiet

import (
	"os"
	"runtime"
	"strings"
	"testing"
)

func TestNoHeapProfile(t *testing.T) {
	if runtime.MemProfileRate != 0 {
		t.Errorf("one allocation in %d bytes is looked at", runtime.MemProfileRate)
	}
}

// TestOneThreadIsSlow looks whether the thread that the runtime made first got
// the slack, and no other: what a program itself waits for is not to come late.
func TestOneThreadIsSlow(t *testing.T) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for i, thread := range threads {
		raw, err := os.ReadFile("/proc/" + thread.Name() + "/timerslack_ns")
		if os.IsNotExist(err) {
			continue // it has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		got := strings.TrimSpace(string(raw))
		if slow := got == slack; slow != (i == 1) {
			t.Errorf("thread %d has a slack of %s ns", i, got)
		}
	}
}
