package e2e

import (
	"testing"
)

func TestExitCodesOfRun(t *testing.T) {
	h := newHarness(t)
	rootfs := h.rootfs()
	for _, c := range []struct {
		code   int
		stderr string
		args   []string
	}{
		{0, "", []string{"--rootfs", rootfs, "--", "true"}},
		{1, "", []string{"--rootfs", rootfs, "--", "false"}},
		{42, "", []string{"--rootfs", rootfs, "--", "/bin/sh", "-c", "exit 42"}},
		{255, "", []string{"--rootfs", rootfs, "--", "/bin/sh", "-c", "exit 255"}},
		{127, "minict: exec failed: /bin/missing\n", []string{"--rootfs", rootfs, "--", "/bin/missing"}},
		{127, "minict: exec failed: missing\n", []string{"--rootfs", rootfs, "--", "missing"}},
		{126, "minict: exec failed: /bin/notexecutable: permission denied\n", []string{"--rootfs", rootfs, "--", "/bin/notexecutable"}},
		{126, "minict: exec failed: /bin/garbage: exec format error\n", []string{"--rootfs", rootfs, "--", "/bin/garbage"}},
		{126, "minict: exec failed: /etc: permission denied\n", []string{"--rootfs", rootfs, "--", "/etc"}},
		// A signal of its own: with --init, since the kernel keeps PID 1 from
		// killing itself.
		{143, "", []string{"--init", "--rootfs", rootfs, "--", "/bin/sh", "-c", "kill -TERM $$"}},
		{137, "", []string{"--init", "--rootfs", rootfs, "--", "/bin/sh", "-c", "kill -KILL $$"}},
	} {
		r := h.run(append([]string{"run", "--rm"}, c.args...)...)
		if r.code != c.code || r.stderr != c.stderr || r.stdout != "" {
			t.Errorf("want exit code %d and %q: %v", c.code, c.stderr, r)
		}
	}
}

func TestExitCodeOfAKilledContainer(t *testing.T) {
	h := newHarness(t)
	s := h.start("run", "--name", "victim", "--rootfs", h.rootfs(), "--", "/bin/sh", "-c", "echo up; exec sleep 1000")
	s.expect("up\n")
	h.prints("victim\n", "kill", "victim")
	if r := s.wait(); r.code != 137 {
		t.Errorf("want exit code 137: %v", r)
	}
	if got := h.inspect("victim").State; got.ExitCode != 137 || got.OOMKilled {
		t.Errorf("state %+v", got)
	}
	h.ok("rm", "victim")
}

// Set-up that the kernel refuses is neither the user's fault in the arguments
// nor the command's.
func TestExitCodeOfAFailedSetUp(t *testing.T) {
	h := newHarness(t)
	rootfs := h.rootfs()
	h.file("rootfs/etc/file", "")
	h.fails(2, []string{"/etc/file/below"}, "run", "--rm", "--tmpfs", "/etc/file/below", "--rootfs", rootfs, "--", "true")
}
