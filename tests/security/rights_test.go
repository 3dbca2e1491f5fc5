package security

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"minict/tests/fixture"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// Attack 13, CVE-2024-40635, CVE-2026-30892: a user that overflows a number,
// or that only looks like one, becomes root.
func TestUsersThatAreNoNumbers(t *testing.T) {
	m := newTarget(t)
	hostile := fixture.Passwd
	for _, name := range []string{"4294967296", "2147483648", "+1", "-1", " 1"} {
		hostile += name + ":x:0:0::/:/bin/sh\n"
	}
	m.must(os.WriteFile(filepath.Join(m.rootfs(), "etc/passwd"), []byte(hostile), 0o644))
	m.background("box")
	for _, user := range []string{
		"4294967296", "2147483648", "99999999999999999999", "0x0", "+1", "-1", " 1", "1:", ":1", ":",
		"1000:4294967296", "1000:-1", "alice:", "alice:4294967295", "1:1:1", "nobodyhere", "alice\n",
	} {
		m.refused("", "run", "--rm", "--rootfs", m.rootfs(), "-u", user, "--", "id", "-u")
		m.refused("", "exec", "-u", user, "box", "id", "-u")
	}
	ref := m.image(v1.Config{User: "4294967296"})
	m.refused("4294967296", "run", "--rm", ref, "id", "-u")
	m.run("rmi", ref)
}

// Attack 14, CVE-2024-9676: /etc/passwd is something that can't be read to its
// end, or lies elsewhere.
func TestHostilePasswd(t *testing.T) {
	m := newTarget(t)
	passwd := filepath.Join(m.rootfs(), "etc/passwd")
	secret := filepath.Join(m.dir, "passwd")
	m.must(os.WriteFile(secret, []byte("eve:x:0:0::/:/bin/sh\n"), 0o600))
	m.background("box")
	for name, build := range map[string]func() error{
		"FIFO":        func() error { return unix.Mkfifo(passwd, 0o666) },
		"device":      func() error { return os.Symlink("/dev/zero", passwd) },
		"two GiB":     func() error { return sparse(passwd, 2<<30) },
		"directory":   func() error { return os.Mkdir(passwd, 0o755) },
		"on the host": func() error { return os.Symlink("../../../../../../../../.."+secret, passwd) },
		"by procfs":   func() error { return os.Symlink("/proc/1/root"+secret, passwd) },
	} {
		m.must(os.Remove(passwd))
		m.must(build())
		for _, args := range [][]string{
			{"run", "--rm", "--rootfs", m.rootfs(), "-u", "eve", "--", "true"},
			{"exec", "-u", "eve", "box", "true"},
		} {
			cmd := m.command(args...)
			begin := time.Now()
			r := m.finish(cmd)
			usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
			if r.code == 0 || time.Since(begin) > 10*time.Second || usage.Maxrss > 128<<10 { // KiB
				t.Errorf("%s, after %v and %d KiB: %v", name, time.Since(begin), usage.Maxrss, r)
			}
		}
	}
}

func sparse(path string, size int64) error {
	if err := os.WriteFile(path, []byte("root:x:0:0::/:/bin/sh\n"), 0o644); err != nil {
		return err
	}
	return os.Truncate(path, size)
}

// Attack 15, CVE-2022-4318: a line break in what minict writes into a file of
// the container's.
func TestLineBreaks(t *testing.T) {
	m := newTarget(t)
	for _, flags := range [][]string{
		{"-h", "a\nroot::0:0"}, {"--domainname", "a\nb"}, {"-e", "HOME=/\nx"}, {"-e", "HOME=/:x"}, {"--name", "a\nb"},
		{"--add-host", "a\nb:1.2.3.4"}, {"--add-host", "a:1.2.3.4\n6.6.6.6 b"}, {"-e", "A\nB=1"}, {"-h", "a b"}, {"-u", "alice\nroot"},
	} {
		m.refused("", append(append([]string{"run", "--rm", "--rootfs", m.rootfs()}, flags...), "--", "true")...)
	}
}

// Attacks 16 and 17, CVE-2022-29162: rights that are inherited through execve,
// or that a left-out set leaves.
func TestNoRightsAreInherited(t *testing.T) {
	m := newTarget(t)
	m.background("box")
	m.background("none", "--cap-drop", "ALL")
	const inherited = "grep -E 'CapInh|CapAmb' /proc/self/status"
	const nothing = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n"
	for _, args := range [][]string{
		{"exec", "box"}, {"exec", "-u", "alice", "box"}, {"exec", "--privileged", "box"},
		{"run", "--rm", "--rootfs", m.rootfs(), "--"}, {"run", "--rm", "--privileged", "-u", "alice", "--rootfs", m.rootfs(), "--"},
		{"run", "--rm", "--init", "--cap-add", "ALL", "--rootfs", m.rootfs(), "--"},
	} {
		if out := m.ok(append(args, "/bin/sh", "-c", inherited)...); out != nothing {
			t.Errorf("%q: %q", args, out)
		}
	}
	for _, user := range []string{"root", "alice"} {
		out := m.ok("exec", "-u", user, "none", "/bin/sh", "-c", "grep -E 'Cap(Bnd|Eff|Prm)' /proc/self/status | cut -f2 | sort -u")
		if out != "0000000000000000\n" {
			t.Errorf("exec of %s in a container without rights: %q", user, out)
		}
	}
}

// Attack 19, CVE-2022-36109, CVE-2023-25173: groups of the caller's come
// along, or the group of the user is not among its groups, so that what is
// denied to the group is permitted.
func TestGroups(t *testing.T) {
	m := newTarget(t)
	denied := filepath.Join(m.rootfs(), "denied")
	m.must(os.WriteFile(denied, []byte("x"), 0o600))
	m.must(os.Chown(denied, 0, 1000))
	m.must(os.Chmod(denied, 0o707))
	m.background("box")
	for want, args := range map[string][]string{
		"1000 50\n": {"run", "--rm", "-u", "alice", "--rootfs", m.rootfs(), "--"},
		"7\n":       {"run", "--rm", "-u", "1000:7", "--rootfs", m.rootfs(), "--"},
		"0\n":       {"exec", "-u", "77", "box"},
	} {
		cmd := m.command(append(args, "id", "-G")...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Groups: []uint32{4, 27}}}
		if r := m.finish(cmd); r.stdout != want {
			t.Errorf("want %q: %v", want, r)
		}
	}
	for _, args := range [][]string{{"run", "--rm", "-u", "7:1000", "--rootfs", m.rootfs(), "--"}, {"exec", "-u", "7:1000", "box"}} {
		if r := m.run(append(args, "cat", "/denied")...); r.code == 0 {
			t.Error(r)
		}
	}
}

// Attack 20: a set-uid program gives what no_new_privs was to withhold.
func TestNoNewPrivileges(t *testing.T) {
	m := newTarget(t)
	program, err := os.ReadFile(shared.probe)
	m.must(err)
	setuid := filepath.Join(m.rootfs(), "setuid")
	m.must(os.WriteFile(setuid, program, 0o755))
	m.must(os.Chmod(setuid, 0o755|os.ModeSetuid))
	m.background("box", "--security-opt", "no-new-privileges")
	m.background("open")
	ids := []string{"/setuid", probeWord, "ids"}
	for want, args := range map[string][]string{
		"1000 1000\n": append([]string{"exec", "-u", "alice", "box"}, ids...),
		"1000 0\n":    append([]string{"exec", "-u", "alice", "open"}, ids...), // or this test shows nothing
	} {
		if out := m.ok(args...); out != want {
			t.Errorf("%q: %q, want %q", args, out, want)
		}
	}
	r := m.in(append([]string{"-u", "alice", "--security-opt", "no-new-privileges", "--"}, ids...)...)
	if r.stdout != "1000 1000\n" {
		t.Error(r)
	}
}

// Attack 21: keyrings have no namespace, and the caller's session keyring would
// be the container's.
func TestKeysOfTheCaller(t *testing.T) {
	m := newTarget(t)
	runtime.LockOSThread() // keyrings are a thread's; it ends with the test
	_, err := unix.KeyctlJoinSessionKeyring("minict-test")
	m.must(err)
	_, err = unix.AddKey("user", "minict-secret", []byte("x"), unix.KEY_SPEC_SESSION_KEYRING)
	m.must(err)
	if _, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", "minict-secret", 0); err != nil {
		t.Fatalf("the caller does not find its own key: %v", err)
	}
	m.background("box", "--security-opt", "seccomp=unconfined")
	key := []string{"/probe", probeWord, "key", "minict-secret"}
	for _, r := range []result{
		m.in(append([]string{"--security-opt", "seccomp=unconfined", "--"}, key...)...),
		m.run(append([]string{"exec", "box"}, key...)...),
	} {
		if r.code != 0 || strings.Contains(r.stdout, "nil") {
			t.Error(r)
		}
	}
}

// Attack 22, "Shocker": a file of the host by its handle.
func TestFileHandles(t *testing.T) {
	m := newTarget(t)
	for _, flags := range [][]string{nil, {"--security-opt", "seccomp=unconfined"}} {
		if r := m.in(append(flags, "--", "/probe", probeWord, "handle")...); r.stdout != "operation not permitted\n" {
			t.Error(r)
		}
	}
}

// Attack 23, CVE-2017-5226: characters are pushed into the terminal of who
// started the container.
func TestTerminalOfTheCaller(t *testing.T) {
	m := newTarget(t)
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	m.must(err)
	master := os.NewFile(uintptr(fd), "ptmx")
	defer master.Close()
	m.must(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	slave := os.NewFile(peer, "pts")
	defer slave.Close()
	m.background("box")
	for _, args := range [][]string{
		{"run", "--rm", "--rootfs", m.rootfs(), "-v", m.probeMount(), "--"}, {"exec", "box"},
		{"run", "--rm", "-i", "--rootfs", m.rootfs(), "-v", m.probeMount(), "--"}, {"exec", "-i", "box"},
	} {
		cmd := m.command(append(args, "/probe", probeWord, "terminal")...)
		cmd.Stdin = slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if r := m.finish(cmd); r.code != 0 || r.stdout != "" {
			t.Error(r)
		}
		if pending, err := unix.IoctlGetInt(int(slave.Fd()), unix.TIOCINQ); err != nil || pending != 0 {
			t.Errorf("%q: %d characters in the caller's terminal, %v", args, pending, err)
		}
	}
}

// Attack 24: the host's terminals by their numbers.
func TestTerminalsOfTheHost(t *testing.T) {
	m := newTarget(t)
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	m.must(err)
	defer unix.Close(fd)
	if out := m.sh("ls /dev/pts; readlink /dev/ptmx"); out != "ptmx\npts/ptmx\n" {
		t.Errorf("%q", out)
	}
	if out := m.sh("tty; ls /dev/pts | tr '\\n' ' '", "-t"); !strings.HasPrefix(out, "/dev/pts/0\r\n0 ptmx ") {
		t.Errorf("%q", out)
	}
}

// Attack 27: rights come only to who asks for them by name.
func TestWhatIsPrivileged(t *testing.T) {
	m := newTarget(t)
	const plain = uint64(0xa80425fb)
	const admin = uint64(1) << unix.CAP_SYS_ADMIN
	m.background("box")
	m.background("bare", "--cap-drop", "ALL", "--cap-add", "CHOWN")
	for _, c := range []struct {
		want uint64
		args []string
	}{
		{plain, []string{"exec", "box"}},
		{1, []string{"exec", "bare"}},
		{plain, []string{"run", "--rm", "--rootfs", m.rootfs(), "--"}},
		{plain | admin, []string{"run", "--rm", "--cap-add", "SYS_ADMIN", "--rootfs", m.rootfs(), "--"}},
		{0, []string{"run", "--rm", "-u", "alice", "--cap-add", "SYS_ADMIN", "--rootfs", m.rootfs(), "--"}},
	} {
		out := m.ok(append(c.args, "/bin/sh", "-c", "grep CapEff /proc/self/status")...)
		if out != fmt.Sprintf("CapEff:\t%016x\n", c.want) {
			t.Errorf("%q: %q, want %x", c.args, out, c.want)
		}
	}
	var all uint64
	out := m.ok("exec", "--privileged", "box", "/bin/sh", "-c", "grep CapEff /proc/self/status")
	if _, err := fmt.Sscanf(out, "CapEff:\t%x\n", &all); err != nil || all&admin == 0 {
		t.Errorf("exec --privileged: %q, %v", out, err)
	}
	if m.run("run", "--rm", "--rootfs", m.rootfs(), "--", "mount", "-t", "tmpfs", "none", "/tmp").code == 0 {
		t.Error("mounts without asking for the right")
	}
}

// Attacks 30 to 34: system calls that go around the filter, or a way to start
// a process that forgets it.
func TestFilterOfEveryProcess(t *testing.T) {
	m := newTarget(t)
	m.background("box")
	m.background("init", "--init")
	script := "grep Seccomp: /proc/self/status; /probe " + probeWord + " syscalls"
	const want = "Seccomp:\t2\n"
	for _, args := range [][]string{
		{"run", "--rm", "-v", m.probeMount(), "--rootfs", m.rootfs(), "--"},
		{"run", "--rm", "-v", m.probeMount(), "--init", "--security-opt", "no-new-privileges", "--rootfs", m.rootfs(), "--"},
		{"run", "--rm", "-v", m.probeMount(), "-u", "alice", "--rootfs", m.rootfs(), "--"},
		{"exec", "box"}, {"exec", "-u", "alice", "box"}, {"exec", "init"}, {"exec", "--privileged", "box"},
	} {
		r := m.run(append(args, "/bin/sh", "-c", script)...)
		if r.stdout != want && !(args[1] == "--privileged" && strings.HasPrefix(r.stdout, "Seccomp:\t")) {
			t.Error(r)
		}
	}
	m.ok("create", "--name", "made", "-v", m.probeMount(), "--rootfs", m.rootfs(), "--", "/bin/sh", "-c", script)
	for range 2 {
		if out := m.ok("start", "-a", "made"); out != want {
			t.Errorf("start: %q", out)
		}
	}
	m.ok("rm", "made")
	if got := m.status(m.pid("init"), "Seccomp"); got != "2" {
		t.Errorf("the small init: Seccomp %s", got)
	}
}
