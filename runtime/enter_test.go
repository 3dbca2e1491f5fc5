package runtime

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// execute runs one more process in the container of a sleeper.
func execute(t *testing.T, spec *specs.Spec, target int, more map[string]int, script string) (result, error) {
	t.Helper()
	spec.Process.Args = []string{"/bin/sh", "-c", script}
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := CompileExec(spec, host, Options{})
	if err != nil {
		t.Fatal(err)
	}
	inputs := map[string]int{InputTarget: target}
	for name, fd := range more {
		inputs[name] = fd
	}
	return launchPlan(t, p, inputs)
}

// Whatever the container has made, joined, or shares with its caller: one more
// process is where its first one is.
func TestExecIntoAnything(t *testing.T) {
	infra := ordinary(bundle(t), "echo up; exec sleep 1000")
	ownUsers(t)(infra)
	pod := pidOf(t, sleeper(t, infra))
	plain := pidOf(t, sleeper(t, ordinary(bundle(t), "echo up; exec sleep 1000")))
	offset := func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1000}}
	}
	noSys := func(s *specs.Spec) { s.Mounts = s.Mounts[:3] } // what shows the network, cgroups and queues
	noName := func(s *specs.Spec) { s.Hostname = "" }
	tests := map[string][]func(*specs.Spec){
		"users":                 {ownUsers(t)},
		"time":                  {offset},
		"users and time":        {ownUsers(t), offset},
		"pod with users":        {ownUsers(t), joining(pod, specs.UserNamespace, specs.NetworkNamespace, specs.IPCNamespace)},
		"users, host's network": {ownUsers(t), without(specs.NetworkNamespace)},
		"users, other network":  {ownUsers(t), noSys, joining(plain, specs.NetworkNamespace, specs.IPCNamespace)},
		"other processes":       {joining(plain, specs.PIDNamespace)},
		"host's all but mounts": {noName, without(specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace)},
	}
	for name, changes := range tests {
		spec := ordinary(bundle(t), "echo up; exec sleep 1000")
		for _, change := range changes {
			change(spec)
		}
		target := sleeper(t, spec)
		r, err := execute(t, spec, target, nil, `cd /proc/self/ns; for n in *; do echo $n $(readlink $n); done; id -u >&2; ls /proc/self/fd | wc -l >&2`)
		if err != nil || r.status != 0 || r.stderr != "0\n4\n" {
			t.Errorf("%s: %v, status %#x, %q", name, err, r.status, r.stderr)
			continue
		}
		for kind, file := range files {
			if want := file + " " + space(t, pidOf(t, target), kind) + "\n"; !strings.Contains(r.stdout, want) {
				t.Errorf("%s: got %q, want %q", name, r.stdout, want)
			}
		}
	}
}

func TestExecTerminalWithUsers(t *testing.T) {
	spec := ordinary(bundle(t), "echo up; exec sleep 1000")
	ownUsers(t)(spec)
	target := sleeper(t, spec)
	spec.Process.Terminal = true
	spec.Process.User = specs.User{UID: 1000, GID: 1000}
	ours, theirs := consoleSocket(t)
	got := make(chan string)
	go func() { got <- screen(receive(t, ours)) }()
	if _, err := execute(t, spec, target, map[string]int{InputConsole: theirs}, "tty; id -u; id -G; echo x >/dev/tty"); err != nil {
		t.Fatal(err)
	}
	if text := <-got; text != "/dev/pts/0\n1000\n1000\nx\n" {
		t.Errorf("got %q", text)
	}
}

func TestExecCredentials(t *testing.T) {
	spec := ordinary(bundle(t), "echo up; exec sleep 1000")
	target := sleeper(t, spec)
	caps := []string{"CAP_KILL"}
	umask, adj := uint32(0o077), 300
	spec.Process = &specs.Process{
		User: specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 6}, Umask: &umask},
		Env:  []string{"PATH=/bin", "A=b"}, Cwd: "/tmp/made", NoNewPrivileges: true, OOMScoreAdj: &adj,
		Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps, Inheritable: caps, Ambient: caps},
	}
	r, err := execute(t, spec, target, nil, `id -u; id -G; pwd; echo $A; umask; cat /proc/self/oom_score_adj; grep -E 'Cap|NoNew' /proc/self/status | cut -f2 | tr '\n' ' '`)
	one := "0000000000000020 "
	want := "1000\n1001 5 6\n/tmp/made\nb\n0077\n300\n" + strings.Repeat(one, 5) + "1 "
	if err != nil || r.stdout != want {
		t.Errorf("got %q, %v, want %q", r.stdout, err, want)
	}
}

// Limits are raised before the user namespace is entered, in which they can
// only be lowered. (Whether they can be raised at all depends on who runs the
// tests, so this looks at the plan.)
func TestExecRaisesLimitsInTime(t *testing.T) {
	spec := ordinary("/rootfs", "true")
	mapUsers(spec)
	spec.Linux.CgroupsPath = ""
	spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 5, Hard: 1 << 20}}
	p, err := CompileExec(spec, Host{LastCap: 40}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, op := range p.Ops(plan.Child) {
		switch op.Call {
		case unix.SYS_PRLIMIT64:
			order = append(order, "limit")
		case unix.SYS_SETNS:
			order = append(order, "join")
		}
	}
	if got, want := strings.Join(slices.Compact(order), " "), "limit join limit"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
