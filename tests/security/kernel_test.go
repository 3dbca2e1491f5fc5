package security

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"minict/tests/fixture"
	"minict/tests/host"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// Attack 25, CVE-2021-41091, CVE-2024-25621: users of the host reach set-uid
// programs and devices of images, or what is being kept of containers.
func TestStoreIsPrivate(t *testing.T) {
	m := newTarget(t)
	ref := m.image(v1.Config{})
	umask := unix.Umask(0)
	r := m.run("run", "-d", "--name", "box", ref, "/bin/sh", "-c", "echo said; sleep 1000")
	unix.Umask(umask)
	if r.code != 0 {
		t.Fatal(r)
	}
	m.must(os.Chmod(filepath.Dir(m.Root), 0o755))
	for _, top := range []string{m.Root, m.State} {
		info, err := os.Stat(top)
		m.must(err)
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v", top, info.Mode())
		}
		m.must(filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(m.Root, path)
			parts := strings.Split(rel, "/")
			if len(parts) == 3 && parts[0] == "layers" || len(parts) == 3 && parts[0] == "containers" && d.IsDir() || rel == "base" {
				return fs.SkipDir // what the image and the container see
			}
			info, err := d.Info()
			if err == nil && info.Mode()&fs.ModeSymlink == 0 && info.Mode()&0o077 != 0 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			return err
		}))
	}
	m.ok("rm", "-f", "box")
	m.run("rmi", ref)
}

// Attacks 35 and 36, CVE-2022-0492, CVE-2023-25809: the container's cgroups are
// a way to the host's, and to a program that the kernel starts there.
func TestCgroupsCantBeWritten(t *testing.T) {
	m := newTarget(t)
	escape := `
		find /sys/fs/cgroup -type f -writable 2>/dev/null | while read f; do (: >>$f) 2>/dev/null && echo opens $f; done
		mkdir /sys/fs/cgroup/x 2>/dev/null && echo makes a group
		mkdir -p /tmp/c
		for kind in memory pids devices; do
			if mount -t cgroup -o $kind none /tmp/c 2>/dev/null; then
				(echo /cmd >/tmp/c/release_agent) 2>/dev/null && echo writes release_agent
				umount /tmp/c
			fi
		done; true`
	for _, flags := range [][]string{nil, {"--security-opt", "seccomp=unconfined"}} {
		for _, prefix := range []string{"", "unshare -UrmC "} {
			r := m.in(append(flags, "--", "/bin/sh", "-c", prefix+"/bin/sh -c '"+escape+"'")...)
			if r.stdout != "" {
				t.Errorf("%q %q: %v", flags, prefix, r)
			}
		}
	}
	hierarchies, err := host.Cgroups()
	m.must(err)
	for _, h := range hierarchies {
		if agent, err := os.ReadFile(filepath.Join(h.Dir, "release_agent")); err == nil && strings.Contains(string(agent), "/cmd") {
			t.Errorf("%s/release_agent: %q", h.Dir, agent)
		}
	}
}

// Attack 38: device nodes of the image, or made in the container, are the
// host's devices.
func TestDeviceNodes(t *testing.T) {
	m := newTarget(t)
	var disk unix.Stat_t
	m.must(unix.Stat("/etc", &disk))
	major, minor := int64(unix.Major(disk.Dev)), int64(unix.Minor(disk.Dev))
	ref := m.image(v1.Config{},
		fixture.Entry{Name: "mem", Type: tar.TypeChar, Mode: 0o666, Major: 1, Minor: 1},
		fixture.Entry{Name: "kmsg", Type: tar.TypeChar, Mode: 0o666, Major: 1, Minor: 11},
		fixture.Entry{Name: "disk", Type: tar.TypeBlock, Mode: 0o666, Major: major, Minor: minor})
	script := fmt.Sprintf(`mknod /tmp/disk b %d %d; mknod /tmp/fuse c 10 229; mknod /tmp/tun c 10 200
		for d in /mem /kmsg /disk /tmp/disk /tmp/fuse /tmp/tun; do (: <$d) 2>/dev/null && echo reads $d; (: >>$d) 2>/dev/null && echo writes $d; done; true`, major, minor)
	for _, flags := range [][]string{{}, {"--cap-add", "ALL"}} {
		args := append(append([]string{"run", "--rm"}, flags...), ref, "/bin/sh", "-c", script)
		if r := m.run(args...); r.stdout != "" {
			t.Error(r)
		}
	}
	m.run("rmi", ref)
}

// Attack 43: a fork bomb takes all processes that the machine can have.
func TestForkBomb(t *testing.T) {
	m := newTarget(t)
	bomb := m.start("run", "-i", "--name", "bomb", "--rootfs", m.rootfs(), "-v", m.probeMount(), "--", "/probe", probeWord, "fork")
	line, err := bomb.out.ReadString('\n')
	m.must(err)
	var n int
	if _, err := fmt.Sscanf(line, "resource temporarily unavailable after %d", &n); err != nil || n > 2048 || n < 1900 {
		t.Errorf("%q, want about 2048 processes", line)
	}
	begin := time.Now()
	if out := m.ok("ps", "-q"); strings.Count(out, "\n") != 1 {
		t.Errorf("ps: %q", out)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("ps took %v", took)
	}
	if r := m.run("exec", "bomb", "true"); r.code == 0 {
		t.Error("one more process fits in")
	}
	m.ok("rm", "-f", "bomb")
	bomb.end()
}

// Attack 44: memory runs out, and the kernel picks the monitor; or the
// container is spared because it has the monitor's score.
func TestScoresOfMonitorAndContainer(t *testing.T) {
	m := newTarget(t)
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	m.must(err)
	m.background("box")
	for _, args := range [][]string{{"exec", "box"}, {"run", "--rm", "--rootfs", m.rootfs(), "--"}} {
		if out := m.ok(append(args, "cat", "/proc/self/oom_score_adj")...); out != string(own) {
			t.Errorf("%q: score %q, the caller's is %q", args, out, own)
		}
	}
	pid := m.pid("box")
	var inside, outside string
	for id, to := range map[string]*string{fmt.Sprint(pid): &inside, m.status(pid, "PPid"): &outside} {
		raw, err := os.ReadFile("/proc/" + id + "/cgroup")
		m.must(err)
		*to = string(raw)
	}
	if !strings.Contains(inside, "/minict/") || strings.Contains(outside, "/minict/") {
		t.Errorf("the container is in\n%s\nits monitor in\n%s", inside, outside)
	}
}

// Attack 46: the pid in a state file belongs to somebody else by now.
func TestReusedPid(t *testing.T) {
	m := newTarget(t)
	bystander := exec.Command(fixture.Busybox, "sleep", "1000")
	m.must(bystander.Start())
	defer func() {
		bystander.Process.Kill()
		bystander.Wait()
	}()
	m.rootfs() // takes a while, so that the start times differ
	m.background("box")
	states, err := filepath.Glob(filepath.Join(m.State, "containers", "*", "state"))
	m.must(err)
	if len(states) != 1 {
		t.Fatalf("state files: %q", states)
	}
	genuine, err := os.ReadFile(states[0])
	m.must(err)
	var state map[string]any
	m.must(json.Unmarshal(genuine, &state))
	state["pid"] = bystander.Process.Pid
	forged, err := json.Marshal(state)
	m.must(err)
	m.must(os.WriteFile(states[0], forged, 0o600))
	for _, args := range [][]string{{"kill", "box"}, {"kill", "-s", "USR1", "box"}, {"exec", "box", "true"}} {
		if r := m.run(args...); r.code == 0 {
			t.Error(r)
		}
	}
	if err := bystander.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the bystander: %v", err)
	}
	if state := m.status(bystander.Process.Pid, "State"); !strings.HasPrefix(state, "S") {
		t.Errorf("the bystander's state is %s", state)
	}
	if _, err := os.Stat(states[0]); err == nil {
		m.must(os.WriteFile(states[0], genuine, 0o600))
	}
}

// Attack 48, CVE-2020-15257: a socket without a path is reached from every
// container that shares the host's network.
func TestNoAbstractSockets(t *testing.T) {
	m := newTarget(t)
	before := m.sh("cat /proc/net/unix | grep @ | sed 's/.* //' | sort", "--network", "host")
	m.background("box", "--network", "host")
	m.background("other", "-i")
	if after := m.ok("exec", "box", "/bin/sh", "-c", "cat /proc/net/unix | grep @ | sed 's/.* //' | sort"); after != before {
		t.Errorf("sockets without a path were %q, are %q", before, after)
	}
}

// Attack 50: names that are paths.
func TestNamesThatArePaths(t *testing.T) {
	m := newTarget(t)
	canary := m.canary()
	m.background("box")
	for _, name := range []string{
		"../../x", "..", ".", "/", "", "a/b", "../" + canary, "-x", "a\x01b", "ä", strings.Repeat("a", 300), "box/..", "box/", ".lock", "*", "%2e%2e",
	} {
		for _, args := range [][]string{
			{"rm", "-f", "--", name}, {"stop", "--", name}, {"kill", "--", name}, {"logs", "--", name},
			{"start", "--", name}, {"wait", "--", name}, {"rmi", "--", name}, {"exec", "--", name, "true"},
		} {
			if r := m.run(args...); r.code == 0 && name != "" || strings.Contains(r.stderr, "panic") {
				t.Error(r)
			}
		}
		if name != "" {
			m.refused("", "create", "--name="+name, "--rootfs", m.rootfs(), "--", "true")
		}
	}
	for _, volume := range []string{"a/b", "-x", "a/../b", "ä", strings.Repeat("a", 300)} {
		m.refused("", "run", "--rm", "-v", volume+":/data", "--rootfs", m.rootfs(), "--", "true")
	}
	if out := m.ok("ps", "-aq"); strings.Count(out, "\n") != 1 {
		t.Errorf("containers: %q", out)
	}
}

// What an image says is printed: it must not command the terminal.
func TestNothingCommandsTheTerminal(t *testing.T) {
	m := newTarget(t)
	const hostile = "/bin/\x1b]0;owned\a\x9b31m\nminict: forged"
	ref := m.image(v1.Config{Cmd: []string{hostile}, Env: []string{"A=" + hostile}, Labels: map[string]string{"l": hostile}, WorkingDir: "/x\x1b]0;y\a"})
	m.ok("create", "--name", "box", ref)
	for _, args := range [][]string{
		{"run", "--rm", ref}, {"run", "--explain=plan", ref}, {"run", "--rm", "--explain", ref}, {"start", "box"},
		{"ps", "-a"}, {"ps", "-a", "--no-trunc", "--format", "{{.Command}} {{.Labels}}"}, {"inspect", "box"}, {"images"}, {"rmi", ref},
	} {
		if r := m.run(args...); strings.ContainsAny(r.stdout+r.stderr, "\x1b\a") || strings.Contains(r.stdout+r.stderr, "\nminict: forged") {
			t.Error(r)
		}
	}
	m.ok("rm", "box")
	m.run("rmi", ref)
}

// Attack 51, CVE-2021-3602: what is in the caller's environment is seen in the
// container, or in processes that live as long as it.
func TestEnvironmentStaysWithTheCaller(t *testing.T) {
	m := newTarget(t)
	m.env = append(m.env, "SECRET=of-the-caller", "http_proxy=http://of-the-caller", "LD_PRELOAD=/of-the-caller.so")
	m.background("box", "--init", "-e", "MINE=1")
	for _, out := range []string{m.sh("env"), m.ok("exec", "box", "env"), m.ok("exec", "box", "/bin/sh", "-c", "cat /proc/*/environ")} {
		if strings.Contains(out, "of-the-caller") || strings.Contains(out, "MINICT_") {
			t.Errorf("in the container: %q", out)
		}
	}
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	m.must(err)
	for _, file := range all {
		if raw, err := os.ReadFile(file); err == nil && strings.Contains(string(raw), "of-the-caller") {
			comm, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "comm"))
			t.Errorf("%s (%s): %q", file, strings.TrimSpace(string(comm)), raw)
		}
	}
}

// Attack 52: signals that the caller ignores or blocks, its umask, and its
// death signal are no business of the container's.
func TestWhatIsNotInherited(t *testing.T) {
	m := newTarget(t)
	// Exactly what a shell hands on: Go's own way would change this program.
	const caller = `trap "" HUP INT QUIT TERM PIPE USR1 ALRM TSTP TTIN TTOU CHLD WINCH; umask 077; exec "$0" "$@"`
	inherit := func(args ...string) string {
		t.Helper()
		cmd := m.command(args...)
		cmd.Args = append([]string{"sh", "-c", caller, shared.binary}, args...)
		cmd.Path = fixture.Busybox
		r := m.finish(cmd)
		if r.code != 0 {
			t.Error(r)
		}
		return r.stdout
	}
	inherit("run", "-d", "--rm", "--name", "box", "--rootfs", m.rootfs(), "--", "sleep", "1000")
	inherit("run", "-d", "--rm", "--name", "init", "--init", "--rootfs", m.rootfs(), "--", "sleep", "1000")
	defer m.run("rm", "-f", "box", "init")
	script := "grep -E 'Sig(Ign|Blk)' /proc/self/status; umask"
	const want = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0022\n"
	for _, args := range [][]string{{"exec", "box"}, {"exec", "init"}, {"run", "--rm", "--rootfs", m.rootfs(), "--"}, {"run", "--rm", "--init", "--rootfs", m.rootfs(), "--"}} {
		if out := inherit(append(args, "/bin/sh", "-c", script)...); out != want {
			t.Errorf("%q: %q", args, out)
		}
	}
}

// Attack 75: the source of a mount is exchanged after it was looked at.
func TestMountSourcesThatAreExchanged(t *testing.T) {
	m := newTarget(t)
	for _, name := range []string{"one", "two"} {
		m.must(os.Mkdir(filepath.Join(m.dir, name), 0o755))
		m.must(os.WriteFile(filepath.Join(m.dir, name, "name"), []byte(name+"\n"), 0o644))
	}
	m.must(os.WriteFile(filepath.Join(m.dir, "file"), nil, 0o644))
	m.background("attacker", "-v", m.dir+":/volume")
	for _, other := range []string{"two", "file"} {
		attacker := m.start("exec", "-i", "attacker", "/probe", probeWord, "exchange", "/volume/one", "/volume/"+other)
		for range 15 {
			r := m.in("-v", filepath.Join(m.dir, "one")+":/data:ro", "--", "/bin/sh", "-c", "a=$(cat /data/name); test -f /data || test \"$a\" = \"$(cat /data/name)\" && touch /data 2>/dev/null; echo $a")
			if out := r.stdout; r.code == 0 && out != "one\n" && out != "two\n" && out != "\n" {
				t.Error(r)
			}
		}
		attacker.end()
		if _, err := os.Stat(filepath.Join(m.dir, "one", "name")); err != nil {
			m.must(unix.Renameat2(unix.AT_FDCWD, filepath.Join(m.dir, "one"), unix.AT_FDCWD, filepath.Join(m.dir, other), unix.RENAME_EXCHANGE))
		}
	}
}

// Attack 76: a read-only volume is written to through what is mounted in it,
// or after it was mounted anew.
func TestReadOnlyVolumes(t *testing.T) {
	m := newTarget(t)
	sub := filepath.Join(m.dir, "volume", "sub")
	m.must(os.MkdirAll(sub, 0o755))
	m.must(unix.Mount("tmpfs", sub, "tmpfs", 0, ""))
	defer unix.Unmount(sub, unix.MNT_DETACH)
	script := `for d in /data /data/sub; do touch $d/x 2>/dev/null && echo writes $d; done
		mount -o remount,rw,bind /data 2>/dev/null && echo remounts; umount /data/sub 2>/dev/null && echo uncovers; true`
	volume := filepath.Join(m.dir, "volume")
	for _, flags := range [][]string{
		{"-v", volume + ":/data:ro"}, {"--mount", "type=bind,source=" + volume + ",target=/data,readonly"},
		{"-v", volume + ":/data:ro", "--security-opt", "seccomp=unconfined"},
	} {
		if out := m.sh(script, flags...); out != "" {
			t.Errorf("%q: %q", flags, out)
		}
	}
	// In a user namespace of its own it may mount, but what came from
	// outside is locked (mount_namespaces(7)).
	if out := m.sh("unshare -Urm /bin/sh -c '"+script+"'; true", "-v", volume+":/data:ro", "--security-opt", "seccomp=unconfined"); out != "" {
		t.Errorf("in a namespace of its own: %q", out)
	}
}

// Attack 77: what is mounted in a container appears on the host, or the other
// way round.
func TestMountsDontSpread(t *testing.T) {
	m := newTarget(t)
	volume := filepath.Join(m.dir, "volume")
	m.must(os.Mkdir(volume, 0o755))
	m.must(unix.Mount("tmpfs", volume, "tmpfs", 0, ""))
	defer unix.Unmount(volume, unix.MNT_DETACH)
	m.must(unix.Mount("", volume, "", unix.MS_SHARED, ""))
	m.must(os.MkdirAll(filepath.Join(volume, "inner"), 0o755))
	m.must(os.MkdirAll(filepath.Join(volume, "outer"), 0o755))
	m.background("box", "--privileged", "-v", volume+":/volume")
	before := m.mounts()
	m.ok("exec", "--privileged", "box", "mount", "-t", "tmpfs", "none", "/volume/inner")
	m.ok("exec", "--privileged", "box", "mount", "-t", "tmpfs", "none", "/tmp")
	if after := m.mounts(); after != before {
		t.Errorf("the host's mounts were\n%s\nare\n%s", before, after)
	}
	outer := filepath.Join(volume, "outer")
	m.must(unix.Mount("tmpfs", outer, "tmpfs", 0, ""))
	defer unix.Unmount(outer, unix.MNT_DETACH)
	if out := m.ok("exec", "box", "/bin/sh", "-c", "grep -c outer /proc/self/mountinfo; true"); out != "0\n" {
		t.Errorf("the host's mount shows in the container: %q", out)
	}
}
