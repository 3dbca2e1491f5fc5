package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// hook writes a script that adds a line to a journal: its name, the status that
// it was told, what else it says.
func (h *harness) hook(name, then string) specs.Hook {
	h.t.Helper()
	script := fmt.Sprintf(`#!/bin/sh
state=$(cat)
status=$(echo "$state" | sed 's/.*"status":"\([a-z]*\)".*/\1/')
echo "%s $status" >>%s
echo "$state" >%s
%s
`, name, h.journal(), filepath.Join(h.dir, name+".state"), then)
	return specs.Hook{Path: h.file(name, script), Args: []string{name, "argument"}, Env: []string{"PATH=/usr/bin:/bin", "ONLY=this"}}
}

func (h *harness) journal() string { return filepath.Join(h.dir, "journal") }

// hooked is a container with all six hooks; that in the container writes to a
// volume.
func (h *harness) hooked(id string) *specs.Spec {
	s := spec("echo program >>/host/journal; exec sleep 1000")
	s.Annotations = map[string]string{"x": "y"}
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/host", Source: h.dir, Type: "bind", Options: []string{"rw"}})
	s.Hooks = &specs.Hooks{
		Prestart:        []specs.Hook{h.hook("prestart", "")},
		CreateRuntime:   []specs.Hook{h.hook("createRuntime", "")},
		CreateContainer: []specs.Hook{h.hook("createContainer", "")},
		Poststart:       []specs.Hook{h.hook("poststart", "")},
		Poststop:        []specs.Hook{h.hook("poststop", "")},
		StartContainer: []specs.Hook{{
			Path: "/bin/sh", Args: []string{"sh", "-c", `(sed 's/.*"status":"\([a-z]*\)".*/startContainer \1/'; echo) >>/host/journal`}, Env: []string{"PATH=/bin"},
		}},
	}
	return s
}

func TestHooks(t *testing.T) {
	h := newHarness(t)
	bundle := h.bundle(h.hooked("c"))
	h.prints("", "create", "--bundle", bundle, "c")
	before := "prestart created\ncreateRuntime created\ncreateContainer created"
	if got := content(h.journal()); got != before {
		t.Errorf("create: %q", got)
	}
	h.prints("", "start", "c")
	h.prints("", "exec", "c", "sh", "-c", "until grep -q program /host/journal; do sleep 0.01; done")
	if got, want := content(h.journal()), before+"\nstartContainer created\nprogram\npoststart running"; !sameLines(got, want) {
		t.Errorf("start: %q", got)
	}
	pid := h.state("c").Pid
	h.stop("c")
	if got := content(h.journal()); !strings.HasSuffix(got, "\npoststop stopped") {
		t.Errorf("delete: %q", got)
	}
	for _, name := range []string{"prestart", "createRuntime", "createContainer", "poststart", "poststop"} {
		var s specs.State
		if err := json.Unmarshal([]byte(content(filepath.Join(h.dir, name+".state"))), &s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s.ID != "c" || s.Bundle != bundle || s.Annotations["x"] != "y" || s.Version == "" || (s.Pid == pid) == (name == "poststop") {
			t.Errorf("%s was told %+v, pid %d", name, s, pid)
		}
	}
}

// sameLines forgives the program and the hook beside it their order.
func sameLines(a, b string) bool {
	count := make(map[string]int)
	for line := range strings.Lines(a + "\n") {
		count[line]++
	}
	for line := range strings.Lines(b + "\n") {
		count[line]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// Where a hook runs: on the host, or in the container's namespaces with the
// host's files still there.
func TestHooksNamespaces(t *testing.T) {
	h := newHarness(t)
	const tell = `for ns in mnt uts pid net ipc; do readlink /proc/self/ns/$ns; done >%s; echo "$ONLY $* $(env | wc -l)" >>%[1]s`
	s := h.hooked("c")
	out := func(name string) string { return filepath.Join(h.dir, name+".namespaces") }
	for name, hooks := range map[string]*[]specs.Hook{
		"createRuntime": &s.Hooks.CreateRuntime, "createContainer": &s.Hooks.CreateContainer,
	} {
		*hooks = []specs.Hook{h.hook(name, fmt.Sprintf(tell, out(name)))}
	}
	h.prints("", "create", "--bundle", h.bundle(s), "c")
	defer h.stop("c")
	pid := h.state("c").Pid
	namespaces := func(of string) string {
		var list string
		for _, ns := range []string{"mnt", "uts", "pid", "net", "ipc"} {
			link, err := os.Readlink("/proc/" + of + "/ns/" + ns)
			h.must(err)
			list += link + "\n"
		}
		return list
	}
	for name, want := range map[string]string{"createRuntime": namespaces("self"), "createContainer": namespaces(fmt.Sprint(pid))} {
		got := content(out(name))
		if !strings.HasPrefix(got+"\n", want) {
			t.Errorf("%s ran in\n%s\nwant\n%s", name, got, want)
		}
		if !strings.Contains(got, "this argument ") {
			t.Errorf("%s: arguments and environment: %q", name, got)
		}
	}
}

// The hook in the container has the rights of its program and no others.
func TestStartContainerHookHasNoRights(t *testing.T) {
	h := newHarness(t)
	s := h.hooked("c")
	s.Hooks.StartContainer[0].Args[2] = "id -u >/host/rights; grep CapEff /proc/self/status >>/host/rights"
	s.Process.User = specs.User{UID: 1000, GID: 1000}
	s.Process.Capabilities = nil
	h.must(os.Chmod(h.dir, 0o777))
	h.must(os.Chmod(h.file("journal", ""), 0o666))
	h.prints("", "run", "--detach", "--bundle", h.bundle(s), "c")
	h.stop("c")
	if got := content(filepath.Join(h.dir, "rights")); got != "1000\nCapEff:\t0000000000000000" {
		t.Errorf("rights %q", got)
	}
}

// A hook that fails before the program starts is an error and the container's
// end; the others are told in the log.
func TestHooksThatFail(t *testing.T) {
	for _, name := range []string{"prestart", "createRuntime", "createContainer"} {
		h := newHarness(t)
		s := h.hooked("c")
		failing := []specs.Hook{h.hook(name, "exit 3")}
		switch name {
		case "prestart":
			s.Hooks.Prestart = failing
		case "createRuntime":
			s.Hooks.CreateRuntime = failing
		case "createContainer":
			s.Hooks.CreateContainer = failing
		}
		h.fails(1, []string{name + " hook 0", "exit status 3"}, "create", "--bundle", h.bundle(s), "c")
		h.fails(1, []string{"does not exist"}, "state", "c")
		if got := content(h.journal()); !strings.HasSuffix(got, name+" created\npoststop stopped") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestStartContainerHookFails(t *testing.T) {
	h := newHarness(t)
	s := h.hooked("c")
	s.Hooks.StartContainer[0].Args[2] = "exit 4"
	h.prints("", "create", "--bundle", h.bundle(s), "c")
	h.fails(1, []string{"startContainer hook 0", "exit status 4"}, "start", "c")
	h.is("c", "stopped")
	h.prints("", "delete", "c")
	if got := content(h.journal()); strings.Contains(got, "program") || !strings.HasSuffix(got, "poststop stopped") {
		t.Errorf("%q", got)
	}
}

func TestLateHooksFail(t *testing.T) {
	h := newHarness(t)
	s := h.hooked("c")
	s.Hooks.Poststart = []specs.Hook{h.hook("poststart", "exit 1"), h.hook("second", "")}
	s.Hooks.Poststop = []specs.Hook{h.hook("poststop", "exit 1"), h.hook("last", "")}
	log := filepath.Join(h.dir, "log")
	h.prints("", "create", "--bundle", h.bundle(s), "c")
	h.prints("", "--log", log, "--log-format", "json", "start", "c")
	h.is("c", "running")
	h.prints("", "--log", log, "--log-format", "json", "delete", "--force", "c")
	for _, words := range []string{"second running", "last stopped"} {
		if got := content(h.journal()); !strings.Contains(got, words) {
			t.Errorf("no %q in %q", words, got)
		}
	}
	if got := content(log); strings.Count(got, `"level":"warning","msg":"poststart hook`) != 1 || strings.Count(got, `"level":"warning","msg":"poststop hook`) != 1 {
		t.Errorf("log %q", got)
	}
}

func TestHooksTimeOut(t *testing.T) {
	second := 1
	for _, name := range []string{"createRuntime", "createContainer"} {
		h := newHarness(t)
		s := h.hooked("c")
		slow := h.hook(name, "exec sleep 1000")
		slow.Timeout = &second
		if name == "createRuntime" {
			s.Hooks.CreateRuntime = []specs.Hook{slow}
		} else {
			s.Hooks.CreateContainer = []specs.Hook{slow}
		}
		h.fails(1, []string{name, "timed out"}, "create", "--bundle", h.bundle(s), "c")
	}
	h := newHarness(t)
	s := h.hooked("c")
	s.Hooks.StartContainer[0].Args[2], s.Hooks.StartContainer[0].Timeout = "exec sleep 1000", &second
	h.prints("", "create", "--bundle", h.bundle(s), "c")
	h.fails(1, []string{"startContainer", "timed out"}, "start", "c")
	h.prints("", "delete", "c")
}
