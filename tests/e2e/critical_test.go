package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The three things that make a container one. If one of these fails, nothing
// else counts.

func TestContainerSeesItsOwnInitAsPID1(t *testing.T) {
	h := newHarness(t)
	rootfs := h.rootfs()
	h.prints("1\n", "run", "--rm", "--rootfs", rootfs, "--", "/bin/sh", "-c", "echo $$")

	// Nothing but its own processes: the shell, and what looks.
	seen := h.ok("run", "--rm", "--rootfs", rootfs, "--", "/bin/sh", "-c", "ps -o pid,comm; true")
	if got := strings.Join(strings.Fields(seen), " "); got != "PID COMMAND 1 sh 2 ps" {
		t.Errorf("ps shows %q", got)
	}

	// From outside it is some other process, whose number inside is 1.
	h.ok("run", "-d", "--name", "one", "--rootfs", rootfs, "--", "sleep", "1000")
	pid := h.inspect("one").State.Pid
	if got := strings.Fields(h.status(pid, "NSpid")); len(got) < 2 || got[len(got)-1] != "1" || got[0] == "1" {
		t.Errorf("NSpid %q", got)
	}
	h.ok("rm", "-f", "one")

	// With --init, PID 1 is not the command but its parent.
	h.prints("1\n", "run", "--rm", "--init", "--rootfs", rootfs, "--", "/bin/sh", "-c", "test $$ != 1 && echo $PPID")
}

func TestMemoryLimitTriggersAnOOMKill(t *testing.T) {
	h := newHarness(t)
	// dd fills a buffer of 64 MiB in its own memory.
	r := h.run("run", "--name", "oom", "--memory", "24M", "--rootfs", h.rootfs(), "--",
		"dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")
	if r.code != 137 {
		t.Errorf("want exit code 137: %v", r)
	}
	state := h.inspect("oom").State
	if !state.OOMKilled || state.ExitCode != 137 || state.Running {
		t.Errorf("state %+v", state)
	}
	h.ok("rm", "oom")

	// A kill by somebody else is no OOM kill, and 64 MiB fit into 200.
	r = h.run("run", "--name", "fits", "--memory", "200M", "--rootfs", h.rootfs(), "--",
		"/bin/sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; exit 137")
	if state := h.inspect("fits").State; r.code != 137 || state.OOMKilled {
		t.Errorf("%v\nstate %+v", r, state)
	}
	h.ok("rm", "fits")
}

// escapes are ways to a file of the host that do not lead there. $F is the
// file's path on the host, $D the number of the host's disk.
var escapes = map[string]string{
	"its path":               `cat "$F"`,
	"dots":                   `cat "/../../../../../..$F"`,
	"the root of init":       `cat "/proc/1/root/..$F"`,
	"the cwd of init":        `cat "/proc/1/cwd/../../../..$F"`,
	"a link":                 `ln -s "$F" /tmp/link && cat /tmp/link`,
	"a link in the rootfs":   `cat /planted`,
	"a second chroot":        `mkdir /tmp/jail && cp /bin/busybox /tmp/jail && chroot /tmp/jail /busybox cat "/../../../../../..$F"`,
	"the host's disk":        `mknod /tmp/disk b $D && head -c 1 /tmp/disk`,
	"the root put back":      `mount --bind / /tmp && cat "/tmp$F"`,
	"a mount of host's proc": `mkdir /tmp/p && mount -t proc proc /tmp/p && cat "/tmp/p/1/root/..$F"`,
	"an open descriptor":     `for d in /proc/self/fd/*; do cat "$d$F" "$d/..$F" && exit 0; done 2>/dev/null; exit 1`,
	"a namespace of init":    `nsenter -t 1 -m cat "$F"`,
}

func TestHostFilesCantBeReached(t *testing.T) {
	h := newHarness(t)
	rootfs := h.rootfs()
	secret := h.file("secret", "a file of the host")
	h.must(os.Symlink(secret, filepath.Join(rootfs, "planted")))
	var disk unix.Stat_t
	h.must(unix.Stat("/etc", &disk))
	number := fmt.Sprintf("%d %d", unix.Major(disk.Dev), unix.Minor(disk.Dev))

	for name, script := range escapes {
		for _, dir := range []string{"/", "/tmp"} {
			r := h.run("run", "--rm", "-e", "F="+secret, "-e", "D="+number, "-w", dir, "--rootfs", rootfs, "--",
				"/bin/sh", "-c", script)
			if r.code == 0 || strings.Contains(r.stdout+r.stderr, "a file of the host") {
				t.Errorf("by %s from %s: %v", name, dir, r)
			}
		}
		os.RemoveAll(filepath.Join(rootfs, "tmp"))
		h.must(os.Mkdir(filepath.Join(rootfs, "tmp"), 0o777))
	}

	// No mount inside shows where on the host it comes from, but the root's own.
	mounts := h.ok("run", "--rm", "--rootfs", rootfs, "--", "cat", "/proc/self/mountinfo")
	for _, line := range strings.Split(strings.TrimSpace(mounts), "\n") {
		if fields := strings.Fields(line); strings.HasPrefix(fields[4], h.dir) {
			t.Errorf("a mount of the host: %s", line)
		}
	}
	if got := h.ok("run", "--rm", "--rootfs", rootfs, "--", "/bin/sh", "-c", "cat /proc/self/cgroup | cut -d: -f3 | sort -u"); got != "/\n" {
		t.Errorf("its own cgroups are called %q, want / in a private namespace", got)
	}
}
