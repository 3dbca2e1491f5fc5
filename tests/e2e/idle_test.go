package e2e

import "testing"

// A monitor that has nothing to do for a second gives memory back. What it has
// to undo at the end it must not forget with it: the harness looks for that.
func TestNothingIsLeftOfARunThatWasIdle(t *testing.T) {
	h := newHarness(t)
	h.prints("", "run", "--rm", "--rootfs", h.rootfs(), "--", "sleep", "1.5")
}
