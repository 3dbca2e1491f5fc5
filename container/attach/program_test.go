package attach

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"minict/container/embed"
)

// The program of a monitor, or of an init, can't be written by way of
// /proc/PID/exe: CVE-2019-5736.
func TestProgramIsReadOnly(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{script: "exec sleep 1000", init: true, flags: unix.CLONE_NEWPID}, Container{})
	var programs []*os.File
	for _, pid := range []int{s.Pid, h.monitor.pid} {
		f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/exe")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		programs = append(programs, f)
	}
	// While it runs the kernel refuses anyway (ETXTBSY), so the attack keeps it
	// open and writes when it has ended.
	unix.Kill(s.Pid, unix.SIGKILL)
	h.gone()
	for _, f := range programs {
		_, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), os.O_WRONLY, 0)
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("open to write: %v", err)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), h.state) {
		t.Error("the mount is in the host's table")
	}
}

func TestSealedProgram(t *testing.T) {
	f, err := sealedProgram(embed.Monitor())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0}, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("write: %v", err)
	}
	m := &Monitor{Program: f, sock: -1}
	if err := m.spawn(); err != nil {
		t.Fatal(err)
	}
	unix.Close(m.sock)
	m.Wait()
}

// What is kept is checked before it is run.
func TestStoredProgram(t *testing.T) {
	dir := t.TempDir() + "/bin"
	open := func() error {
		fd, err := storedProgram(dir, embed.Monitor())
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	name, err := embed.Monitor().Name()
	if err != nil {
		t.Fatal(err)
	}
	old := dir + "/monitor-1234"
	for _, spoil := range []func() error{
		func() error { return os.Chmod(dir+"/"+name, 0o700) },
		func() error { return os.Truncate(dir+"/"+name, 5) },
		func() error { return os.Chown(dir+"/"+name, 1, 1) },
		func() error { return errors.Join(os.Remove(dir+"/"+name), os.Symlink("/bin/true", dir+"/"+name)) },
		func() error { return errors.Join(os.Remove(dir+"/"+name), os.WriteFile(old, nil, 0o500)) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if err := open(); err != nil {
			t.Errorf("not mended: %v", err)
		}
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("the program of another build is still there")
	}
	data, err := os.ReadFile(dir + "/" + name)
	if err != nil || string(data) != embed.Monitor().Data {
		t.Errorf("not the program: %d bytes, %v", len(data), err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := open(); !errors.Is(err, errForeign) {
		t.Errorf("directory that anybody can write to: %v", err)
	}
}

// A monitor gets nothing of its caller's: no environment, no descriptors, no
// terminal, no directory.
func TestCleanMonitor(t *testing.T) {
	t.Setenv("SECRET", "x")
	leak, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	h := newHost(t)
	s := h.mustStart(program{script: "tr '\\0' ' ' </proc/$PPID/environ; readlink /proc/$PPID/cwd; ls -l /proc/$PPID/fd"}, Container{Process: Process{Output: true}})
	o := relayed(t, s, nil)
	for _, secret := range []string{"SECRET", "passwd"} {
		if strings.Contains(o.out, secret) {
			t.Errorf("the monitor has %s: %s", secret, o.out)
		}
	}
	contains(t, o.out, strings.Join(environment, " ")+" /\n")
}

// A monitor that gets nothing to do ends.
func TestUnusedMonitor(t *testing.T) {
	m, err := Spawn(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(m.pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("it is there: %v", err)
	}
}

func TestLongRunDir(t *testing.T) {
	h := newHost(t)
	long := strings.Repeat("x", 200)
	h.state += "/" + long
	h.run = h.state + "/containers/c0ffee"
	if err := os.MkdirAll(h.run, 0o700); err != nil {
		t.Fatal(err)
	}
	h.mustStart(program{script: "exec sleep 1000"}, Container{})
	h.look(Wishes{}).Close()
}

func TestState(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{script: "exec sleep 1000"}, Container{})
	data, err := os.ReadFile(h.run + "/state")
	if err != nil {
		t.Fatal(err)
	}
	want := `{"pid":` + strconv.Itoa(s.Pid) + `,"startTime":` + strconv.FormatUint(s.StartTime, 10) + `,"monitor":` + strconv.Itoa(h.monitor.pid) + `,"started":"20`
	contains(t, string(data), want)
	unix.Kill(s.Pid, unix.SIGKILL)
	s.Wait(context.Background())
}

func TestParseKeys(t *testing.T) {
	for list, want := range map[string]string{"": "\x10\x11", "ctrl-p,ctrl-q": "\x10\x11", "a": "a", "ctrl-a,b": "\x01b", "ctrl-@,ctrl-[,ctrl-_": "\x00\x1b\x1f"} {
		keys, err := ParseKeys(list)
		if err != nil || string(keys) != want {
			t.Errorf("%q: got %q, %v", list, keys, err)
		}
	}
	for _, list := range []string{"ctrl-", "ctrl-1", "ab", "a,,b", ",", "é", "ctrl-p,"} {
		if keys, err := ParseKeys(list); err == nil {
			t.Errorf("%q: got %q", list, keys)
		}
	}
}

func TestSift(t *testing.T) {
	in := &input{keys: []byte("aab")}
	var out string
	for _, chunk := range []string{"xa", "a", "a", "xaab", "y"} {
		rest, detach := in.sift(append([]byte{5}, chunk...))
		out += string(rest[1:])
		if detach {
			equal(t, "passed", out, "xaaax")
			return
		}
	}
	t.Errorf("not detached, passed %q", out)
}
