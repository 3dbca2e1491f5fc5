package oci

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// pipes are streams of a command that are pipes.
type pipes struct {
	h       *harness
	in, out *os.File    // the test's ends
	theirs  [2]*os.File // input, output
}

func newPipes(h *harness) *pipes {
	h.t.Helper()
	p := &pipes{h: h}
	var err error
	p.theirs[0], p.in, err = os.Pipe()
	h.must(err)
	p.out, p.theirs[1], err = os.Pipe()
	h.must(err)
	h.t.Cleanup(func() {
		for _, f := range []*os.File{p.in, p.out, p.theirs[0], p.theirs[1]} {
			f.Close()
		}
	})
	return p
}

func (p *pipes) command(args ...string) *exec.Cmd {
	cmd := p.h.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.theirs[0], p.theirs[1], p.theirs[1]
	return cmd
}

func (p *pipes) expects(line string) {
	p.h.t.Helper()
	p.h.must(p.out.SetReadDeadline(time.Now().Add(patience)))
	got := make([]byte, len(line))
	for n := 0; n < len(got); {
		more, err := p.out.Read(got[n:])
		n += more
		if err != nil {
			p.h.t.Fatalf("read %q, %v, want %q", got[:n], err, line)
		}
	}
	if string(got) != line {
		p.h.t.Fatalf("read %q, want %q", got, line)
	}
}

func (p *pipes) says(word, answer string) {
	p.h.t.Helper()
	_, err := p.in.WriteString(word + "\n")
	p.h.must(err)
	p.expects(answer)
}

// withProgram makes a container of one of this binary's programs.
func (h *harness) withProgram(name string) *specs.Spec {
	h.t.Helper()
	self, err := os.Executable()
	h.must(err)
	s := spec("")
	s.Process.Args, s.Process.Env = []string{"/tmp/program"}, append(s.Process.Env, helper+"="+name)
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp/program", Type: "bind", Source: self, Options: []string{"bind", "ro"}})
	return s
}

// write writes /tmp/count, where begin and count look.
func write(n int) error {
	if err := os.WriteFile("/tmp/new", fmt.Appendln(nil, n), 0o600); err != nil {
		return err
	}
	return os.Rename("/tmp/new", "/tmp/count")
}

// connect is a program that counts what comes through a TCP connection to itself,
// and ends with it.
func connect() error {
	var config net.ListenConfig
	config.SetMultipathTCP(false) // CRIU does not know it
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:4000")
	if err != nil {
		return err
	}
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	server, err := l.Accept()
	if err != nil {
		return err
	}
	for i := 1; ; i++ {
		b := []byte{byte(i)}
		if _, err := client.Write(b); err != nil {
			return err
		}
		if _, err := server.Read(b); err != nil {
			return err
		}
		if err := write(i); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// A TCP connection goes on.
func testConnections(t *testing.T) {
	h := newHarness(t)
	bundle, images := h.bundle(h.withProgram("connect")), filepath.Join(h.dir, "images")
	h.begin(bundle, "c")
	h.fails(1, []string{"onnected TCP socket"}, "checkpoint", "--image-path", images, "c")
	h.criu(images, "checkpoint", "--tcp-established", "c")
	h.criu(images, "restore", "--tcp-established", "--detach", "--bundle", bundle, "c")
	defer h.stop("c")
	h.counts("c", h.counts("c", 0))
}

// lock is a program that holds a lock, unless somebody else does.
func lock() error {
	f, err := os.OpenFile("/tmp/lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	if err := write(1); err != nil {
		return err
	}
	for {
		time.Sleep(time.Hour)
	}
}

func testLocks(t *testing.T) {
	h := newHarness(t)
	bundle, images := h.bundle(h.withProgram("lock")), filepath.Join(h.dir, "images")
	h.begin(bundle, "c")
	h.fails(1, []string{"lock"}, "checkpoint", "--image-path", images, "c")
	h.criu(images, "checkpoint", "--file-locks", "c")
	h.criu(images, "restore", "--file-locks", "--detach", "--bundle", bundle, "c")
	defer h.stop("c")
	if r := h.run("exec", "c", "/tmp/program"); r.code != 1 || !strings.Contains(r.stderr, "temporarily unavailable") {
		t.Errorf("the lock is free: %v", r)
	}
}

// speak is a program that sends to a socket which is somebody else's.
func speak() error {
	conn, err := net.Dial("unixgram", os.Args[1])
	if err != nil {
		return err
	}
	for i := 1; ; i++ {
		if _, err := fmt.Fprint(conn, i); err != nil {
			return err
		}
		if err := write(i); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// A container that talks to a socket of the host does so again. CRIU finds the
// other side in the same network namespace only, and by the path that it has on
// the host.
func testSockets(t *testing.T) {
	h := newHarness(t)
	dir, images := filepath.Join(h.dir, "run"), filepath.Join(h.dir, "images")
	path := filepath.Join(dir, "socket")
	h.must(os.Mkdir(dir, 0o755))
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	h.must(err)
	defer socket.Close()
	s := h.withProgram("speak")
	s.Process.Args = append(s.Process.Args, path)
	if top, _, _ := strings.Cut(dir[1:], "/"); top != "tmp" { // the root file system is for all
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/" + top, Type: "tmpfs", Source: "tmpfs"})
	}
	s.Mounts = append(s.Mounts, specs.Mount{Destination: dir, Type: "bind", Source: dir, Options: []string{"bind"}})
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	bundle := h.bundle(s)
	hear := func() error {
		h.must(socket.SetReadDeadline(time.Now().Add(time.Second)))
		_, err := socket.Read(make([]byte, 100))
		return err
	}
	h.begin(bundle, "c")
	h.must(hear())
	h.fails(1, []string{"unix"}, "checkpoint", "--image-path", images, "c")
	h.criu(images, "checkpoint", "--ext-unix-sk", "c")
	for hear() == nil { // what is still there
	}
	h.criu(images, "restore", "--ext-unix-sk", "--detach", "--bundle", bundle, "c")
	defer h.stop("c")
	h.must(hear())
}

// A network namespace that somebody else made is joined again; one of its own is
// restored, or left empty.
func testNetwork(t *testing.T) {
	h := newHarness(t)
	sleeper := exec.Command("unshare", "-n", "sleep", "1000")
	h.must(sleeper.Start())
	defer func() { sleeper.Process.Kill(); sleeper.Wait() }()
	path := fmt.Sprintf("/proc/%d/ns/net", sleeper.Process.Pid)
	own, err := os.Readlink("/proc/self/ns/net")
	h.must(err)
	h.until("it has a network namespace", func() bool {
		theirs, err := os.Readlink(path)
		return err == nil && theirs != own
	})
	s := spec(counter)
	for i := range s.Linux.Namespaces {
		if s.Linux.Namespaces[i].Type == specs.NetworkNamespace {
			s.Linux.Namespaces[i].Path = path
		}
	}
	bundle, images := h.bundle(s), filepath.Join(h.dir, "images")
	h.begin(bundle, "c")
	h.criu(images, "checkpoint", "c")
	h.criu(images, "restore", "--detach", "--bundle", bundle, "c")
	theirs, err := os.Readlink(path)
	h.must(err)
	if got, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", h.state("c").Pid)); got != theirs {
		t.Errorf("it is in %s, %v, want %s", got, err, theirs)
	}
	h.stop("c")

	bundle = h.bundle(spec(counter))
	h.begin(bundle, "c")
	h.fails(1, []string{"--empty-ns"}, "checkpoint", "--image-path", images, "--empty-ns", "pid", "c")
	h.criu(images, "checkpoint", "--leave-running", "--empty-ns", "network", "c")
	h.criu(images, "restore", "--empty-ns", "network", "--detach", "--bundle", bundle, "empty")
	if out := h.ok("exec", "empty", "ip", "addr"); strings.Contains(out, "127.0.0.1") {
		t.Errorf("the network is not empty: %s", out)
	}
	h.stop("empty")
	h.criu(images, "checkpoint", "c")
	h.criu(images, "restore", "--detach", "--bundle", bundle, "c")
	if out := h.ok("exec", "c", "ip", "addr"); !strings.Contains(out, "127.0.0.1") {
		t.Errorf("the network is not restored: %s", out)
	}
	h.stop("c")
}

// Mounts of the host are the host's again, read-only where they were, and what
// was masked is; mounts of the container's own have what they had.
func testMounts(t *testing.T) {
	h := newHarness(t)
	dir := filepath.Join(h.dir, "data")
	h.must(os.MkdirAll(filepath.Join(dir, "below"), 0o755))
	h.must(unix.Mount("below", filepath.Join(dir, "below"), "tmpfs", 0, ""))
	defer unix.Unmount(filepath.Join(dir, "below"), unix.MNT_DETACH)
	h.must(os.WriteFile(filepath.Join(dir, "below", "file"), []byte("deep\n"), 0o644))
	file, second := h.file("file", "host\n"), h.file("second", "second\n")
	s := spec("ln -s /tmp /tmp/link; exec 8</data/below/file; " + counter)
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/data", Type: "bind", Source: dir, Options: []string{"rbind", "rslave"}},
		specs.Mount{Destination: "/etc/hosts", Type: "bind", Source: file, Options: []string{"bind", "ro"}},
		specs.Mount{Destination: "/etc/passwd", Type: "bind", Source: second, Options: []string{"bind", "ro"}},
		specs.Mount{Destination: "/data/own", Type: "tmpfs", Source: "tmpfs"},
		specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue"},
		specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"mode=1777"}},
		specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro"}},
		specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}})
	s.Linux.MaskedPaths = []string{"/proc/kcore", "/proc/keys", "/proc/acpi", "/proc/scsi", "/sys/firmware", "/proc/nothing"}
	s.Linux.ReadonlyPaths = []string{"/proc/sys", "/proc/irq", "/proc/bus"}
	bundle, images := h.bundle(s), filepath.Join(h.dir, "images")
	h.begin(bundle, "c")
	h.ok("exec", "c", "sh", "-c", "echo own >/data/own/file; echo shm >/dev/shm/file")
	table := func() string { // what is mounted where, and how
		var lines []string
		for line := range strings.Lines(h.ok("exec", "c", "cat", "/proc/self/mountinfo")) {
			f := strings.Fields(line)
			lines = append(lines, strings.Join(f[3:6], " "))
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	before := table()
	h.criu(images, "checkpoint", "c")
	h.must(os.WriteFile(filepath.Join(dir, "new"), []byte("new\n"), 0o644))
	h.criu(images, "restore", "--detach", "--bundle", bundle, "c")
	defer h.stop("c")
	h.counts("c", h.counts("c", 0))
	if after := table(); after != before {
		t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
	}
	h.prints("deep\nhost\nown\nshm\nnew\n", "exec", "c", "cat", "/data/below/file", "/etc/hosts", "/data/own/file", "/dev/shm/file", "/data/new")
	if r := h.run("exec", "c", "sh", "-c", "cat /proc/kcore; echo >/etc/hosts || echo >/proc/sys/kernel/hostname"); r.code == 0 || r.stdout != "" {
		t.Error(r)
	}
}

// A restored container has the limits of its configuration, and no other
// devices.
func testLimits(t *testing.T) {
	h := newHarness(t)
	s := spec("mknod /tmp/kmsg c 1 11; " + counter)
	s.Process.Capabilities.Bounding = append(s.Process.Capabilities.Bounding, "CAP_MKNOD")
	s.Process.Capabilities.Effective = append(s.Process.Capabilities.Effective, "CAP_MKNOD")
	s.Process.Capabilities.Permitted = append(s.Process.Capabilities.Permitted, "CAP_MKNOD")
	limit, pids := int64(64<<20), int64(4) // CRIU itself would not get along with so few
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}})
	s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}, Pids: &specs.LinuxPids{Limit: &pids}}
	bundle, images := h.bundle(s), filepath.Join(h.dir, "images")
	h.begin(bundle, "c")
	h.criu(images, "checkpoint", "c")
	h.criu(images, "restore", "--detach", "--bundle", bundle, "c")
	defer h.stop("c")
	h.prints("67108864\n4\n", "exec", "c", "cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max")
	if r := h.run("exec", "c", "sh", "-c", "exec 3</tmp/kmsg"); r.code == 0 || !strings.Contains(r.stderr, "not permitted") {
		t.Error(r)
	}
}

func testCgroupModes(t *testing.T) {
	h := newHarness(t)
	s := spec(counter)
	bundle, images := h.bundle(s), filepath.Join(h.dir, "images")
	h.begin(bundle, "c")
	h.fails(1, []string{"cgroup mode"}, "checkpoint", "--image-path", images, "--manage-cgroups-mode", "hard", "c")
	for _, mode := range []string{"full", "strict", "ignore", "soft"} {
		h.criu(images, "checkpoint", "--manage-cgroups-mode", mode, "c")
		h.criu(images, "restore", "--detach", "--manage-cgroups-mode", mode, "--bundle", bundle, "c")
		pid := h.is("c", "running").Pid
		if group := content(fmt.Sprintf("/proc/%d/cgroup", pid)); !strings.HasSuffix(group, "/minict/c") {
			t.Errorf("%s: it is in %q", mode, group)
		}
		h.counts("c", h.counts("c", 0))
	}
	h.stop("c")
}

// The root filesystem of engines is an overlay.
func testOverlay(t *testing.T) {
	h := newHarness(t)
	merged, upper, work := filepath.Join(h.dir, "merged"), filepath.Join(h.dir, "upper"), filepath.Join(h.dir, "work")
	for _, dir := range []string{merged, upper, work} {
		h.must(os.Mkdir(dir, 0o755))
	}
	h.must(unix.Mount("overlay", merged, "overlay", 0, "lowerdir="+shared.rootfs+",upperdir="+upper+",workdir="+work))
	defer unix.Unmount(merged, unix.MNT_DETACH)
	s := spec("exec 8>/root/file; " + counter)
	s.Root.Path = merged
	bundle, images := h.bundle(s), filepath.Join(h.dir, "images")
	h.begin(bundle, "c")
	h.criu(images, "checkpoint", "c")
	h.criu(images, "restore", "--detach", "--bundle", bundle, "c")
	defer h.stop("c")
	h.counts("c", h.counts("c", 0))
	if info, err := os.Stat(filepath.Join(upper, "root/file")); err != nil || info.Size() != 0 {
		t.Error(info, err)
	}
}

// The memory can go to a server of CRIU's.
func testPages(t *testing.T) {
	h := newHarness(t)
	bundle, images := h.bundle(spec(counter)), filepath.Join(h.dir, "images")
	h.must(os.Mkdir(images, 0o755))
	h.begin(bundle, "c")
	server := exec.Command("criu", "page-server", "--images-dir", images, "--address", "127.0.0.1", "--port", "4001")
	h.must(server.Start())
	h.listens(4001)
	h.criu(filepath.Join(h.dir, "here"), "checkpoint", "--page-server", "127.0.0.1:4001", "c")
	h.must(server.Wait())
	if pages, err := filepath.Glob(filepath.Join(h.dir, "here", "pages-*")); err != nil || len(pages) > 0 {
		t.Errorf("memory is here: %q, %v", pages, err)
	}
	h.must(os.CopyFS(images, os.DirFS(filepath.Join(h.dir, "here"))))
	h.criu(images, "restore", "--detach", "--bundle", bundle, "c")
	defer h.stop("c")
	h.counts("c", h.counts("c", 0))
}

// listens waits until somebody listens on a TCP port.
func (h *harness) listens(port int) {
	h.t.Helper()
	h.until(fmt.Sprint("somebody listens on ", port), func() bool {
		return strings.Contains(content("/proc/net/tcp"), fmt.Sprintf(":%04X 00000000:0000 0A", port))
	})
}

// Restored first, the memory comes when it is needed.
func testLazy(t *testing.T) {
	h := newHarness(t)
	bundle, images, work := h.bundle(spec(counter)), filepath.Join(h.dir, "images"), filepath.Join(h.dir, "work")
	h.begin(bundle, "c")
	ready, told, err := os.Pipe()
	h.must(err)
	defer ready.Close()
	dump := h.command("checkpoint", "--image-path", images, "--lazy-pages", "--page-server", "127.0.0.1:4002", "--status-fd", "3", "c")
	dump.ExtraFiles = []*os.File{told}
	h.must(dump.Start())
	told.Close()
	h.must(ready.SetReadDeadline(time.Now().Add(patience)))
	if n, err := ready.Read(make([]byte, 1)); n != 1 {
		t.Fatal(err, content(images+"/dump.log"))
	}
	h.must(os.Mkdir(work, 0o755))
	lazy := exec.Command("criu", "lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", "4002", "--images-dir", images, "--work-dir", work)
	h.must(lazy.Start())
	h.until("pages can be fetched", func() bool {
		_, err := os.Stat(filepath.Join(work, "lazy-pages.socket"))
		return err == nil
	})
	h.criu(images, "restore", "--lazy-pages", "--work-path", work, "--detach", "--bundle", bundle, "d")
	defer h.stop("d")
	h.counts("d", h.counts("d", 0))
	h.must(lazy.Wait())
	h.must(dump.Wait())
	h.fails(1, []string{"does not exist"}, "state", "c")
}

// A process that was executed in the container is no child of its first one, and
// not in the images: left running it goes on, and otherwise ends.
func testExec(t *testing.T) {
	h := newHarness(t)
	bundle, images, file := h.bundle(spec(counter)), filepath.Join(h.dir, "images"), filepath.Join(h.dir, "pid")
	h.begin(bundle, "c")
	h.prints("", "exec", "--detach", "--pid-file", file, "c", "sleep", "1000")
	pid, err := strconv.Atoi(content(file))
	h.must(err)
	h.criu(images, "checkpoint", "--leave-running", "c")
	if stat := content("/proc/" + content(file) + "/stat"); !strings.Contains(stat, ") S ") {
		t.Errorf("it does not sleep: %q", stat)
	}
	h.criu(images, "checkpoint", "c")
	h.ended(pid)
	h.criu(images, "restore", "--detach", "--bundle", bundle, "c")
	defer h.stop("c")
	if out := h.ok("exec", "c", "ps"); strings.Contains(out, "sleep 1000") {
		t.Errorf("it is restored: %s", out)
	}
}
