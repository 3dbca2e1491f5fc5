package oci

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"minict/tests/fixture"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ownRuntime gives the harness a copy of the runtime that an attack may spoil,
// and the function that says whether it did.
func (h *harness) ownRuntime() (spoiled func() bool) {
	h.t.Helper()
	program, err := os.ReadFile(shared.binary)
	h.must(err)
	dir, err := os.MkdirTemp(h.dir, "bin-")
	h.must(err)
	path := filepath.Join(dir, "minict-oci")
	h.must(os.WriteFile(path, program, 0o755))
	before := shared.runtime
	shared.runtime = path
	h.t.Cleanup(func() { shared.runtime = before })
	return func() bool {
		now, err := os.ReadFile(path)
		h.must(err)
		return sha256.Sum256(now) != sha256.Sum256(program)
	}
}

// ownRootfs is a root filesystem that the test may change.
func (h *harness) ownRootfs() string {
	h.t.Helper()
	dir, err := os.MkdirTemp(h.dir, "rootfs-")
	h.must(err)
	h.must(fixture.Rootfs(dir))
	return dir
}

// grab looks for processes of a program that is not busybox, holds the program
// open and tries to write to it until the process has ended.
const grab = `
touch /tmp/ready
while :; do
	for p in /proc/[0-9]*; do
		exe=$(readlink $p/exe) || continue
		case "$exe" in /bin/busybox|"") continue;; esac
		(
			exec 9<$p/exe || exit
			echo held >>/tmp/held
			for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
				(echo spoiled >/proc/self/fd/9) && echo written >>/tmp/held && break
				(echo spoiled >/proc/self/fd/9) || sleep 0.01
			done
		) 2>/dev/null
	done
done`

// CVE-2019-5736: the container's program is the runtime itself, by
// /proc/self/exe, and others in the container hold that open to write to it.
func TestRuntimeIsNotOverwritten(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"link":        func(path string) error { return os.Symlink("/proc/self/exe", path) },
		"interpreter": func(path string) error { return os.WriteFile(path, []byte("#!/proc/self/exe\n"), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			spoiled := h.ownRuntime()
			rootfs := h.ownRootfs()
			h.must(make(filepath.Join(rootfs, "bin/trap")))
			s := spec(grab)
			s.Root.Path = rootfs
			all := append(s.Process.Capabilities.Bounding, "CAP_SYS_PTRACE")
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
			h.prints("", "run", "--detach", "--bundle", h.bundle(s), "c")
			defer h.stop("c")
			h.ready("c")
			for range 20 {
				h.run("exec", "c", "/bin/trap", "events") // what the runtime says in there is of no interest
			}
			// Otherwise nothing was tried.
			h.prints("held\n", "exec", "c", "sh", "-c", "until test -s /tmp/held; do sleep 0.01; done; sort -u /tmp/held | head -1")
			if spoiled() || strings.Contains(h.ok("exec", "c", "cat", "/tmp/held"), "written") {
				t.Error("the runtime was overwritten")
			}
			trap := spec("")
			trap.Root.Path, trap.Process.Args = rootfs, []string{"/bin/trap"}
			h.run("run", "--bundle", h.bundle(trap), "d")
			if spoiled() {
				t.Error("the runtime was overwritten")
			}
		})
	}
}

// Also as long as a container waits to be started, what it runs can't be written to
// by who gets hold of it: it is an airlock in a sealed file, or, where the container
// does not let one work, the runtime on a mount that is read-only.
func TestCreatedContainerCantBeWrittenThrough(t *testing.T) {
	deaf := spec("true")
	deaf.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"close"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 1000, Op: specs.OpEqualTo}}},
	}}
	for name, s := range map[string]*specs.Spec{"airlock": spec("true"), "mount": deaf} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			defer os.RemoveAll(filepath.Join(h.root, ".seccomp")) // what compiled filters are kept in
			h.prints("", "create", "--bundle", h.bundle(s), "c")
			defer h.stop("c")
			exe := fmt.Sprintf("/proc/%d/exe", h.state("c").Pid)
			var fs unix.Statfs_t
			h.must(unix.Statfs(exe, &fs))
			if name == "mount" {
				if fs.Flags&unix.ST_RDONLY == 0 {
					t.Error("it is on a mount that can be written to")
				}
				return
			}
			f, err := os.Open(exe)
			h.must(err)
			defer f.Close()
			const write = unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
			if seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil || seals&write != write {
				t.Errorf("its file has the seals %#x, %v", seals, err)
			}
		})
	}
}

// CVE-2024-21626: a working directory, or a program, that is named by a
// descriptor of the runtime's, or of its caller's, is on the host.
func TestNothingOfTheHostThroughDescriptors(t *testing.T) {
	h := newHarness(t)
	canary := filepath.Base(h.file("canary-of-the-host", ""))
	leaking := func(args ...string) result {
		cmd := h.command(args...)
		for range 4 {
			dir, err := os.Open(h.dir)
			h.must(err)
			defer dir.Close()
			cmd.ExtraFiles = append(cmd.ExtraFiles, dir)
		}
		return h.finish(cmd)
	}
	const look = "pwd -P; ls -a; ls ../../../../.."
	h.prints("", "run", "--detach", "--bundle", h.bundle(spec("exec sleep 1000")), "c")
	defer h.stop("c")
	for n := 3; n < 32; n++ {
		for _, up := range []string{"", "/../../.."} {
			cwd := fmt.Sprintf("/proc/self/fd/%d%s", n, up)
			s := spec(look)
			s.Process.Cwd = cwd
			for _, r := range []result{
				leaking("run", "--bundle", h.bundle(s), "r"),
				leaking("exec", "--cwd", cwd, "c", "sh", "-c", look),
			} {
				inside := strings.HasPrefix(r.stdout, "/") && !strings.HasPrefix(r.stdout, "(")
				if strings.Contains(r.stdout, canary) || r.code == 0 && !inside {
					t.Errorf("cwd %s: %v", cwd, r)
				}
			}
		}
		program := fmt.Sprintf("/proc/self/fd/%d/../../../../../bin/true", n)
		if r := leaking("exec", "c", program); r.code == 0 {
			t.Errorf("executed: %v", r)
		}
	}
	if r := leaking("exec", "c", "ls", "/proc/self/fd"); r.stdout != "0\n1\n2\n3\n" {
		t.Errorf("descriptors: %v", r)
	}
}
