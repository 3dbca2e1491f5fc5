package runtime

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestNoNewPrivilegesWithoutFilter(t *testing.T) {
	out := must(t, `grep NoNew /proc/self/status`, func(s *specs.Spec) { s.Process.NoNewPrivileges = true })
	if out != "NoNewPrivs:\t1\n" {
		t.Errorf("got %q", out)
	}
}

// The default is what runc and crun give.
func TestUmask(t *testing.T) {
	mask := uint32(0o077)
	for want, umask := range map[string]*uint32{"0022\n": nil, "0077\n": &mask} {
		if out := must(t, "umask", func(s *specs.Spec) { s.Process.User.Umask = umask }); out != want {
			t.Errorf("got %q, want %q", out, want)
		}
	}
}

// All five sets are what is asked for, so far as it can be had; what is not had
// is told.
func TestCapabilitySets(t *testing.T) {
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	spec := ordinary(bundle(t), "grep Cap /proc/self/status")
	spec.Process.User.UID = 1000
	spec.Process.Capabilities = &specs.LinuxCapabilities{
		Bounding:    []string{"CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_FOO", "kill"},
		Permitted:   []string{"CAP_CHOWN", "CAP_KILL", "CAP_SYS_RESOURCE"},
		Effective:   []string{"CAP_KILL", "CAP_NET_RAW"},
		Inheritable: []string{"CAP_KILL"},
		Ambient:     []string{"CAP_KILL", "CAP_CHOWN"},
	}
	r, err := run(t, spec)
	// What an ordinary user's program has is the ambient set.
	want := "CapInh:\t0000000000000020\nCapPrm:\t0000000000000020\nCapEff:\t0000000000000020\nCapBnd:\t0000000000002021\nCapAmb:\t0000000000000020\n"
	if err != nil || r.stdout != want {
		t.Errorf("got %q, %v, want %q", r.stdout, err, want)
	}
	warnings := strings.Join(Warnings(spec, Host{LastCap: host.LastCap, Denied: 1 << unix.CAP_SYS_RESOURCE}), "\n")
	for _, want := range []string{
		`bounding without "CAP_FOO"`, `bounding without "kill"`, "permitted without sys_resource: the runtime",
		"effective without net_raw: it is not permitted", "ambient without chown: it is not inheritable",
	} {
		if !strings.Contains(warnings, want) {
			t.Errorf("%q is not in\n%s", want, warnings)
		}
	}
	for _, c := range []struct {
		host Host
		user bool
		want int
	}{{Host{LastCap: 40}, false, 0}, {Host{LastCap: 40, Denied: 1 << unix.CAP_NET_ADMIN}, false, 1}, {Host{LastCap: 40, Denied: 1 << unix.CAP_NET_ADMIN}, true, 0}} {
		spec := ordinary("/", "true")
		if c.user {
			spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		}
		if w := strings.Join(Warnings(spec, c.host), "\n"); strings.Count(w, "loopback stays down") != c.want {
			t.Errorf("denied %x, with a user namespace %v: %s", c.host.Denied, c.user, w)
		}
	}
	if w := Warnings(ordinary("/", "true"), host); len(w) > 0 {
		t.Errorf("an ordinary container is warned about: %v", w)
	}
}

// A capability that the runtime hasn't got itself is not worth a failure.
func TestDeniedCapabilities(t *testing.T) {
	out := must(t, "grep CapBnd /proc/self/status", func(s *specs.Spec) {
		all := []string{"CAP_SYS_RESOURCE", "CAP_KILL", "CAP_CHECKPOINT_RESTORE"}
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Permitted: all, Effective: all, Inheritable: all, Ambient: all}
	})
	if !strings.HasSuffix(out, "20\n") {
		t.Errorf("got %q", out)
	}
}

func TestPersonality(t *testing.T) {
	out := must(t, "uname -m; cat /proc/self/personality", func(s *specs.Spec) {
		s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
	})
	if !strings.HasSuffix(out, "00000008\n") || out == must(t, "uname -m; cat /proc/self/personality") {
		t.Errorf("got %q", out)
	}
}

func TestIOPriority(t *testing.T) {
	out := must(t, "ionice", func(s *specs.Spec) {
		s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
	})
	if out != "best-effort: prio 6\n" {
		t.Errorf("got %q", out)
	}
}

// schedulers are asked for, and what /proc/PID/sched or chrt say then.
var schedulers = []struct {
	s    specs.Scheduler
	want string
}{
	{specs.Scheduler{Policy: specs.SchedOther, Nice: 7}, "policy 0 nice 7 rt 0"},
	{specs.Scheduler{Policy: specs.SchedBatch, Nice: -3}, "policy 3 nice -3 rt 0"},
	{specs.Scheduler{Policy: specs.SchedIdle}, "policy 5 nice 0 rt 0"},
	{specs.Scheduler{Policy: specs.SchedFIFO, Priority: 11}, "policy 1 nice 0 rt 11"},
	{specs.Scheduler{Policy: specs.SchedRR, Priority: 12, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}, "policy 2 nice 0 rt 12"},
	{specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 1e6, Deadline: 1e7, Period: 1e8, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}, "policy 6 nice 0 rt 0"},
}

// ofShell prints what the kernel keeps of the shell itself, proc_pid_stat(5).
const ofShell = `read a </proc/$$/stat; set -- ${a##*) }; echo policy ${39} nice ${17} rt ${38}`

func TestSchedulers(t *testing.T) {
	for _, tt := range schedulers {
		spec := ordinary(bundle(t), ofShell)
		spec.Process.Scheduler = &tt.s
		r, err := run(t, spec)
		if tt.s.Policy == specs.SchedFIFO || tt.s.Policy == specs.SchedRR {
			// A cgroup v1 without real-time bandwidth has no such processes.
			if errors.Is(err, unix.EPERM) && strings.Contains(err.Error(), string(tt.s.Policy)) {
				continue
			}
		}
		if err != nil || r.stdout != tt.want+"\n" {
			t.Errorf("%v: got %q, %v, want %q", tt.s, r.stdout, err, tt.want)
		}
	}
	spec := ordinary(bundle(t), "true")
	spec.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedISO}
	if _, err := run(t, spec); !errors.Is(err, unix.EINVAL) {
		t.Errorf("SCHED_ISO: got %v", err)
	}
}

func TestMemoryPolicy(t *testing.T) {
	spec := ordinary(bundle(t), "grep -m1 -o 'interleave[^ ]*' /proc/self/numa_maps")
	spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{
		Mode: specs.MpolInterleave, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes},
	}
	r, err := run(t, spec)
	switch {
	case errors.Is(err, unix.ENOSYS): // a kernel without NUMA says so
	case err != nil || !strings.HasPrefix(r.stdout, "interleave"):
		t.Errorf("got %q %q, %v", r.stdout, r.stderr, err)
	}
	spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind} // needs nodes
	if _, err := run(t, spec); err == nil {
		t.Error("MPOL_BIND without nodes was accepted")
	}
}

func TestBitList(t *testing.T) {
	for list, want := range map[string]string{
		"": "", "0": "0100000000000000", "0-3,7": "8f00000000000000", "63,64": "00000000000000800100000000000000",
		"1, 2": "0600000000000000", "-": "error", "3-1": "error", "a": "error", "1,": "error", "0-99999999999": "error", "-1": "error",
	} {
		mask, err := bitList(list)
		got := fmt.Sprintf("%x", mask)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", list, got, want)
		}
	}
}

// A container without a procfs of its own is still written to the right one.
func TestWithoutProcfs(t *testing.T) {
	root := bundle(t)
	if err := os.MkdirAll(root+"/proc/self", 0o755); err != nil {
		t.Fatal(err)
	}
	score := 321
	spec := ordinary(root, "mount -t proc proc /proc; cat /proc/self/oom_score_adj /proc/sys/kernel/msgmax")
	spec.Mounts = spec.Mounts[1:]
	spec.Process.OOMScoreAdj = &score
	spec.Linux.Sysctl = map[string]string{"kernel.msgmax": "4321"}
	spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = nil, nil
	admin := []string{"CAP_SYS_ADMIN"}
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: admin, Effective: admin, Permitted: admin}
	if r, err := run(t, spec); err != nil || r.stdout != "321\n4321\n" {
		t.Errorf("got %q %q, %v", r.stdout, r.stderr, err)
	}
}

// Sysctls of a namespace that was joined are set, but not those of the host.
func TestSysctlsOfJoinedNamespaces(t *testing.T) {
	target := sleeper(t, ordinary(bundle(t), "echo up; exec sleep 1000"))
	pid := pidOf(t, target)
	spec := ordinary(bundle(t), "cat /proc/sys/net/ipv4/ip_unprivileged_port_start")
	spec.Linux.Sysctl = map[string]string{"net/ipv4/ip_unprivileged_port_start": "17"}
	for i := range spec.Linux.Namespaces {
		if ns := &spec.Linux.Namespaces[i]; ns.Type == specs.NetworkNamespace {
			ns.Path = fmt.Sprintf("/proc/%d/ns/net", pid)
			if r, err := run(t, spec); err != nil || r.stdout != "17\n" {
				t.Errorf("got %q, %v", r.stdout, err)
			}
			ns.Path = "/proc/self/ns/net"
		}
	}
	before, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, spec); !errors.Is(err, unix.EPERM) {
		t.Errorf("the host's: got %v", err)
	}
	if after, _ := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); string(after) != string(before) {
		t.Errorf("the host's sysctl was %q and is %q", before, after)
	}
}

// What a process that is executed is asked for, it gets too.
func TestExecAttributes(t *testing.T) {
	spec := ordinary(bundle(t), "echo up; exec sleep 1000")
	target := sleeper(t, spec)
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	score := 99
	spec.Process.Args = []string{"/bin/sh", "-c", ofShell + "; ionice; cat /proc/self/oom_score_adj; grep Cpus_allowed_list /proc/$$/status"}
	spec.Process.OOMScoreAdj = &score
	spec.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_IDLE}
	spec.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 5, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}
	spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "1"}
	p, err := CompileExec(spec, host, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := launchPlan(t, p, map[string]int{InputTarget: target})
	if want := "policy 3 nice 5 rt 0\nidle: prio 7\n99\nCpus_allowed_list:\t1\n"; err != nil || strings.Replace(r.stdout, "idle\n", "idle: prio 7\n", 1) != want {
		t.Errorf("got %q %q, %v, want %q", r.stdout, r.stderr, err, want)
	}
	spec.Process.ExecCPUAffinity.Final = "9999999"
	if _, err := CompileExec(spec, host, Options{}); !errors.Is(err, ErrSpec) {
		t.Errorf("bad affinity: got %v", err)
	}
}

// Labels are written where the kernel's modules read them, before anything
// foreign is seen.
func TestLabels(t *testing.T) {
	spec := ordinary("/rootfs", "true")
	spec.Process.ApparmorProfile, spec.Process.SelinuxLabel = "acme", "system_u:system_r:x_t:s0:c1,c2"
	spec.Linux.MountLabel = "system_u:object_r:x_t:s0"
	p, err := Compile(spec, Host{LastCap: 40, AppArmor: true, SELinux: true}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	mem := string(p.Encode())
	for _, want := range []string{"self/attr/apparmor/exec\x00", "exec acme\x00", "self/attr/exec\x00", "self/attr/keycreate\x00", "system_u:system_r:x_t:s0:c1,c2\x00", "context\x00"} {
		if !strings.Contains(mem, want) {
			t.Errorf("%q is not in the plan", want)
		}
	}
	// On this kernel, which may have no such module, the writing fails by name.
	spec = ordinary(bundle(t), "true")
	spec.Process.ApparmorProfile = "no-such-profile"
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	host.AppArmor = true
	if p, err = Compile(spec, host, Options{}); err != nil {
		t.Fatal(err)
	}
	var step *StepError
	if _, err := launchPlan(t, p, nil); !errors.As(err, &step) || step.Step.Verb != "set AppArmor profile" {
		t.Errorf("got %v", err)
	}
}
