package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A filter is compiled once, holds for the container's program and for what is
// executed in it, and a spoiled copy of it is of no use.
func TestSeccomp(t *testing.T) {
	h := newHarness(t)
	filtered := func(s *specs.Spec) {
		s.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchAARCH64},
			Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno}},
		}
	}
	cache := filepath.Join(h.root, ".seccomp")
	t.Cleanup(func() { os.RemoveAll(cache) })
	h.sleeper("c", filtered)
	refused := func() {
		t.Helper()
		r := h.run("exec", "c", "mkdir", "/tmp/x")
		if r.code != 1 || r.stderr != "mkdir: can't create directory '/tmp/x': Operation not permitted\n" {
			t.Error(r)
		}
	}
	refused()
	kept, err := filepath.Glob(filepath.Join(cache, "*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %q, %v", kept, err)
	}
	h.must(os.WriteFile(kept[0], []byte("spoiled"), 0o600))
	refused()
	h.must(os.RemoveAll(cache))
	refused()
	h.prints("c\n", "list", "-q") // no container among them
	s := spec("mkdir /tmp/x || echo refused")
	filtered(s)
	s.Process.NoNewPrivileges = true
	if r := h.run("run", "--bundle", h.bundle(s), "d"); r.stdout != "refused\n" {
		t.Error(r)
	}
}

// The listener of a filter that asks is handed to who answers, for the
// container's program and for what is executed in it.
func TestSeccompListener(t *testing.T) {
	h := newHarness(t)
	l, path := h.listener("seccomp")
	s := spec("exec sleep 1000")
	s.Linux.Seccomp = &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchAARCH64},
		ListenerPath: path, ListenerMetadata: "who is it",
		Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActNotify}},
	}
	h.prints("", "run", "--detach", "--bundle", h.bundle(s), "c")
	defer h.stop("c")
	check := func(status specs.ContainerState) {
		t.Helper()
		listener, message := h.received(l)
		defer listener.Close()
		var got specs.ContainerProcessState
		h.must(json.Unmarshal([]byte(message), &got))
		if got.Metadata != "who is it" || got.State.ID != "c" || got.State.Status != status || got.Pid == 0 || len(got.Fds) != 1 || got.Fds[0] != specs.SeccompFdName {
			t.Errorf("%+v", got)
		}
		if link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", listener.Fd())); err != nil || link != "anon_inode:seccomp notify" {
			t.Errorf("%s, %v", link, err)
		}
	}
	check(specs.StateCreating)
	h.prints("here\n", "exec", "c", "echo", "here")
	check(specs.StateRunning)
}
