package runtime

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/launch"
	"minict/runtime/plan"
)

// gate is a fifo as it is handed to a created container, and its name.
func gate(t *testing.T) (fd int, name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd, name
}

// onOwnThread calls f on a thread that ends then. The first thread of a program
// never does.
func onOwnThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		goruntime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onOwnThread(f)
			goruntime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}

// created makes a container that waits at its gate, with output as its stdout, and
// in an airlock if it is to. The thread that it was launched from has ended when
// created returns.
func created(t *testing.T, spec *specs.Spec, output int, airlock bool) (child *launch.Child, opening, started int) {
	t.Helper()
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(spec, host, Options{Gate: true, Airlock: airlock})
	if err != nil {
		t.Fatal(err)
	}
	inputs := []int{output, output, output}
	if airlock {
		program, err := NewAirlock()
		if err != nil {
			t.Fatal(err)
		}
		defer program.Close()
		inputs = append(inputs, int(program.Fd()))
	}
	opening, _ = gate(t)
	started, name := gate(t)
	reading, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(reading) })
	prog, err := launch.New(p.Ready(), append(inputs, opening, started), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	onOwnThread(func() {
		if err = prog.Run(plan.Host); err == nil {
			child, err = prog.Start(preparing(spec))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.PidfdSendSignal(child.Pidfd, unix.SIGKILL, nil, 0)
		unix.Wait4(child.Pid, nil, 0, nil)
		unix.Close(child.Pidfd)
	})
	if err := unix.Dup3(reading, started, unix.O_CLOEXEC); err != nil { // the other end is the child's alone now
		t.Fatal(err)
	}
	return child, opening, reading
}

// A created container is complete but for its program, and waits: also when
// the one that launched it is gone, with users of its own or without. In an airlock
// it is nothing of the launcher's that waits.
func TestCreateAndStart(t *testing.T) {
	plain := func(*specs.Spec) {}
	for name, change := range map[string]func(*specs.Spec){
		"plain": plain, "users": ownUsers(t), "airlock": plain, "users, airlock": ownUsers(t),
	} {
		airlock := strings.HasSuffix(name, "airlock")
		spec := ordinary(bundle(t), "ls /proc/self/fd | wc -l; grep Seccomp: /proc/self/status")
		spec.Process.NoNewPrivileges = true
		spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64}}
		change(spec)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		child, opening, started := created(t, spec, int(w.Fd()), airlock)
		w.Close()
		exe, err := os.Readlink("/proc/" + strconv.Itoa(child.Pid) + "/exe")
		if err != nil || strings.HasPrefix(exe, "/memfd:airlock") != airlock {
			t.Errorf("%s: what waits is %q, %v", name, exe, err)
		}
		fds := []unix.PollFd{{Fd: int32(child.Pidfd), Events: unix.POLLIN}, {Fd: int32(r.Fd()), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 50); n != 0 {
			t.Fatalf("%s: it ended or wrote before it was started: %v, %v", name, fds, err)
		}
		if link, err := os.Readlink("/proc/" + strconv.Itoa(child.Pid) + "/root"); err != nil || link != "/" {
			t.Errorf("%s: root %q, %v", name, link, err)
		}
		if _, err := unix.Write(opening, []byte{0}); err != nil {
			t.Fatal(err)
		}
		if err := launch.Started(started); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if text := screen(r); text != "4\nSeccomp:\t2\n" {
			t.Errorf("%s: got %q", name, text)
		}
	}
}

func TestStartFails(t *testing.T) {
	spec := ordinary(bundle(t), "")
	spec.Process.Args = []string{"/proc"} // is there, and no program
	w, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, airlock := range []bool{false, true} {
		_, opening, started := created(t, spec, int(w.Fd()), airlock)
		if _, err := unix.Write(opening, []byte{0}); err != nil {
			t.Fatal(err)
		}
		var f *launch.Failure
		if err := launch.Started(started); !errors.As(err, &f) || f.Errno != unix.EACCES || !f.Exec {
			t.Errorf("airlock %v: got %v", airlock, err)
		}
	}
}

// That there is no program is known before the gate.
func TestCreateLooksForTheProgram(t *testing.T) {
	for program, wrong := range map[string]bool{"missing": true, "/missing/too": true, "/bin/sh/x": true, "sh": false, "./bin/sh": false} {
		spec := ordinary(bundle(t), "")
		spec.Process.Args = []string{program}
		host, err := Probe()
		if err != nil {
			t.Fatal(err)
		}
		p, err := Compile(spec, host, Options{Gate: true})
		if err != nil {
			t.Fatal(err)
		}
		opening, _ := gate(t)
		started, _ := gate(t)
		if _, err := unix.Write(opening, []byte{0}); err != nil { // whoever is there goes on at once
			t.Fatal(err)
		}
		var notFound *StepError
		_, err = launchPaused(t, p, map[string]int{InputGate: opening, InputStarted: started}, func(uint32, *launch.Child) error { return nil })
		if wrong != (errors.As(err, &notFound) && notFound.Exec && notFound.ExitCode() == 127) {
			t.Errorf("%s: got %v", program, err)
		}
	}
}

// Without the wish to outlive its launcher a container is killed with it.
func TestEndsWithItsLauncher(t *testing.T) {
	for _, outlive := range []bool{false, true} {
		host, err := Probe()
		if err != nil {
			t.Fatal(err)
		}
		spec := ordinary(bundle(t), "exec sleep 1000")
		ownUsers(t)(spec)
		p, err := Compile(spec, host, Options{Outlive: outlive})
		if err != nil {
			t.Fatal(err)
		}
		null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		fd := int(null.Fd())
		prog, err := launch.New(p.Ready(), []int{fd, fd, fd}, false)
		if err != nil {
			t.Fatal(err)
		}
		defer prog.Close()
		var child *launch.Child
		onOwnThread(func() { child, err = prog.Start(preparing(spec)) })
		if err != nil {
			t.Fatal(err)
		}
		fds := []unix.PollFd{{Fd: int32(child.Pidfd), Events: unix.POLLIN}}
		wait := 10000
		if outlive {
			wait = 100
		}
		if n, err := unix.Poll(fds, wait); err != nil || (n == 0) != outlive {
			t.Errorf("outlive %v: ended %v, %v", outlive, n != 0, err)
		}
		unix.PidfdSendSignal(child.Pidfd, unix.SIGKILL, nil, 0)
		unix.Wait4(child.Pid, nil, 0, nil)
		unix.Close(child.Pidfd)
	}
}

// Descriptors that the caller wants passed on are passed on, and no others.
func TestPreserveFDs(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.json")
	raw, err := json.Marshal(ordinary(bundle(t), "cat <&3; ls /proc/self/fd | wc -l"))
	if err == nil {
		err = os.WriteFile(config, raw, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	passed, err := os.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{specFile + "=" + config, preserve + "=1"}
	cmd.ExtraFiles = []*os.File{passed, passed}
	out, err := cmd.CombinedOutput()
	if want := string(raw) + "5\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}
