package e2e

import (
	"strings"
	"testing"
)

// Docker's default capabilities, as /proc/PID/status prints them.
const defaultCapabilities = "00000000a80425fb"

func TestCapabilities(t *testing.T) {
	h := newHarness(t)
	for _, c := range []struct {
		name, field, want string
		flags             []string
	}{
		{"default", "CapEff", defaultCapabilities, nil},
		{"bounding", "CapBnd", defaultCapabilities, nil},
		{"inheritable", "CapInh", "0000000000000000", nil},
		{"ambient", "CapAmb", "0000000000000000", nil},
		{"dropped all", "CapBnd", "0000000000000000", []string{"--cap-drop", "ALL"}},
		{"dropped all but one", "CapEff", "0000000000000400", []string{"--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"}},
		{"added with prefix", "CapEff", "00000000a80435fb", []string{"--cap-add", "CAP_NET_ADMIN"}},
		{"of a user", "CapEff", "0000000000000000", []string{"-u", "alice"}},
	} {
		r := h.sh("grep "+c.field+" /proc/self/status", c.flags...)
		if r.stdout != c.field+":\t"+c.want+"\n" {
			t.Errorf("%s: want %s: %v", c.name, c.want, r)
		}
	}
}

func TestSeccomp(t *testing.T) {
	h := newHarness(t)
	if r := h.sh("grep Seccomp: /proc/self/status; unshare -m true"); !strings.HasPrefix(r.stdout, "Seccomp:\t2\n") || r.code == 0 {
		t.Errorf("default profile: %v", r)
	}
	if r := h.sh("grep Seccomp: /proc/self/status", "--security-opt", "seccomp=unconfined"); r.stdout != "Seccomp:\t0\n" {
		t.Errorf("unconfined: %v", r)
	}
	h.file("profile.json", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}`)
	if r := h.sh("mkdir /x 2>&1 || touch /y && echo touched", "--security-opt", "seccomp=profile.json"); r.stdout != "mkdir: can't create directory '/x': Permission denied\ntouched\n" {
		t.Errorf("own profile: %v", r)
	}
}

// What of /proc and /sys tells about the host, or changes it, is out of reach.
func TestMaskedAndReadOnlyPaths(t *testing.T) {
	h := newHarness(t)
	for script, want := range map[string]string{
		"head -c1 /proc/kcore | wc -c":                                "0\n",
		"head -c1 /proc/keys | wc -c":                                 "0\n",
		"ls /proc/scsi /sys/firmware 2>/dev/null | grep -v : | wc -w": "0\n",
		"echo x > /proc/sys/kernel/core_pattern":                      "",
		"echo b > /proc/sysrq-trigger":                                "",
		"mkdir /sys/fs/cgroup/x":                                      "",
		"mount -o remount,rw /sys":                                    "",
		"umount /proc/kcore":                                          "",
	} {
		r := h.sh(script)
		if refused := want == ""; r.stdout != want || refused != (r.code != 0) {
			t.Errorf("%s: want %q: %v", script, want, r)
		}
	}
}

func TestDevices(t *testing.T) {
	h := newHarness(t)
	r := h.sh("cd /dev; for d in full null random tty urandom zero; do test -c $d || echo no $d; done; ls | sort | tr '\\n' ' '")
	if want := "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero \n"; r.stdout != strings.TrimSuffix(want, "\n") {
		t.Errorf("want %q: %v", want, r)
	}
	for _, script := range []string{
		"mknod /tmp/mem c 1 1 && head -c1 /tmp/mem",
		"mknod /tmp/kmsg c 1 11 && head -c1 /tmp/kmsg",
		"mknod /tmp/nvme b 259 0 && head -c1 /tmp/nvme",
	} {
		if r := h.sh(script); r.code == 0 || !strings.Contains(r.stderr, "Operation not permitted") {
			t.Errorf("%s: %v", script, r)
		}
	}
}

// No descriptor of the host crosses into the container but 0, 1 and 2.
func TestDescriptors(t *testing.T) {
	h := newHarness(t)
	for _, flags := range [][]string{nil, {"--init"}, {"-i"}} {
		// The last one is the directory that ls itself reads.
		if r := h.sh("ls /proc/self/fd | tr '\\n' ' '", flags...); r.stdout != "0 1 2 3 " {
			t.Errorf("%q: %v", flags, r)
		}
	}
	h.ok("run", "-d", "--name", "web", "--rootfs", h.rootfs(), "--", "sleep", "1000")
	h.prints("0 1 2 3 ", "exec", "web", "/bin/sh", "-c", "ls /proc/self/fd | tr '\\n' ' '")
	h.prints("web\n", "rm", "-f", "web")
}

func TestPrivileged(t *testing.T) {
	h := newHarness(t)
	r := h.sh("grep -E 'CapEff|Seccomp:' /proc/self/status; mount -t tmpfs none /tmp && test -b /dev/loop0 -o -c /dev/kmsg && echo devices", "--privileged")
	if !strings.Contains(r.stdout, "Seccomp:\t0\n") || strings.Contains(r.stdout, defaultCapabilities) || !strings.HasSuffix(r.stdout, "devices\n") {
		t.Error(r)
	}
}
