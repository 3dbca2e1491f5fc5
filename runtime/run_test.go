package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/launch"
	"minict/runtime/plan"
)

// bundle is a root filesystem with busybox in it.
func bundle(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "rootfs")
	for _, dir := range []string{"bin", "etc", "tmp", "proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal("the tests need Debian's busybox-static: ", err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, applet := range strings.Fields(string(out)) {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil && applet != "busybox" {
			t.Fatal(err)
		}
	}
	return root
}

// ordinary is a specification as Docker would write it for a shell script.
func ordinary(root, script string) *specs.Spec {
	caps := []string{"CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_NET_RAW"}
	return &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: root},
		Process: &specs.Process{
			Args:         []string{"/bin/sh", "-c", script},
			Env:          []string{"PATH=/bin"},
			Cwd:          "/",
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Hostname: "box",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/sys", Type: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev/shm", Type: "tmpfs", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=64m"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.IPCNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.CgroupNamespace},
			},
			MaskedPaths:   []string{"/proc/kcore", "/proc/keys", "/proc/acpi", "/proc/scsi", "/sys/firmware", "/proc/nothing"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

// result is what a container said and how it ended.
type result struct {
	stdout string
	stderr string
	status unix.WaitStatus
}

// run compiles a specification and carries it out.
func run(t *testing.T, spec *specs.Spec) (result, error) {
	t.Helper()
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(spec, host, Options{})
	if err != nil {
		return result{}, err
	}
	return launchPaused(t, p, nil, preparing(spec))
}

// preparing is the launcher's part of a plan without hooks.
func preparing(spec *specs.Spec) launch.Pause {
	return func(number uint32, c *launch.Child) error {
		switch number {
		case PauseMappings:
			return Prepare(spec, c.Pid)
		case PauseCreateRuntime, launch.PauseAtGate: // of the gate
			return nil
		}
		return fmt.Errorf("pause %d", number)
	}
}

func launchPlan(t *testing.T, p *plan.Plan, more map[string]int) (r result, err error) {
	t.Helper()
	return launchPaused(t, p, more, nil)
}

func launchPaused(t *testing.T, p *plan.Plan, more map[string]int, pause launch.Pause) (r result, err error) {
	t.Helper()
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	stdin, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	var outputs [2]*os.File
	var texts [2]chan string
	for i := range outputs {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		outputs[i] = w
		texts[i] = make(chan string, 1)
		go func() {
			b, _ := io.ReadAll(r)
			r.Close()
			texts[i] <- string(b)
		}()
	}
	fds := map[string]int{InputStdin: int(stdin.Fd()), InputStdout: int(outputs[0].Fd()), InputStderr: int(outputs[1].Fd())}
	var inputs []int
	for _, name := range p.Inputs {
		fd, ok := fds[name]
		if !ok {
			fd = more[name]
		}
		inputs = append(inputs, fd)
	}
	r, err = start(t, p, inputs, pause)
	for i, w := range outputs {
		w.Close()
		text := <-texts[i]
		if i == 0 {
			r.stdout = text
		} else {
			r.stderr = text
		}
	}
	return r, err
}

func start(t *testing.T, p *plan.Plan, inputs []int, pause launch.Pause) (r result, err error) {
	t.Helper()
	prog, err := launch.New(p.Ready(), inputs, false)
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	defer func() {
		if undo := prog.Run(plan.Undo); undo != nil {
			t.Errorf("undo: %v", undo)
		}
	}()
	err = prog.Run(plan.Host)
	var child *launch.Child
	if err == nil {
		child, err = prog.Start(pause)
	}
	var f *launch.Failure
	if errors.As(err, &f) {
		return r, Failed(p, f.Step, f.Errno, f.Exec)
	}
	if err != nil {
		return r, err
	}
	unix.Close(child.Pidfd)
	if _, err := unix.Wait4(child.Pid, &r.status, 0, nil); err != nil {
		t.Fatal(err)
	}
	return r, nil
}

// must runs a script in an ordinary container and gives its output.
func must(t *testing.T, script string, change ...func(*specs.Spec)) string {
	t.Helper()
	spec := ordinary(bundle(t), script)
	for _, f := range change {
		f(spec)
	}
	r, err := run(t, spec)
	if err != nil || r.status != 0 {
		t.Fatalf("%v, status %#x, stderr %q", err, r.status, r.stderr)
	}
	return r.stdout
}

func TestProcessesAndNames(t *testing.T) {
	out := must(t, `echo $$; hostname; cd /proc; echo [0-9]*`)
	if want := "1\nbox\n1\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestHostMountsStay(t *testing.T) {
	ownMounts(t)
	before := hostMounts(t)
	must(t, "true")
	if left := mountsSince(t, before); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

// hostMounts gives what is mounted where: an id, which no other mount gets as
// long as it lives, and the place. The rest of mountinfo changes also by what
// others do to what is mounted: it is deleted, or gets other options.
func hostMounts(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		fmt.Fprintln(&b, fields[0], fields[4])
	}
	return b.String()
}

// mountsSince gives what is mounted now and was not before. That something is
// not there any more means nothing: whoever removes a directory takes away what
// is mounted on it, in all mount namespaces.
func mountsSince(t *testing.T, before string) (left string) {
	t.Helper()
	for line := range strings.Lines(hostMounts(t)) {
		if !strings.Contains("\n"+before, "\n"+line) {
			left += line
		}
	}
	return left
}

// What the container sees of mounts is its own: the root, what the
// specification names, the masks.
func TestNothingOfTheHost(t *testing.T) {
	canary := filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(canary, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := must(t, fmt.Sprintf(`ls / | tr '\n' ' '; cut -d' ' -f5 /proc/self/mountinfo | sort | tr '\n' ' '; test ! -e %[1]s; echo $?;
		ls -d /proc/1/cwd/../../../../%[1]s /../..%[1]s 2>/dev/null; ls -l /proc/self/fd | wc -l`, canary))
	lines := strings.Split(out, "\n")
	mounts := lines[0]
	for _, want := range []string{"bin dev etc proc sys tmp ", " /dev /dev/mqueue /dev/pts /dev/shm /proc /proc/", " /proc/sys /sys /sys/firmware /sys/fs/cgroup"} {
		if !strings.Contains(mounts, want) {
			t.Errorf("%q is not in %q", want, mounts)
		}
	}
	if got := strings.Join(lines[0:], "\n"); !strings.HasSuffix(got, "0\n5\n") {
		t.Errorf("host files or descriptors are seen: %q", got)
	}
}

func TestMasks(t *testing.T) {
	out := must(t, `wc -c </proc/keys; stat -c %t:%T /proc/keys; ls /proc/acpi /sys/firmware 2>/dev/null | grep -v :
		touch /sys/firmware/x 2>&1 | grep -o Read-only
		(echo x >/proc/sys/kernel/hostname) 2>&1 | grep -o Read-only; mount -o remount,rw /proc/sys 2>/dev/null || echo kept`)
	if want := "0\n1:3\n\nRead-only\nRead-only\nkept\n"; strings.ReplaceAll(out, "\n\n", "\n") != strings.ReplaceAll(want, "\n\n", "\n") {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestDevices(t *testing.T) {
	out := must(t, `cd /dev; for d in full null random tty urandom zero; do stat -c '%n %t:%T %a' $d; done; readlink fd; readlink ptmx; head -c 3 zero | wc -c; ls -a | wc -l`)
	want := "full 1:7 666\nnull 1:3 666\nrandom 1:8 666\ntty 5:0 666\nurandom 1:9 666\nzero 1:5 666\n/proc/self/fd\npts/ptmx\n3\n"
	if !strings.HasPrefix(out, want) {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestCredentials(t *testing.T) {
	out := must(t, `id -u; id -g; id -G; grep -E '^(Cap|NoNew|Seccomp:|SigBlk|SigIgn)' /proc/self/status; umask`, func(s *specs.Spec) {
		s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{1001, 2000}}
	})
	want := "1000\n1001\n1001 2000\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t00000000000020e1\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t0\n0022\n"
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// Engines bring filters along that are older than the calls of the set-up.
func TestOldFilter(t *testing.T) {
	out := must(t, "echo alive", func(s *specs.Spec) {
		enosys := uint(unix.ENOSYS)
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchAARCH64},
			Syscalls: []specs.LinuxSyscall{{Names: []string{"close_range", "openat2", "faccessat2", "clone3", "faccessat"}, Action: specs.ActErrno, ErrnoRet: &enosys}}}
	})
	if out != "alive\n" {
		t.Errorf("got %q", out)
	}
}

func TestSeccompAndNoNewPrivileges(t *testing.T) {
	for _, nnp := range []bool{false, true} {
		out := must(t, `grep -E '^(NoNew|Seccomp:)' /proc/self/status; mkdir /tmp/d; echo $?`, func(s *specs.Spec) {
			s.Process.NoNewPrivileges = nnp
			s.Linux.Seccomp = &specs.LinuxSeccomp{
				DefaultAction: specs.ActAllow,
				Architectures: []specs.Arch{specs.ArchX86_64},
				Syscalls:      []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno}},
			}
		})
		want := map[bool]string{false: "NoNewPrivs:\t0\nSeccomp:\t2\n1\n", true: "NoNewPrivs:\t1\nSeccomp:\t2\n1\n"}[nnp]
		if out != want {
			t.Errorf("no_new_privs %v: got %q, want %q", nnp, out, want)
		}
	}
}

func TestReadOnlyRoot(t *testing.T) {
	out := must(t, `touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo but here`, func(s *specs.Spec) { s.Root.Readonly = true })
	if out != "refused\nbut here\n" {
		t.Errorf("got %q", out)
	}
}

func TestBinds(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := must(t, `cat /a/file /new/b; touch /a/x 2>/dev/null || echo ro; touch /rw/y && echo rw`, func(s *specs.Spec) {
		s.Mounts = append(s.Mounts,
			specs.Mount{Destination: "/a", Source: dir, Options: []string{"rbind", "ro"}},
			specs.Mount{Destination: "/new/b", Source: file, Options: []string{"bind"}},
			specs.Mount{Destination: "/rw", Source: dir, Type: "bind"})
	})
	if out != "hellohelloro\nrw\n" {
		t.Errorf("got %q", out)
	}
}

// A mount in procfs would redirect what is written there (CVE-2025-52881).
func TestNothingIsMountedOnProc(t *testing.T) {
	for _, dest := range []string{"/proc", "/proc/self/attr", "/link", "/link/self"} {
		root := bundle(t)
		if err := os.Symlink("/proc", filepath.Join(root, "link")); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"bind", "tmpfs"} {
			spec := ordinary(root, "true")
			spec.Mounts = append(spec.Mounts, specs.Mount{Destination: dest, Source: t.TempDir(), Type: kind})
			_, err := run(t, spec)
			if !errors.Is(err, unix.EPERM) && !errors.Is(err, ErrSpec) {
				t.Errorf("%s on %s: got %v, want %v", kind, dest, err, unix.EPERM)
			}
		}
	}
}

// Links in the image must not lead the kernel's file systems astray
// (CVE-2019-19921, CVE-2026-41579).
func TestLinksInTheWay(t *testing.T) {
	for _, name := range []string{"proc", "sys", "dev"} {
		root := bundle(t)
		canary := t.TempDir()
		if err := os.Remove(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(canary, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := run(t, ordinary(root, "true")); err == nil {
			t.Errorf("/%s is a link to the host, and was accepted", name)
		}
		if left, _ := os.ReadDir(canary); len(left) != 0 {
			t.Errorf("made on the host: %v", left)
		}
	}
}

func TestExecErrors(t *testing.T) {
	tests := []struct {
		args []string
		text string
		code int
	}{
		{[]string{"/bin/missing"}, "exec failed: /bin/missing", 127},
		{[]string{"missing"}, "exec failed: missing", 127},
		{[]string{"/etc"}, "exec failed: /etc: permission denied", 126},
		{[]string{"/etc/plain"}, "exec failed: /etc/plain: permission denied", 126},
		{[]string{"plain"}, "exec failed: plain: permission denied", 126},
	}
	for _, tt := range tests {
		root := bundle(t)
		if err := os.WriteFile(filepath.Join(root, "etc/plain"), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		spec := ordinary(root, "")
		spec.Process.Args, spec.Process.Env = tt.args, []string{"PATH=/bin:/etc:/tmp"}
		_, err := run(t, spec)
		var e *StepError
		if !errors.As(err, &e) || e.Error() != tt.text || e.ExitCode() != tt.code {
			t.Errorf("%v: got %v, want %s (%d)", tt.args, err, tt.text, tt.code)
		}
	}
}

func TestWorkingDirectory(t *testing.T) {
	if out := must(t, "pwd", func(s *specs.Spec) { s.Process.Cwd = "/new/dir" }); out != "/new/dir\n" {
		t.Errorf("got %q", out)
	}
}

// A working directory that is reached through a leaked descriptor would be on
// the host (CVE-2024-21626).
func TestNoLeakedDirectory(t *testing.T) {
	host, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	leaked, err := unix.FcntlInt(host.Fd(), unix.F_DUPFD, 30) // without close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leaked)
	for _, up := range []string{"", "/etc"} {
		spec := ordinary(bundle(t), "pwd -P; ls -l /proc/self/fd | wc -l")
		spec.Process.Cwd = fmt.Sprintf("/proc/self/fd/%d%s", leaked, up)
		r, err := run(t, spec)
		if err == nil && !strings.HasPrefix(r.stdout, "/\n") {
			t.Errorf("cwd %s: got %q", spec.Process.Cwd, r.stdout)
		}
	}
	if out := must(t, "ls /proc/self/fd | wc -l"); out != "4\n" {
		t.Errorf("%s descriptors, want 4: three, and that of ls", out)
	}
}

func TestSysctls(t *testing.T) {
	out := must(t, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax", func(s *specs.Spec) {
		s.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "0", "kernel.msgmax": "4096"}
	})
	if out != "0\n4096\n" {
		t.Errorf("got %q", out)
	}
	for _, key := range []string{"kernel.core_pattern", "vm.overcommit_memory", "net/../kernel/core_pattern", "net..x", "./net/x", "kernel", "net.a=1+kernel.core_pattern", "net..x"} {
		spec := ordinary("/", "true")
		spec.Linux.Sysctl = map[string]string{key: "1"}
		if _, err := Compile(spec, Host{LastCap: 40}, Options{}); !errors.Is(err, ErrSpec) {
			t.Errorf("%s: got %v", key, err)
		}
	}
}

func TestLoopbackIsUp(t *testing.T) {
	if out := must(t, "ip -o link | grep -c 'lo.*UP'"); out != "1\n" {
		t.Errorf("got %q", out)
	}
}

func TestRlimits(t *testing.T) {
	out := must(t, "ulimit -n; ulimit -Hn", func(s *specs.Spec) {
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 4, Hard: 5}}
	})
	if out != "4\n5\n" { // fewer than the set-up needs itself
		t.Errorf("got %q", out)
	}
}
