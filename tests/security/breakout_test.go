package security

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minict/tests/fixture"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// Attack 1, CVE-2019-5736: the program of who starts a process in the
// container is reached by /proc/PID/exe, and overwritten.
func TestTheProgramThatStartsContainersCantBeOverwritten(t *testing.T) {
	m := newTarget(t)
	m.background("box", "--init")
	before := m.programs()
	attacker := m.start("exec", "-i", "box", "/probe", probeWord, "prowl")
	for range 10 {
		m.run("exec", "box", "/proc/self/exe")
		m.run("exec", "box", "/proc/self/exe", "--", "true")
	}
	m.in("--", "/proc/self/exe")
	seen := attacker.end()
	if !strings.Contains(seen, "sees program") {
		t.Errorf("the attacker has not even seen the init: %q", seen)
	}
	if strings.Contains(seen, "may ") {
		t.Errorf("the attacker: %s", seen)
	}
	if after := m.programs(); after != before {
		t.Errorf("programs changed from %s to %s", before, after)
	}
}

// programs are the digests of what runs on the host.
func (m *target) programs() string {
	m.t.Helper()
	files, err := filepath.Glob(filepath.Join(m.State, "bin", "*"))
	m.must(err)
	sums := ""
	for _, file := range append(files, shared.binary) {
		raw, err := os.ReadFile(file)
		m.must(err)
		sums += fmt.Sprintf("%x ", sha256.Sum256(raw))
	}
	return sums
}

// leaked is how far up the attacks look for a descriptor that was left open.
const leaked = 24

// Attack 2, CVE-2024-21626: a working directory on the host, by a descriptor
// that is open when it is entered.
func TestWorkingDirectoryThroughADescriptor(t *testing.T) {
	m := newTarget(t)
	m.background("box")
	look := []string{"/bin/sh", "-c", "cat ../../../../../../../../../.." + m.canary() + "/file 2>/dev/null; true"}
	inside := func(args ...string) {
		t.Helper()
		if r := m.run(append(args, look...)...); r.stdout != "" {
			t.Errorf("begins on the host: %v", r)
		}
	}
	for n := 3; n < leaked; n++ {
		dir := fmt.Sprintf("/proc/self/fd/%d", n)
		inside("run", "--rm", "--rootfs", m.rootfs(), "-w", dir, "--")
		inside("exec", "-w", dir, "box")
	}
	for _, n := range []int{7, 8, 9} {
		ref := m.image(v1.Config{WorkingDir: fmt.Sprintf("/proc/self/fd/%d", n)})
		inside("run", "--rm", ref)
		m.run("rmi", ref)
	}
}

// Attack 3: a program of the host, by the same way. The kernel looks the
// program, the interpreter of a script and the loader up before it closes
// what is to be closed by execve(2).
func TestProgramThroughADescriptor(t *testing.T) {
	m := newTarget(t)
	m.background("box")
	outside := filepath.Join(m.dir, "busybox")
	program, err := os.ReadFile(fixture.Busybox)
	m.must(err)
	m.must(os.WriteFile(outside, program, 0o755))
	inside := func(r result) {
		t.Helper()
		if r.code == 0 || strings.Contains(r.stdout, "escaped") {
			t.Errorf("a program of the host runs: %v", r)
		}
	}
	for n := 3; n < leaked; n++ {
		name := fmt.Sprintf("/proc/self/fd/%d/../../../../../../../../../..%s", n, outside)
		inside(m.in("--", name, "echo", "escaped"))
		inside(m.run("exec", "box", name, "echo", "escaped"))
		m.must(os.WriteFile(filepath.Join(m.rootfs(), "script"), []byte("#!"+name+" sh\necho escaped\n"), 0o755))
		inside(m.in("--", "/script"))
	}
}

// What the caller has left open is not the container's either.
func TestDescriptorsOfTheCaller(t *testing.T) {
	m := newTarget(t)
	m.background("box")
	root, err := os.Open("/")
	m.must(err)
	defer root.Close()
	for _, args := range [][]string{
		{"run", "--rm", "--rootfs", m.rootfs(), "--", "/bin/ls", "/proc/self/fd"},
		{"run", "--rm", "--init", "--rootfs", m.rootfs(), "--", "/bin/ls", "/proc/self/fd"},
		{"exec", "box", "/bin/ls", "/proc/self/fd"},
	} {
		cmd := m.command(args...)
		cmd.ExtraFiles = []*os.File{root, root, root}
		if r := m.finish(cmd); r.stdout != "0\n1\n2\n3\n" { // 3 is what ls reads
			t.Error(r)
		}
	}
}

// Attack 4, CVE-2016-9962: a process that is about to join the container is
// looked into, or traced, before it has given up what it has.
func TestProcessesThatJoinCantBeLookedInto(t *testing.T) {
	m := newTarget(t)
	m.background("box")
	attacker := m.start("exec", "-i", "box", "/probe", probeWord, "prowl")
	for range 40 {
		m.ok("exec", "box", "true")
	}
	if seen := attacker.end(); seen != "" {
		t.Errorf("the attacker: %s", seen)
	}
}

// Attacks 6 and 39, CVE-2025-31133: what masks a file is not the /dev/null of
// the image, and hides the file. The list is Docker's and Podman's.
func TestMaskedPaths(t *testing.T) {
	m := newTarget(t)
	defer m.anotherNull()()
	paths := "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug " +
		"/proc/scsi /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware /sys/fs/selinux"
	script := `for p in ` + paths + `; do
		if test -d $p; then test -z "$(ls -A $p)" || echo $p is not empty; touch $p/x 2>/dev/null && echo $p can be written
		elif test -e $p; then test $(stat -c %t:%T $p) = 1:3 || echo $p is no null; chmod 600 $p 2>/dev/null && echo the mode of $p can be changed; fi
	done; umount /proc/keys 2>/dev/null && echo uncovered; true`
	dev := filepath.Join(m.dir, "dev")
	m.must(os.Mkdir(dev, 0o755))
	m.must(os.Symlink("/proc/sys/kernel/core_pattern", filepath.Join(dev, "null")))
	for _, flags := range [][]string{nil, {"-v", dev + ":/dev"}} {
		r := m.in(append(flags, "--", "/bin/sh", "-c", script)...)
		if r.stdout != "" || r.code != 0 && flags == nil {
			t.Errorf("%q: %v", flags, r)
		}
	}
	for _, path := range []string{"/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/overcommit_memory", "/proc/irq/default_smp_affinity"} {
		if _, err := os.Stat(path); err != nil {
			continue // this kernel was built without it
		}
		if r := m.in("--", "/bin/sh", "-c", "echo 1 > "+path); r.code == 0 || !strings.Contains(r.stderr, "Read-only") {
			t.Errorf("%s: %v", path, r)
		}
	}
}

// The host's /dev/null is one file for the whole machine: who has it can take
// it away from everybody.
func TestTheHostsNullStaysTheHosts(t *testing.T) {
	m := newTarget(t)
	defer m.anotherNull()()
	var before, after unix.Stat_t
	m.must(unix.Stat("/dev/null", &before))
	m.background("box")
	script := "chmod 600 /proc/self/fd/0; chown 1000 /proc/self/fd/0; chmod 600 /proc/keys /proc/timer_list /proc/kcore"
	m.in("--", "/bin/sh", "-c", script)
	m.run("exec", "box", "/bin/sh", "-c", script)
	m.in("-u", "alice", "--", "true")
	m.run("exec", "-u", "alice", "box", "true")
	m.must(unix.Stat("/dev/null", &after))
	if before.Mode != after.Mode || before.Uid != after.Uid || before.Ctim != after.Ctim {
		t.Errorf("/dev/null was %+v, is %+v", before, after)
	}
}

// anotherNull gives the private host a /dev/null of its own, until the result is
// called: where the defence is broken, that of the machine must not suffer.
func (m *target) anotherNull() (restore func()) {
	m.t.Helper()
	null := filepath.Join(m.dir, "null")
	m.must(unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	m.must(os.Chmod(null, 0o666))
	m.must(unix.Mount(null, "/dev/null", "", unix.MS_BIND, ""))
	return func() { unix.Unmount("/dev/null", unix.MNT_DETACH) }
}

// Attack 7, CVE-2025-52565: what is bound on /dev/console is the container's
// own terminal, wherever the image's links lead.
func TestConsoleIsTheContainersTerminal(t *testing.T) {
	m := newTarget(t)
	out := m.sh("stat -c %t:%T /dev/console; tty; grep -c ' /dev/console .* devpts ' /proc/self/mountinfo", "-t")
	if strings.ReplaceAll(out, "\r", "") != "88:0\n/dev/pts/0\n1\n" {
		t.Errorf("%q", out)
	}
	dev := filepath.Join(m.dir, "dev")
	m.must(os.Mkdir(dev, 0o755))
	m.must(os.Symlink(filepath.Join(m.canary(), "file"), filepath.Join(dev, "console")))
	m.must(os.Symlink("/proc/sys", filepath.Join(dev, "pts")))
	if r := m.in("-t", "-v", dev+":/dev", "--", "/bin/sh", "-c", "echo x >/dev/console"); r.code == 0 {
		t.Error(r)
	}
}

// Attack 8, CVE-2025-52881: what is written to procfs goes elsewhere, because
// something is mounted over it.
func TestNothingIsMountedOverProc(t *testing.T) {
	m := newTarget(t)
	m.must(os.Symlink("/proc/sys", filepath.Join(m.rootfs(), "link")))
	m.must(os.Symlink("/proc/self/attr", filepath.Join(m.rootfs(), "attr")))
	for _, place := range []string{"/proc", "/proc/sys", "/proc/self", "/proc/self/attr", "/link", "/link/net", "/attr", "/tmp/../proc/sys"} {
		for _, flags := range [][]string{{"-v", m.source() + ":" + place}, {"--tmpfs", place}} {
			if r := m.in(append(flags, "--", "true")...); r.code == 0 {
				t.Error(r)
			}
		}
	}
}

// source is a directory to be mounted.
func (m *target) source() string {
	m.t.Helper()
	dir := filepath.Join(m.dir, "source")
	m.must(os.MkdirAll(dir, 0o755))
	return dir
}

// Attack 10, CVE-2021-30465: a directory on the way to a mount point is
// exchanged for a link while another container is being mounted.
func TestMountPointsThatAreExchanged(t *testing.T) {
	m := newTarget(t)
	canary := m.canary()
	volume := filepath.Join(m.dir, "volume")
	m.must(os.MkdirAll(filepath.Join(volume, "way"), 0o755))
	m.must(os.Symlink("../../../../../../../../../.."+canary, filepath.Join(volume, "link")))
	m.background("attacker", "-v", volume+":/volume")
	attacker := m.start("exec", "-i", "attacker", "/probe", probeWord, "exchange", "/volume/way", "/volume/link")
	before := m.mounts()
	ran := 0
	for range 40 {
		r := m.in("-v", volume+":/volume", "-v", m.source()+":/volume/way/made", "--tmpfs", "/volume/way/other", "--", "true")
		if r.code == 0 {
			ran++
		}
	}
	attacker.end()
	if after := m.mounts(); after != before {
		t.Errorf("the host's mounts changed from\n%s\nto\n%s", before, after)
	}
	if ran == 0 {
		t.Error("no container was started: nothing was tried")
	}
}

// A container has another one's root directory as volume: it exchanges the
// directory that procfs is mounted on for another, before procfs is masked.
func TestProcThatIsExchanged(t *testing.T) {
	m := newTarget(t)
	m.background("attacker", "-v", m.dir+":/volume") // with a root directory of its own
	victim := filepath.Join(m.dir, "victim")
	m.must(fixture.Rootfs(victim))
	m.must(os.Mkdir(filepath.Join(victim, "other"), 0o755))
	attacker := m.start("exec", "-i", "attacker", "/probe", probeWord, "exchange", "/volume/victim/proc", "/volume/victim/other")
	script := `for d in /proc /other; do
		(: >>$d/sys/kernel/core_pattern) 2>/dev/null && echo writes $d/sys
		kind=$(stat -c %t:%T $d/keys 2>/dev/null) || continue
		test $kind = 1:3 || echo $d/keys is not masked
	done; true`
	for range 60 {
		if r := m.run("run", "--rm", "--rootfs", victim, "--", "/bin/sh", "-c", script); r.stdout != "" {
			t.Error(r)
		}
	}
	attacker.end()
}

func (m *target) mounts() string {
	m.t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	m.must(err)
	return string(table)
}

// Attack 11, CVE-2024-45310: links of the image lead to where minict writes or
// mounts its own files.
func TestLinksInEtc(t *testing.T) {
	m := newTarget(t)
	canary := m.canary()
	for name, entries := range map[string][]fixture.Entry{
		"etc":               {fixture.Symlink("etc", canary)},
		"etc, by dots":      {fixture.Symlink("etc", "../../../../../../.."+canary)},
		"hosts":             {fixture.Symlink("etc/hosts", canary+"/new"), fixture.Symlink("etc/resolv.conf", canary+"/file")},
		"hosts, in procfs":  {fixture.Symlink("etc/hosts", "/proc/sys/kernel/hostname"), fixture.Symlink("etc/hostname", "/proc/1/root/"+canary+"/new")},
		"mtab and passwd":   {fixture.Symlink("etc/mtab", canary+"/new"), fixture.Symlink("etc/passwd", canary+"/file")},
		"home of the links": {fixture.Symlink("root", canary), fixture.Symlink("tmp", canary)},
	} {
		t.Run(name, func(t *testing.T) {
			ref := m.image(v1.Config{}, entries...)
			m.run("run", "--rm", ref, "/bin/sh", "-c", "cat /etc/hosts; echo x > /etc/hosts; cd /root && echo x > new")
			m.run("run", "--rm", "-u", "alice", "-w", "/tmp/a/b", ref, "/bin/true")
			m.run("rmi", ref)
		})
	}
}
