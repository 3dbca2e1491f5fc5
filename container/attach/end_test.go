package attach

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minict/container/wire"
)

// A container that is to be removed leaves nothing: no directory, no name.
func TestAutoRemove(t *testing.T) {
	h := newHost(t)
	top := strings.TrimSuffix(h.data, "/data")
	name := top + "/name"
	for _, err := range []error{
		os.MkdirAll(h.data+"/upper/a/b", 0o700),
		os.Symlink("c0ffee", name),
		os.WriteFile(h.run+"/config.json", nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := Container{LogDir: h.data, ExitDir: h.data, Remove: []string{name, h.data}, RemoveAtEnd: true}
	o := h.foreground(program{script: "echo x > " + h.data + "/upper/file; exit 3"}, c, nil)
	equal(t, "code", o.Code, 3)
	// What is seen at the end of the command is all there is.
	left, err := os.ReadDir(top)
	if err != nil || len(left) != 1 || left[0].Name() != "state" {
		t.Errorf("left: %v, %v", left, err)
	}
	h.gone()
}

// The plan is undone when the container has ended, before that is told, also
// by a monitor that had been idle and forgot it.
func TestUndo(t *testing.T) {
	for _, script := range []string{"true", "sleep 1.5"} {
		h := newHost(t)
		file := h.data + "/undo"
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		h.foreground(program{script: script + "; test -e " + file, undo: file}, Container{}, nil)
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s: not undone", script)
		}
	}
}

func TestOOMKilled(t *testing.T) {
	for kills, want := range map[string]bool{"3": false, "4": true} {
		h := newHost(t)
		file := h.data + "/memory.events"
		if err := os.WriteFile(file, []byte("max 0\noom_kill 3\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := Container{OOMFile: file, OOMKey: "oom_kill", ExitDir: h.data}
		o := h.foreground(program{script: "echo oom_kill " + kills + " >" + file}, c, nil)
		equal(t, "killed", o.OOMKilled, want)
		h.gone()
		contains(t, h.read("exit"), `"oomKilled":`+strconv.FormatBool(want))
	}
}

// A container that writes all the time costs neither memory nor disk.
func TestFlood(t *testing.T) {
	h := newHost(t)
	const max = 1 << 20
	h.mustStart(program{exec: []string{"/usr/bin/yes"}}, Container{LogDir: h.data, LogMax: max}).Close()
	looker := h.look(Wishes{Output: true}) // and never reads
	defer looker.Close()
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		unix.Nanosleep(&unix.Timespec{Nsec: 1e8}, nil)
		if kb := memory(t, h.monitor.pid); kb > 8<<10 {
			t.Fatalf("the monitor takes %d kB", kb)
		}
		for _, name := range []string{"log", "log.1"} {
			if n := len(h.read(name)); n > max+64<<10 {
				t.Fatalf("%s has %d bytes", name, n)
			}
		}
	}
	contains(t, h.read("log.1"), "Z stdout F y\n")
}

// An owner that does not read makes the container wait, and costs no memory.
func TestOwnerThatDoesNotRead(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{exec: []string{"/usr/bin/yes"}}, Container{Process: Process{Output: true}})
	defer s.Close()
	for range 20 {
		unix.Nanosleep(&unix.Timespec{Nsec: 2e7}, nil)
		if kb := memory(t, h.monitor.pid); kb > 8<<10 {
			t.Fatalf("the monitor takes %d kB", kb)
		}
	}
}

// Somebody who does not read the rest keeps nothing of the container but the
// monitor's process; and gets all when he does read.
func TestUnreadOutput(t *testing.T) {
	h := newHost(t)
	const size = 90000 // less than the socket and the pipe hold
	script := "read a; head -c " + strconv.Itoa(size) + " /dev/zero"
	s := h.mustStart(program{script: script}, Container{Process: Process{Output: true, Stdin: true, StdinOnce: true}})
	lock, err := os.Open(h.run + "/lock")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.send([]byte{byte(wire.TypeStdinEOF)}); err != nil {
		t.Fatal(err)
	}
	free := make(chan error, 1)
	go func() {
		defer lock.Close()
		free <- unix.Flock(int(lock.Fd()), unix.LOCK_SH)
	}()
	select {
	case err := <-free:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the container does not end")
	}
	if _, err := os.Stat(h.run); err == nil {
		t.Error("the run directory is there, though the lock is free")
	}
	equal(t, "bytes", len(relayed(t, s, nil).out), size)
	h.gone()
}
