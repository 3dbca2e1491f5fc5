package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// moments is how many times a command is killed, at moments spread evenly over
// the time that it takes.
const moments = 10

// killed starts the command again and again and kills it with SIGKILL at one
// moment after the other; check looks after each.
func (h *harness) killed(check func(moment string), args ...string) {
	h.t.Helper()
	begin := time.Now()
	if r := h.run(args...); r.code != 0 {
		h.t.Fatal(r)
	}
	whole := time.Since(begin)
	check("at its end")
	for i := range moments {
		after := whole * time.Duration(i) / moments
		cmd := h.command(args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		h.must(cmd.Start())
		shot := time.AfterFunc(after, func() { cmd.Process.Kill() })
		cmd.Wait()
		shot.Stop()
		check(fmt.Sprintf("killed after %v of %v", after, whole))
	}
}

// settled checks that every container that is listed is whole: it can be
// inspected, and removed, unless it is a --rm container that has ended in the
// meantime. First it looks at once, while a monitor that lost its command may
// be in the middle of things, and again when all processes have ended. Then,
// with the next command, nothing is left (the harness looks).
func (h *harness) settled(moment string) {
	h.t.Helper()
	h.removeAll(moment)
	if _, err := h.before.Since(patience); err != nil {
		h.t.Fatal(err)
	}
	h.removeAll(moment)
	if out := h.ok("ps", "-aq"); out != "" {
		h.t.Fatalf("%s: still listed: %s", moment, out)
	}
}

func (h *harness) removeAll(moment string) {
	h.t.Helper()
	for _, id := range strings.Fields(h.ok("ps", "-aq")) {
		for _, verb := range [][]string{{"inspect", id}, {"rm", "-f", id}} {
			r := h.run(verb...)
			if r.code != 0 && !(r.code == 1 && strings.Contains(strings.ToLower(r.stderr), "no such") && strings.Contains(r.stderr, id)) {
				h.t.Fatalf("%s: %v", moment, r)
			}
		}
	}
}

func TestSIGKILLOfRun(t *testing.T) {
	for name, flags := range map[string][]string{
		"foreground":        {},
		"foreground, --rm":  {"--rm"},
		"background":        {"-d"},
		"background, --rm":  {"-d", "--rm"},
		"background, limit": {"-d", "--memory", "64M", "--pids-limit", "50"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			args := append(append([]string{"run"}, flags...), "--rootfs", h.rootfs(), "--", "true")
			h.killed(h.settled, args...)
		})
	}
}

func TestSIGKILLOfPull(t *testing.T) {
	h := newHarness(t)
	ref := shared.registry.Ref(imageName)
	h.killed(func(moment string) {
		// The image is either there as a whole, or not at all.
		if strings.TrimSpace(h.ok("images", "-q")) != "" {
			h.prints("fixture 1\n", "run", "--rm", "--pull", "never", ref, "cat", "/etc/release")
			h.ok("rmi", ref)
		}
		// The program that fetches for the command dies with it, and what that
		// leaves is swept by the command after its end.
		if _, err := h.before.Since(patience); err != nil {
			h.t.Fatal(err)
		}
		h.ok("ps")
	}, "pull", ref)
}

func TestSIGKILLOfTheMonitor(t *testing.T) {
	for name, flags := range map[string][]string{
		"kept":   {},
		"--rm":   {"--rm"},
		"--init": {"--init"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			args := append(append([]string{"run", "-d", "--name", "web"}, flags...), "--rootfs", h.rootfs(), "--", "sleep", "1000")
			h.ok(args...)
			pid := h.inspect("web").State.Pid
			monitor := h.parent(pid)
			if monitor == 1 || monitor == os.Getpid() {
				t.Fatalf("the parent of process %d is %d, want a monitor", pid, monitor)
			}
			h.must(syscall.Kill(monitor, syscall.SIGKILL))
			h.gone(monitor)

			// The next command finds the container gone or whole.
			running := h.ok("ps", "-q")
			if running != "" {
				if state := h.inspect("web").State; !state.Running {
					t.Errorf("ps lists it, but inspect says %+v", state)
				}
				h.ok("stop", "-t", "0", "web")
			}
			if h.ok("ps", "-aq") != "" {
				if state := h.inspect("web").State; state.Running {
					t.Errorf("state %+v", state)
				}
				h.ok("rm", "-f", "web")
			}
			h.gone(pid)
			h.prints("", "run", "--rm", "--name", "web", "--rootfs", h.rootfs(), "--", "true")
		})
	}
}

// What a killed monitor could not remove the next command has removed when it ends,
// though it was for another container.
func TestExecSweepsWhatWasKilled(t *testing.T) {
	for _, flags := range [][]string{{}, {"-d"}} {
		h := newHarness(t)
		h.ok("run", "-d", "--name", "stays", "--rootfs", h.rootfs(), "--", "sleep", "1000")
		h.ok("run", "-d", "--rm", "--name", "dies", "--rootfs", h.rootfs(), "--", "sleep", "1000")
		id, pid := h.inspect("dies").ID, h.inspect("dies").State.Pid
		monitor := h.parent(pid)
		h.must(syscall.Kill(monitor, syscall.SIGKILL))
		h.gone(monitor)
		h.gone(pid)
		left := filepath.Join(h.State, "containers", id)
		if _, err := os.Lstat(left); err != nil {
			t.Fatalf("nothing is left to be swept: %v", err)
		}
		h.prints("", append(append([]string{"exec"}, flags...), "stays", "true")...)
		if _, err := os.Lstat(left); err == nil {
			t.Errorf("exec %q has not swept %s", flags, left)
		}
		h.ok("rm", "-f", "stays")
	}
}

// A foreground run that is killed leaves its container to its monitor, or
// takes it along: never something between.
func TestSIGKILLOfAForegroundRunWhileItRuns(t *testing.T) {
	for name, flags := range map[string][]string{"kept": {}, "--rm": {"--rm"}} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			args := append(append([]string{"run", "--name", "web"}, flags...), "--rootfs", h.rootfs(), "--", "/bin/sh", "-c", "echo up; exec sleep 1000")
			s := h.start(args...)
			s.expect("up\n")
			pid := h.inspect("web").State.Pid
			s.signal(syscall.SIGKILL)
			<-s.done
			if h.ok("ps", "-q") != "" {
				h.prints("up\n", "logs", "web")
				h.prints("", "exec", "web", "true")
			}
			h.settled("killed while it ran")
			h.gone(pid)
		})
	}
}

func TestInterruptEndsTheContainer(t *testing.T) {
	h := newHarness(t)
	s := h.start("run", "--rm", "--rootfs", h.rootfs(), "--", "/bin/sh", "-c", "trap 'echo bye; exit 7' INT; echo up; while :; do sleep 1; done")
	s.expect("up\n")
	s.signal(syscall.SIGINT)
	if r := s.wait(); r.code != 7 || r.stdout != "up\nbye\n" {
		t.Error(r)
	}
}
