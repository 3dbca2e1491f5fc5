package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/launch"
	"minict/runtime/plan"
)

// nobody is an ordinary user; newuidmap wants one that has a name.
const nobody = 65534

// Variables by which the test program is told to run a container, as whoever
// it runs as, instead of the tests.
const (
	specFile = "RUNTIME_TEST_SPEC"
	preserve = "RUNTIME_TEST_PRESERVE" // Options.PreserveFDs
	also     = "RUNTIME_TEST_EXEC"     // a script to be executed in it
)

func init() {
	if name := os.Getenv(specFile); name != "" {
		goruntime.LockOSThread()
		status, err := runFile(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 200
		}
		os.Exit(status)
	}
}

// runFile runs the container of a specification in a file, on the streams of
// this process. If a script is to be executed in it, its own process is killed
// when that has ended.
func runFile(name string) (status int, err error) {
	raw, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	var spec specs.Spec
	if err := json.Unmarshal(raw, &spec); err != nil {
		return 0, err
	}
	host, err := Probe()
	if err != nil {
		return 0, err
	}
	count, _ := strconv.Atoi(os.Getenv(preserve))
	p, err := Compile(&spec, host, Options{PreserveFDs: count})
	if err != nil {
		return 0, err
	}
	child, err := onStreams(p, func(number uint32, c *launch.Child) error {
		if number != PauseCreateContainer {
			return preparing(&spec)(number, c)
		}
		return runHook(&spec, host, c)
	})
	if err != nil {
		return 0, err
	}
	if script := os.Getenv(also); script != "" {
		defer unix.PidfdSendSignal(child.Pidfd, unix.SIGKILL, nil, 0)
		spec.Process.Args = []string{"/bin/sh", "-c", script}
		if p, err = CompileExec(&spec, host, Options{}); err != nil {
			return 0, err
		}
		if child, err = onStreams(p, nil, child.Pidfd); err != nil {
			return 0, err
		}
	}
	var ended unix.WaitStatus
	_, err = unix.Wait4(child.Pid, &ended, 0, nil)
	return ended.ExitStatus(), err
}

// runHook runs the createContainer hook of a specification.
func runHook(spec *specs.Spec, host Host, c *launch.Child) error {
	p, err := CompileHook(spec, host, spec.Hooks.CreateContainer[0])
	if err != nil {
		return err
	}
	child, err := onStreams(p, nil, c.Pidfd)
	if err != nil {
		return err
	}
	_, err = unix.Wait4(child.Pid, nil, 0, nil)
	return err
}

// onStreams carries out a plan whose inputs are this process's streams and
// these.
func onStreams(p *plan.Plan, pause launch.Pause, more ...int) (*launch.Child, error) {
	prog, err := launch.New(p.Ready(), append([]int{0, 1, 2}, more...), false)
	if err != nil {
		return nil, err
	}
	defer prog.Close()
	if err := prog.Run(plan.Host); err != nil {
		return nil, err
	}
	child, err := prog.Start(pause)
	var f *launch.Failure
	if errors.As(err, &f) {
		return nil, Failed(p, f.Step, f.Errno, f.Exec)
	}
	return child, err
}

// rootless runs a container as the user nobody, who has 65536 subordinate ids
// from 300000 on.
func rootless(t *testing.T, script string, change ...func(*specs.Spec)) (string, error) {
	t.Helper()
	spec, cmd := ordinaryUser(t, script)
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	one := []specs.LinuxIDMapping{{ContainerID: 0, HostID: nobody, Size: 1}}
	spec.Linux.UIDMappings, spec.Linux.GIDMappings = one, one
	for _, f := range change {
		f(spec)
	}
	return runAs(t, spec, cmd)
}

// ordinaryUser gives an ordinary specification whose root filesystem is
// nobody's, and a command that is the test program as nobody.
func ordinaryUser(t *testing.T, script string) (*specs.Spec, *exec.Cmd) {
	t.Helper()
	ownMounts(t)
	dir, err := os.MkdirTemp("", "rootless")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	root, program := filepath.Join(dir, "rootfs"), filepath.Join(dir, "program")
	raw, err := os.ReadFile("/proc/self/exe") // the original is where only root may go
	for _, err := range []error{
		err, os.Rename(bundle(t), root), os.WriteFile(program, raw, 0o755),
		filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(p, nobody, nobody))
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		ids := filepath.Join(dir, filepath.Base(file))
		if err := os.WriteFile(ids, []byte("nobody:300000:65536\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(ids, file, "", unix.MS_BIND, ""); err != nil {
			t.Fatal("the tests need Debian's uidmap: ", err)
		}
		t.Cleanup(func() { unix.Unmount(file, unix.MNT_DETACH) })
	}
	cmd := exec.Command(program)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return ordinary(root, script), cmd
}

// runAs has the command run the container.
func runAs(t *testing.T, spec *specs.Spec, cmd *exec.Cmd) (string, error) {
	t.Helper()
	config := filepath.Join(filepath.Dir(cmd.Path), "config.json")
	raw, err := json.Marshal(spec)
	if err == nil {
		err = os.WriteFile(config, raw, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd.Env = append(cmd.Env, specFile+"="+config)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

func subordinates(s *specs.Spec) {
	s.Linux.UIDMappings = append(s.Linux.UIDMappings, specs.LinuxIDMapping{ContainerID: 1, HostID: 300000, Size: 65535})
	s.Linux.GIDMappings = append(s.Linux.GIDMappings, specs.LinuxIDMapping{ContainerID: 1, HostID: 300000, Size: 65535})
}

func TestRootlessWithOneID(t *testing.T) {
	adj := 0
	out, err := rootless(t, `id -u; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; echo x >/dev/null
		hostname; touch /new && stat -c %u:%g /new; ls /sys/class/net; grep -E 'NoNew|CapBnd' /proc/self/status; echo $$`,
		func(s *specs.Spec) { s.Process.OOMScoreAdj = &adj })
	want := "0\n         0      65534          1\n         0      65534          1\ndeny\nbox\n0:0\nlo\nCapBnd:\t00000000000020e1\nNoNewPrivs:\t0\n1\n"
	if err != nil || out != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}

func TestRootlessWithSubordinateIDs(t *testing.T) {
	out, err := rootless(t, `id -u; id -g; id -G; cat /proc/self/uid_map /proc/self/setgroups; stat -c %u /proc/1; stat -c %g /dev/pts/ptmx`, subordinates,
		func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5}}
		})
	want := "1000\n1001\n1001 5\n         0      65534          1\n         1     300000      65535\nallow\n1000\n0\n"
	if err != nil || out != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}

func TestRootlessTimeOffsets(t *testing.T) {
	out, err := rootless(t, `cat /proc/self/timens_offsets`, func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 7}}
	})
	if err != nil || !strings.HasSuffix(out, "boottime            7         0\n") {
		t.Errorf("got %q, %v", out, err)
	}
}

// What an ordinary user may not map, and groups that he may not have.
func TestRootlessIsRefused(t *testing.T) {
	tests := map[string]struct {
		change func(*specs.Spec)
		text   string
	}{
		"others' ids": {func(s *specs.Spec) { s.Linux.UIDMappings[0].HostID = 0 }, "newuidmap: exit status 1"},
		"groups": {func(s *specs.Spec) { s.Process.User.AdditionalGids = []uint32{0} },
			"additional groups need subordinate group ids"},
	}
	for name, tt := range tests {
		if _, err := rootless(t, "true", tt.change); err == nil || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: got %v, want %s", name, err, tt.text)
		}
	}
}

// One more process, by the ordinary user whose container it is.
func TestRootlessExec(t *testing.T) {
	spec, cmd := ordinaryUser(t, "exec sleep 1000")
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	one := []specs.LinuxIDMapping{{ContainerID: 0, HostID: nobody, Size: 1}}
	spec.Linux.UIDMappings, spec.Linux.GIDMappings = one, one
	cmd.Env = []string{also + "=id -u; hostname; test $(readlink /proc/1/ns/user) = $(readlink /proc/self/ns/user) && echo inside"}
	if out, err := runAs(t, spec, cmd); err != nil || out != "0\nbox\ninside\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

// A hook enters the container of an ordinary user while it is set up.
func TestRootlessHook(t *testing.T) {
	out, err := rootless(t, "hostname", func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "hostname; hostname hooked; id -u"}}}}
	})
	if err != nil || out != "box\n0\nhooked\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

// Root of a user namespace, as an engine's without root is, runs containers
// that have no user namespace of their own.
func TestRootOfAUserNamespace(t *testing.T) {
	adj := 0
	spec, cmd := ordinaryUser(t, "echo x >/dev/null; stat -c %t:%T /dev/zero; ls /sys/class/net; id -u; cat /proc/self/uid_map")
	spec.Process.OOMScoreAdj = &adj
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}, {ContainerID: 1, HostID: 300000, Size: 65535}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}, {ContainerID: 1, HostID: 300000, Size: 65535}},
		Credential:  &syscall.Credential{Uid: 0, Gid: 0},
	}
	want := "1:5\nlo\n0\n         0      65534          1\n         1     300000      65535\n"
	if out, err := runAs(t, spec, cmd); err != nil || out != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}

// The program that maps subordinate ids is not looked for in the caller's PATH.
func TestRootlessHelpersAreFixed(t *testing.T) {
	old := helperDirs
	defer func() { helperDirs = old }()
	helperDirs = []string{t.TempDir() + "/"}
	t.Setenv("PATH", "/usr/bin")
	err := subordinate("newuidmap", os.Getpid(), nil)
	if err == nil || !strings.Contains(err.Error(), "newuidmap is not installed") {
		t.Errorf("got %v", err)
	}
}
