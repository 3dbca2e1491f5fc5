package runtime

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// files are the names of namespaces in /proc/PID/ns.
var files = map[specs.LinuxNamespaceType]string{
	specs.UserNamespace: "user", specs.PIDNamespace: "pid", specs.MountNamespace: "mnt", specs.UTSNamespace: "uts",
	specs.IPCNamespace: "ipc", specs.NetworkNamespace: "net", specs.CgroupNamespace: "cgroup", specs.TimeNamespace: "time",
}

// pidOf gives the process of a pidfd.
func pidOf(t *testing.T, pidfd int) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "Pid:")
	pid, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func space(t *testing.T, pid int, kind specs.LinuxNamespaceType) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, files[kind]))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// joining has namespaces of a process joined instead of made.
func joining(pid int, kinds ...specs.LinuxNamespaceType) func(*specs.Spec) {
	return func(s *specs.Spec) {
		without(kinds...)(s)
		for _, kind := range kinds {
			s.Linux.Namespaces = append(s.Linux.Namespaces,
				specs.LinuxNamespace{Type: kind, Path: fmt.Sprintf("/proc/%d/ns/%s", pid, files[kind])})
		}
	}
}

// spacesOf runs a container that tells its namespaces.
func spacesOf(t *testing.T, change ...func(*specs.Spec)) map[specs.LinuxNamespaceType]string {
	t.Helper()
	out := must(t, `cd /proc/self/ns; for n in *; do echo $n $(readlink $n); done`, change...)
	found := make(map[specs.LinuxNamespaceType]string)
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		for kind, file := range files {
			if file == words[0] {
				found[kind] = words[1]
			}
		}
	}
	return found
}

// checkSpaces checks that these namespaces, and no others, are those of a
// process.
func checkSpaces(t *testing.T, name string, got map[specs.LinuxNamespaceType]string, pid int, shared ...specs.LinuxNamespaceType) {
	t.Helper()
	want := make(map[specs.LinuxNamespaceType]bool)
	for _, kind := range shared {
		want[kind] = true
	}
	for kind, is := range got {
		if same := is == space(t, pid, kind); same != want[kind] {
			t.Errorf("%s: the %s namespace is %s, shared %v, want %v", name, kind, is, same, want[kind])
		}
	}
}

func TestJoins(t *testing.T) {
	host := ordinary(bundle(t), "echo up; exec sleep 1000")
	host.Linux.Namespaces = append(host.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	pid := pidOf(t, sleeper(t, host))
	tests := map[string][]specs.LinuxNamespaceType{
		"net":    {specs.NetworkNamespace},
		"pid":    {specs.PIDNamespace},
		"cgroup": {specs.CgroupNamespace},
		"time":   {specs.TimeNamespace},
		"pod":    {specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace},
		"most":   {specs.PIDNamespace, specs.TimeNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace},
	}
	always := []specs.LinuxNamespaceType{specs.UserNamespace} // none has its own
	for name, kinds := range tests {
		got := spacesOf(t, joining(pid, kinds...))
		checkSpaces(t, name, got, pid, append(kinds, always...)...)
		if slices.Contains(kinds, specs.PIDNamespace) || slices.Contains(kinds, specs.CgroupNamespace) {
			continue // they are not the new users' to see: proc and cgroup can't be mounted
		}
		got = spacesOf(t, joining(pid, kinds...), ownUsers(t), func(s *specs.Spec) {
			// The host's stands in for this one, and it may have none.
			s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return m.Type == "mqueue" })
		})
		checkSpaces(t, name+" with users of its own", got, pid, kinds...)
	}
}

// A container may share any namespace with its caller. If it shares the mounts,
// they are as before when it has ended.
func TestNamespacesOfTheCaller(t *testing.T) {
	ownMounts(t)
	before := hostMounts(t)
	kinds := []specs.LinuxNamespaceType{specs.MountNamespace, specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace}
	rest := []specs.LinuxNamespaceType{specs.UserNamespace, specs.TimeNamespace}
	noName := func(s *specs.Spec) { s.Hostname = "" }
	for _, kind := range kinds {
		got := spacesOf(t, noName, without(kind))
		checkSpaces(t, string(kind), got, unix.Gettid(), append(rest, kind)...)
	}
	checkSpaces(t, "all", spacesOf(t, noName, without(kinds...)), unix.Gettid(), append(rest, kinds...)...)
	if left := mountsSince(t, before); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

// Where the mounts are shared, the container still has its own root, and so has
// what is executed in it.
func TestSharedMountsHaveARoot(t *testing.T) {
	ownMounts(t)
	holder := unshared(t, unix.CLONE_NEWNS)
	for name, change := range map[string]func(*specs.Spec){
		"the caller's": without(specs.MountNamespace),
		"a process's":  joining(holder, specs.MountNamespace),
	} {
		spec := ordinary(bundle(t), "echo up; exec sleep 1000")
		change(spec)
		target := sleeper(t, spec)
		dir, err := unix.Open(fmt.Sprintf("/proc/%d/root", pidOf(t, target)), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(dir)
		r, err := execute(t, spec, target, map[string]int{InputRoot: dir}, "ls -d /root /bin; pwd; ps | grep -c [s]leep")
		if err != nil || r.stdout != "/bin\n/\n1\n" {
			t.Errorf("%s: got %q %q, %v", name, r.stdout, r.stderr, err)
		}
	}
}

// The containers of a pod share a user namespace, and the network that belongs
// to it; each has mounts and processes of its own.
func TestJoinUserNamespace(t *testing.T) {
	infra := ordinary(bundle(t), "echo up; exec sleep 1000")
	ownUsers(t)(infra)
	pid := pidOf(t, sleeper(t, infra))
	shared := []specs.LinuxNamespaceType{specs.UserNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace}
	owned := func(s *specs.Spec) {
		ownUsers(t)(s)
		joining(pid, shared...)(s)
	}
	checkSpaces(t, "pod", spacesOf(t, owned), pid, append(shared, specs.TimeNamespace)...)
	out := must(t, `echo $$; id -u; cat /proc/self/uid_map; ls /sys/class/net; mount -t tmpfs none /tmp && echo mounted`, owned, func(s *specs.Spec) {
		caps := []string{"CAP_SYS_ADMIN"}
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
		s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil // an engine may leave them out
	})
	if want := "1\n0\n         0     200000      65536\nlo\nmounted\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

// What is joined may be bound to a file. A namespace of users that its own
// network does not belong to can be joined too.
func TestJoinBoundNamespaces(t *testing.T) {
	ownMounts(t)
	dir := t.TempDir()
	pid := pidOf(t, sleeper(t, ordinary(bundle(t), "echo up; exec sleep 1000")))
	infra := ordinary(bundle(t), "echo up; exec sleep 1000")
	ownUsers(t)(infra)
	users := pidOf(t, sleeper(t, infra))
	bound := func(pid int, kind specs.LinuxNamespaceType) specs.LinuxNamespace {
		name := filepath.Join(dir, files[kind])
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(fmt.Sprintf("/proc/%d/ns/%s", pid, files[kind]), name, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(name, unix.MNT_DETACH) })
		return specs.LinuxNamespace{Type: kind, Path: name}
	}
	network, user := bound(pid, specs.NetworkNamespace), bound(users, specs.UserNamespace)
	got := spacesOf(t, ownUsers(t), without(specs.NetworkNamespace, specs.UserNamespace), func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, user, network)
		// The network is not theirs to see.
		s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return strings.HasPrefix(m.Destination, "/sys") })
	})
	checkSpaces(t, "network", got, pid, specs.NetworkNamespace, specs.TimeNamespace)
	checkSpaces(t, "users", got, users, specs.UserNamespace, specs.TimeNamespace)
}

// In a mount namespace of others the root filesystem is the container's root,
// and the others keep theirs.
func TestJoinMountNamespace(t *testing.T) {
	root := bundle(t)
	holder := unshared(t, unix.CLONE_NEWNS)
	spec := ordinary(root, "readlink /proc/self/ns/mnt; ls -d /bin/busybox /root /usr")
	joining(holder, specs.MountNamespace)(spec)
	r, err := run(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	if want := space(t, holder, specs.MountNamespace) + "\n/bin/busybox\n"; r.stdout != want {
		t.Errorf("got %q, want %q", r.stdout, want)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/usr", holder)); err != nil {
		t.Error("the other process lost its root: ", err)
	}
}

// unshared gives a process that lives in new namespaces until the test ends.
func unshared(t *testing.T, flags uintptr) int {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "echo up; exec sleep 1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: flags}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestNotANamespace(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"/proc/self/ns/net":  "join namespace uts: /proc/self/ns/net is no uts namespace",
		"/dev/null":          "join namespace uts: /dev/null is no uts namespace",
		dir + "/fifo":        "join namespace uts: " + dir + "/fifo is no uts namespace",
		"/proc/self/ns/none": "open namespace uts /proc/self/ns/none: no such file or directory",
	}
	for path, want := range tests {
		spec := ordinary(bundle(t), "true")
		without(specs.UTSNamespace)(spec)
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UTSNamespace, Path: path})
		if _, err := run(t, spec); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
}

// Without a mount namespace of its own the container is among the host's
// mounts, and its own are still nowhere to be seen, nor left.
func TestNoMountNamespace(t *testing.T) {
	mounts := func() string {
		// Not of the first thread: another test may have left it elsewhere.
		all, err := os.ReadFile("/proc/thread-self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return string(all)
	}
	dir := bundle(t)
	before := mounts()
	own, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	spec := ordinary(dir, "readlink /proc/self/ns/mnt; ls -d /bin /dev/null /sys/kernel; echo x >/dev/null && echo written; touch /sys/fs/cgroup/x || echo read-only")
	spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == specs.MountNamespace })
	r, err := run(t, spec)
	if err != nil || r.status != 0 {
		t.Fatalf("%v, status %v: %s", err, r.status, r.stderr)
	}
	if want := own + "\n/bin\n/dev/null\n/sys/kernel\nwritten\nread-only\n"; !strings.HasPrefix(r.stdout, want) {
		t.Errorf("got %q, want %q", r.stdout, want)
	}
	for line := range strings.Lines(mounts()) {
		if strings.Contains(line, dir) && !strings.Contains(before, line) {
			t.Errorf("left on the host: %s", line)
		}
	}
}
