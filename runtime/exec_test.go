package runtime

import (
	"bufio"
	"os"
	"strings"
	"testing"

	goruntime "runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/launch"
	"minict/runtime/plan"
)

// sleeper starts a container that lives until the test ends, and gives the
// pidfd of its first process.
func sleeper(t *testing.T, spec *specs.Spec) int {
	t.Helper()
	goruntime.LockOSThread()
	t.Cleanup(goruntime.UnlockOSThread)
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(spec, host, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	prog, err := launch.New(p.Ready(), []int{int(w.Fd()), int(w.Fd()), int(w.Fd())}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := prog.Run(plan.Host); err != nil {
		t.Fatal(err)
	}
	child, err := prog.Start(preparing(spec))
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if line, err := bufio.NewReader(r).ReadString('\n'); line != "up\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	t.Cleanup(func() {
		unix.PidfdSendSignal(child.Pidfd, unix.SIGKILL, nil, 0)
		unix.Wait4(child.Pid, nil, 0, nil)
		unix.Close(child.Pidfd)
		if err := prog.Run(plan.Undo); err != nil {
			t.Error(err)
		}
		prog.Close()
	})
	return child.Pidfd
}

func TestExecJoins(t *testing.T) {
	spec := ordinary(bundle(t), "echo up; exec sleep 1000")
	target := sleeper(t, spec)
	spec.Process.Args = []string{"/bin/sh", "-c", `ps -o pid,args; hostname; pwd; ls /proc/self/fd | wc -l; grep CapEff /proc/self/status; for n in cgroup ipc mnt net pid uts; do test $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) || echo differs: $n; done`}
	spec.Process.Cwd = "/tmp"
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := CompileExec(spec, host, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := launchPlan(t, p, map[string]int{InputTarget: target})
	if err != nil || r.status != 0 {
		t.Fatalf("%v, status %#x, stderr %q", err, r.status, r.stderr)
	}
	for _, want := range []string{" sleep 1000\n", "box\n/tmp\n4\nCapEff:\t00000000000020e1\n"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("%q is not in %q", want, r.stdout)
		}
	}
	if strings.Contains(r.stdout, "\ndiffers: ") {
		t.Errorf("not in the container's namespaces: %q", r.stdout)
	}
}

func TestExecTerminal(t *testing.T) {
	spec := ordinary(bundle(t), "echo up; exec sleep 1000")
	target := sleeper(t, spec)
	spec.Process.Args = []string{"/bin/sh", "-c", "tty"}
	spec.Process.Terminal = true
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := CompileExec(spec, host, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := consoleSocket(t)
	got := make(chan string)
	go func() { got <- screen(receive(t, ours)) }()
	if _, err := launchPlan(t, p, map[string]int{InputTarget: target, InputConsole: theirs}); err != nil {
		t.Fatal(err)
	}
	if text := <-got; text != "/dev/pts/0\n" {
		t.Errorf("got %q", text)
	}
}

// A bind mount that is a slave shows what is mounted below its source later.
func TestSlaveMounts(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	mount := func(source, target, kind string, flags uintptr) {
		t.Helper()
		if err := unix.Mount(source, target, kind, flags, ""); err != nil {
			t.Fatal(err)
		}
		if kind != "" || flags&unix.MS_BIND != 0 {
			t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
		}
	}
	mount(dir, dir, "", unix.MS_BIND)
	mount("", dir, "", unix.MS_SHARED)
	spec := ordinary(bundle(t), "echo up; exec sleep 1000")
	spec.Mounts = append(spec.Mounts,
		specs.Mount{Destination: "/slave", Source: dir, Options: []string{"rbind", "rslave"}},
		specs.Mount{Destination: "/private", Source: dir, Options: []string{"rbind"}})
	target := sleeper(t, spec)
	mount("tmpfs", dir+"/sub", "tmpfs", 0)
	if err := os.WriteFile(dir+"/sub/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	spec.Process.Args = []string{"/bin/sh", "-c", "ls /slave/sub /private/sub"}
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := CompileExec(spec, host, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := launchPlan(t, p, map[string]int{InputTarget: target})
	if want := "/private/sub:\n\n/slave/sub:\nfile\n"; err != nil || r.stdout != want {
		t.Errorf("got %q, %v, want %q", r.stdout, err, want)
	}
}
