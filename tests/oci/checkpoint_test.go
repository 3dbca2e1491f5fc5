package oci

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestWithoutCRIU(t *testing.T) {
	h := newHarness(t)
	bundle := h.bundle(spec("exec sleep 1000"))
	h.prints("", "run", "--detach", "--bundle", bundle, "c")
	defer h.stop("c")
	none := filepath.Join(h.dir, "none")
	for _, args := range [][]string{
		{"checkpoint", "--image-path", h.dir, "c"},
		{"restore", "--image-path", h.dir, "--bundle", bundle, "--detach", "d"},
	} {
		h.fails(1, []string{"need CRIU", none}, append([]string{"--criu", none}, args...)...)
	}
	h.is("c", "running")
	h.fails(1, []string{"does not exist"}, "state", "d")
}

func TestCheckpointRefuses(t *testing.T) {
	h := newHarness(t)
	fake, bundle, images := h.fake("succeed"), h.bundle(spec("exec sleep 1000")), filepath.Join(h.dir, "images")
	for _, c := range []struct {
		words []string
		args  []string
	}{
		{[]string{"does not exist"}, []string{"checkpoint", "c"}},
		{[]string{"--page-server", "address:port"}, []string{"checkpoint", "--page-server", "here", "c"}},
		{[]string{"--page-server", "address:port"}, []string{"checkpoint", "--page-server", "here:0", "c"}},
		{[]string{"--status-fd 77"}, []string{"checkpoint", "--status-fd", "77", "c"}},
		{[]string{"--empty-ns"}, []string{"checkpoint", "--empty-ns", "user", "c"}},
		{[]string{"images", "no such file"}, []string{"restore", "--bundle", bundle, "c"}},
		{[]string{"images", "not a directory"}, []string{"restore", "--bundle", bundle, "--image-path", h.file("file", ""), "c"}},
		{[]string{"config.json", "no such file"}, []string{"restore", "--image-path", h.dir, "c"}},
		{[]string{"--console-socket"}, []string{"restore", "--detach", "--image-path", h.dir, "--bundle", h.bundle(terminal(spec("true"))), "c"}},
		{[]string{"cgroup mode"}, []string{"restore", "--manage-cgroups-mode", "x", "--image-path", h.dir, "--bundle", bundle, "c"}},
	} {
		h.fails(1, c.words, append([]string{"--criu", fake}, c.args...)...)
	}
	h.prints("", "create", "--bundle", bundle, "c")
	h.fails(1, []string{"cannot checkpoint", "created"}, "--criu", fake, "checkpoint", "--image-path", images, "c")
	h.fails(1, []string{"already exists"}, "--criu", fake, "restore", "--image-path", h.dir, "--bundle", bundle, "c")
	h.prints("", "start", "c")
	for _, parent := range []string{h.dir, "nowhere", "../" + filepath.Base(h.file("plain", ""))} {
		h.fails(1, []string{"parent path"}, "--criu", fake, "checkpoint", "--image-path", images, "--parent-path", parent, "c")
	}
	h.stop("c")
	s := spec("exec sleep 1000")
	s.Linux.Namespaces = s.Linux.Namespaces[:1] // no mount namespace
	s.Mounts = nil
	h.fails(1, []string{"mount namespace of its own"}, "--criu", fake, "restore", "--image-path", h.dir, "--bundle", h.bundle(s), "c")
}

// What is asked of CRIU is what the flags and the container say.
func TestCheckpointAsks(t *testing.T) {
	h := newHarness(t)
	fake, images, work := h.fake("succeed"), filepath.Join(h.dir, "images"), filepath.Join(h.dir, "work")
	s := spec("exec sleep 1000")
	data := filepath.Join(h.dir, "data")
	h.must(os.Mkdir(data, 0o755))
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp/link/../data", Type: "bind", Source: data, Options: []string{"bind"}})
	s.Linux.MaskedPaths = []string{"/proc/cpuinfo", "/proc/sys", "/proc/nothing"}
	h.prints("", "run", "--detach", "--bundle", h.bundle(s), "c")
	pid := h.state("c").Pid
	h.must(os.MkdirAll(filepath.Join(images, "../parent"), 0o755))
	h.prints("", "--criu", fake, "checkpoint", "--image-path", images, "--work-path", work, "--leave-running", "--tcp-established",
		"--tcp-skip-in-flight", "--link-remap", "--ext-unix-sk", "--file-locks", "--auto-dedup", "--lazy-pages", "--parent-path", "../parent",
		"--page-server", "127.0.0.1:27", "--empty-ns", "network", "--manage-cgroups-mode", "full", "c")
	if h.is("c", "running").Pid != pid {
		t.Error("it is another")
	}
	r := h.asked(fake)
	o := r.GetOpts()
	if r.GetType() != rpc.CriuReqType_DUMP || int(o.GetPid()) != pid || o.GetRoot() != shared.rootfs || o.GetParentImg() != "../parent" ||
		!o.GetLeaveRunning() || !o.GetTcpEstablished() || !o.GetTcpSkipInFlight() || !o.GetLinkRemap() || !o.GetExtUnixSk() ||
		!o.GetFileLocks() || !o.GetAutoDedup() || !o.GetLazyPages() || !o.GetTrackMem() || o.GetShellJob() ||
		o.GetPs().GetAddress() != "127.0.0.1" || o.GetPs().GetPort() != 27 || o.GetEmptyNs() != unix.CLONE_NEWNET ||
		o.GetManageCgroupsMode() != rpc.CriuCgMode_FULL || !strings.HasSuffix(o.GetFreezeCgroup(), "/minict/c") {
		t.Errorf("asked for %v", r)
	}
	mounts := make(map[string]string)
	for _, m := range o.GetExtMnt() {
		mounts[m.GetKey()] = m.GetVal()
	}
	if len(mounts) != 2 || mounts["/tmp/data"] != "/tmp/data" || mounts["/proc/cpuinfo"] != "/proc/cpuinfo" {
		t.Errorf("mounts %v", mounts)
	}
	if content(filepath.Join(work, "dump.log")) == "" || !strings.Contains(content(filepath.Join(images, "descriptors.json")), "file[") {
		t.Errorf("log or %q is missing", content(filepath.Join(images, "descriptors.json")))
	}
	h.prints("", "--criu", fake, "checkpoint", "--image-path", images, "--pre-dump", "c")
	if r := h.asked(fake); r.GetType() != rpc.CriuReqType_PRE_DUMP || !r.GetOpts().GetTrackMem() {
		t.Errorf("asked for %v", r)
	}
	h.is("c", "running")
	h.prints("", "--criu", fake, "checkpoint", "--image-path", images, "c")
	h.fails(1, []string{"does not exist"}, "state", "c")
}

// However CRIU fails, the container runs on.
func TestCheckpointFails(t *testing.T) {
	h := newHarness(t)
	images := filepath.Join(h.dir, "images")
	h.prints("", "run", "--detach", "--bundle", h.bundle(spec("exec sleep 1000")), "c")
	defer h.stop("c")
	for does, word := range map[string]string{
		"refuse": "CRIU could not dump: the cause (its log is " + images + "/dump.log)", "die": "the cause", "freeze and die": "the cause",
		"die early": "CRIU could not dump: no room",
	} {
		h.fails(1, []string{word}, "--criu", h.fake(does), "checkpoint", "--image-path", images, "c")
		h.is("c", "running")
	}
}

// restoreArgs are those of a restore of a bundle.
func (h *harness) restoreArgs(does, bundle string, more ...string) (fake string, args []string) {
	h.t.Helper()
	fake = h.fake(does)
	images := filepath.Join(h.dir, "images")
	h.must(os.MkdirAll(images, 0o755))
	h.must(os.WriteFile(filepath.Join(images, "descriptors.json"), []byte(`["/dev/null","pipe:[1]","pipe:[1]"]`), 0o644))
	return fake, append([]string{"--criu", fake, "restore", "--image-path", images, "--bundle", bundle}, more...)
}

// Whom CRIU brings back is a container like any other, in its cgroup, with its
// limits, and CRIU sees the root filesystem mounted and nobody else.
func TestRestore(t *testing.T) {
	h := newHarness(t)
	s := spec("exec sleep 1000")
	pids := int64(50)
	s.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &pids}}
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "bind", Source: h.dir, Options: []string{"bind", "ro", "nosuid"}})
	s.Linux.MaskedPaths = []string{"/proc/kcore"}
	log := filepath.Join(h.dir, "hooks")
	s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat >" + log}}}}
	for i := range s.Linux.Namespaces {
		if s.Linux.Namespaces[i].Type == specs.NetworkNamespace {
			s.Linux.Namespaces[i].Path = "/proc/self/ns/net"
		}
		if s.Linux.Namespaces[i].Type == specs.IPCNamespace {
			s.Linux.Namespaces[i].Path = "/proc/self/ns/ipc"
		}
	}
	bundle, pidFile := h.bundle(s), filepath.Join(h.dir, "pid")
	fake, args := h.restoreArgs("succeed", bundle, "--detach", "--pid-file", pidFile, "--tcp-close", "--lsm-profile", "apparmor:x", "--lsm-mount-context", "y", "c")
	h.prints("", args...)
	defer h.stop("c")
	state := h.is("c", "running")
	if strconv.Itoa(state.Pid) != content(pidFile) || content(pidFile) != content(filepath.Join(filepath.Dir(fake), "pid")) {
		t.Errorf("pid %d, in the file %s", state.Pid, content(pidFile))
	}
	if hook := content(log); !strings.Contains(hook, `"status":"created"`) || !strings.Contains(hook, `"pid":`+content(pidFile)) {
		t.Errorf("the hook was told %q", hook)
	}
	if got := h.ok("ps", "--format", "json", "c"); got != "["+content(pidFile)+"]\n" {
		t.Errorf("processes %s", got)
	}
	o := h.asked(fake).GetOpts()
	if o.GetRoot() != shared.rootfs || !o.GetRstSibling() || !o.GetTcpClose() || o.GetLsmProfile() != "apparmor:x" || o.GetLsmMountContext() != "y" {
		t.Errorf("asked for %v", o)
	}
	keys := make(map[string]bool)
	for _, in := range o.GetInheritFd() {
		keys[in.GetKey()] = true
	}
	if len(o.GetInheritFd()) != 2 || !keys["pipe:[1]"] || !keys["extRootNetNS"] {
		t.Errorf("inherits %v", o.GetInheritFd())
	}
	if len(o.GetJoinNs()) != 1 || o.GetJoinNs()[0].GetNs() != "ipc" {
		t.Errorf("joins %v", o.GetJoinNs())
	}
	seen := content(filepath.Join(filepath.Dir(fake), "mounts"))
	if !strings.Contains(seen, " "+shared.rootfs+" rw") {
		t.Errorf("the root filesystem is not mounted: %s", seen)
	}
	for _, m := range o.GetExtMnt() {
		attributes := map[string]string{"/data": "ro,nosuid", "/proc/kcore": "ro"}[m.GetKey()]
		if attributes == "" || !strings.Contains(seen, " "+m.GetVal()+" "+attributes) {
			t.Errorf("%v is not mounted %s: %s", m, attributes, seen)
		}
	}
	if len(o.GetExtMnt()) != 2 {
		t.Errorf("mounts %v", o.GetExtMnt())
	}
	if groups := content(filepath.Join(filepath.Dir(fake), "cgroup")); !strings.Contains(groups, "/minict/c") {
		t.Errorf("CRIU is in %s", groups)
	}
	for _, file := range []string{"/sys/fs/cgroup/minict/c/pids.max", "/sys/fs/cgroup/pids/minict/c/pids.max"} {
		if got := content(file); got != "50" && got != "" {
			t.Errorf("%s is %q", file, got)
		}
	}
	h.prints("", "kill", "c", "KILL")
	h.ended(state.Pid)
	h.is("c", "stopped")
}

func TestRestoredTerminal(t *testing.T) {
	h := newHarness(t)
	l, path := h.listener("console")
	_, args := h.restoreArgs("terminal", h.bundle(terminal(spec("true"))), "--detach", "--console-socket", path, "c")
	h.prints("", args...)
	defer h.stop("c")
	master, name := h.received(l)
	defer master.Close()
	if _, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN); err != nil || name == "" {
		t.Errorf("%q is no master of a terminal: %v", name, err)
	}
}

func TestRestoreForeground(t *testing.T) {
	h := newHarness(t)
	fake, args := h.restoreArgs("succeed", h.bundle(spec("true")), "c")
	cmd := h.command(args...)
	h.must(cmd.Start())
	h.until("it runs", func() bool { return h.run("state", "c").code == 0 && h.state("c").Status == "running" })
	h.must(cmd.Process.Signal(unix.SIGTERM)) // PID 1 without a handler: it is passed on, and has no effect
	pid, err := strconv.Atoi(content(filepath.Join(filepath.Dir(fake), "pid")))
	h.must(err)
	h.must(unix.Kill(pid, unix.SIGKILL))
	cmd.Wait()
	if code := exitCode(cmd); code != 128+int(unix.SIGKILL) {
		t.Errorf("exit code %d", code)
	}
	h.fails(1, []string{"does not exist"}, "state", "c")
}

// However a restore fails, nothing is left.
func TestRestoreFails(t *testing.T) {
	h := newHarness(t)
	bundle := h.bundle(spec("true"))
	for does, word := range map[string]string{
		"refuse": "CRIU could not restore: the cause", "fail": "the cause", "fail early": "the cause", "die early": "no room",
	} {
		_, args := h.restoreArgs(does, bundle, "--detach", "c")
		h.fails(1, []string{word}, args...)
		h.fails(1, []string{"does not exist"}, "state", "c")
		h.compare()
	}
	s := spec("true")
	s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/false"}}}
	_, args := h.restoreArgs("succeed", h.bundle(s), "--detach", "c")
	h.fails(1, []string{"createRuntime hook 0"}, args...)
	_, args = h.restoreArgs("succeed", bundle, "--detach", "--pid-file", "/nowhere/pid", "c")
	h.fails(1, []string{"/nowhere"}, args...)
}

// A restore that is killed leaves no more than the next command of that name
// clears away, whatever CRIU does.
func TestRestoreIsKilled(t *testing.T) {
	h := newHarness(t)
	bundle := h.bundle(spec("exec sleep 1000"))
	for _, does := range []string{"hang early", "hang"} {
		for _, next := range [][]string{{"delete", "c"}, {"create", "--bundle", bundle, "c"}, {"restore"}} {
			fake, args := h.restoreArgs(does, bundle, "--detach", "c")
			cmd := h.command(args...)
			h.must(cmd.Start())
			name := filepath.Join(filepath.Dir(fake), "pid")
			if does == "hang" { // it is written down
				name = filepath.Join(h.root, "c", "pid")
			}
			h.until("something is restored", func() bool { return content(name) != "" })
			h.must(cmd.Process.Kill())
			cmd.Wait()
			if next[0] == "restore" {
				_, next = h.restoreArgs("succeed", bundle, "--detach", "c")
			}
			h.prints("", next...)
			if next[0] != "delete" {
				h.stop("c")
			}
			pid, err := strconv.Atoi(content(filepath.Join(filepath.Dir(fake), "pid")))
			h.must(err)
			h.ended(pid)
		}
	}
}

// A signal does not wait for CRIU: who restores ends, and so does CRIU.
func TestRestoreIsInterrupted(t *testing.T) {
	h := newHarness(t)
	fake, args := h.restoreArgs("hang early", h.bundle(spec("true")), "c")
	cmd := h.command(args...)
	h.must(cmd.Start())
	h.until("something is restored", func() bool { return content(filepath.Join(filepath.Dir(fake), "pid")) != "" })
	h.must(cmd.Process.Signal(unix.SIGTERM))
	cmd.Wait()
	if code := exitCode(cmd); code != 128+int(unix.SIGTERM) {
		t.Errorf("exit code %d", code)
	}
	h.stop("c")
}

// A cgroup that somebody is in stays his.
func TestRestoreIntoCgroupOfAnother(t *testing.T) {
	h := newHarness(t)
	s := spec("exec sleep 1000")
	s.Linux.CgroupsPath = "/minict/other"
	bundle := h.bundle(s)
	h.prints("", "run", "--detach", "--bundle", bundle, "other")
	defer h.stop("other")
	for mode, word := range map[string]string{"soft": "cgroup /minict/other", "strict": "strict"} {
		_, args := h.restoreArgs("succeed", bundle, "--detach", "--manage-cgroups-mode", mode, "c")
		h.fails(1, []string{word}, args...)
		h.fails(1, []string{"does not exist"}, "state", "c")
		h.is("other", "running")
	}
}
