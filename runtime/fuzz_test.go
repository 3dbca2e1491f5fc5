package runtime

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"minict/runtime/cgroup"
	"minict/runtime/plan"
)

// rich is a specification with something in every part that Compile reads.
func rich() *specs.Spec {
	s := ordinary("/rootfs", "true")
	one, limit, shares, name := 1, int64(1<<20), uint64(100), "value"
	umask, mode := uint32(0o027), uint(38)
	s.Root.Readonly = true
	s.Domainname = "example.org"
	s.Annotations = map[string]string{"key": name}
	p := s.Process
	p.Terminal, p.ConsoleSize, p.NoNewPrivileges, p.OOMScoreAdj = true, &specs.Box{Height: 24, Width: 80}, true, &one
	p.User = specs.User{UID: 1, GID: 2, Umask: &umask, AdditionalGids: []uint32{3, 4}}
	p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1, Hard: 2}}
	p.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 1}
	p.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 1}
	p.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "0-1"}
	p.ApparmorProfile, p.SelinuxLabel = "profile", "label"
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/bind", Source: "/src", Options: []string{"rbind", "rro", "rslave", "noatime"}},
		specs.Mount{Destination: "rel", Source: "rel", Type: "none", Options: []string{"bind", "idmap"},
			UIDMappings: []specs.LinuxIDMapping{{Size: 1}}, GIDMappings: []specs.LinuxIDMapping{{Size: 1}}},
		specs.Mount{Destination: "/run", Type: "tmpfs", Options: []string{"tmpcopyup", "size=1m"}},
		specs.Mount{Destination: "/run", Options: []string{"remount", "bind", "ro"}})
	s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/hook"}}, CreateContainer: []specs.Hook{{Path: "/hook", Timeout: &one}}}
	l := s.Linux
	l.CgroupsPath, l.RootfsPropagation, l.MountLabel = "/minict/rich", "rshared", "label"
	l.Resources = &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &limit}, CPU: &specs.LinuxCPU{Shares: &shares}, Pids: &specs.LinuxPids{Limit: &limit},
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}, Unified: map[string]string{"memory.high": "1"},
	}
	l.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.msgmax": "2"}
	l.Devices = []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, UID: &umask}, {Path: "/dev/a/fifo", Type: "p"}}
	l.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {Name: "net%d"}}
	l.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux}
	l.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0-3,7", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}}
	l.Seccomp = &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: &mode, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86},
		Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog}, ListenerPath: "/agent",
		Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read", "write"}, Action: specs.ActAllow},
			{Names: []string{"clone"}, Action: specs.ActNotify, Args: []specs.LinuxSeccompArg{{Index: 1, Value: 2, ValueTwo: 3, Op: specs.OpMaskedEqual}}},
		},
	}
	return s
}

// FuzzConfig: whatever config.json says, there is a plan that can be loaded, or
// an error that says what is wrong, and neither is much longer than what was
// said.
func FuzzConfig(f *testing.F) {
	users := rich()
	mapUsers(users)
	for _, s := range []*specs.Spec{{}, ordinary("/rootfs", "true"), rich(), users} {
		raw, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"process":{"args":["a"],"cwd":"/"},"root":{},"linux":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) { compiles(t, raw) })
}

// Any one value of a configuration is replaced by others that don't belong
// there: what bytes alone rarely come to.
func TestStrangeConfigurations(t *testing.T) {
	if _, err := Compile(rich(), Host{LastCap: 40, AppArmor: true, SELinux: true, Cgroup: cgroup.Layout{Unified: "/sys/fs/cgroup", Available: cgroup.Memory | cgroup.CPU | cgroup.Pids}}, Options{Bundle: "/bundle", Engine: true}); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(rich())
	if err != nil {
		t.Fatal(err)
	}
	for place := range replacers(decoded(t, raw)) {
		for _, strange := range []any{
			nil, "", "a\x00b", "..", strings.Repeat("x", 1<<12), -1, 1 << 40, true,
			[]any{nil}, []any{""}, map[string]any{"": nil}, manyOf("x"), manyOf(map[string]any{}),
		} {
			config := decoded(t, raw)
			replacers(config)[place](strange)
			changed, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			if compiles(t, changed); t.Failed() {
				t.Fatalf("with %.100q at %d of %.10000s", strange, place, changed)
			}
		}
	}
}

func manyOf(v any) (list []any) {
	for range 100 {
		list = append(list, v)
	}
	return list
}

func decoded(t *testing.T, raw []byte) (config map[string]any) {
	t.Helper()
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	return config
}

// replacers gives, for each value of a tree, how to replace it.
func replacers(node any) (all []func(any)) {
	switch node := node.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(node)) {
			all = append(append(all, func(v any) { node[key] = v }), replacers(node[key])...)
		}
	case []any:
		for i := range node {
			all = append(append(all, func(v any) { node[i] = v }), replacers(node[i])...)
		}
	}
	return all
}

// compiles checks what is made of a configuration on two machines.
func compiles(t *testing.T, raw []byte) {
	t.Helper()
	all := cgroup.CPU | cgroup.CPUSet | cgroup.Memory | cgroup.Pids | cgroup.IO
	for _, host := range []Host{
		{LastCap: 40, AppArmor: true, SELinux: true, Cgroup: cgroup.Layout{Unified: "/sys/fs/cgroup", Available: all, Enabled: all}},
		{LastCap: 40, Rootless: true, Denied: 1 << 24, Cgroup: cgroup.Layout{V1: []cgroup.Hierarchy{
			{Mount: "/sys/fs/cgroup/cpu,cpuacct", Controllers: cgroup.CPU | cgroup.CPUAcct},
			{Mount: "/sys/fs/cgroup/memory", Controllers: cgroup.Memory},
		}}},
	} {
		spec := new(specs.Spec)
		if json.Unmarshal(raw, spec) != nil {
			return
		}
		Warnings(spec, host)
		p, err := Compile(spec, host, Options{Bundle: "/bundle", Engine: true, Gate: true, PreserveFDs: 2})
		loads(t, p, err, len(raw))
		p, err = CompileExec(spec, host, Options{})
		loads(t, p, err, len(raw))
	}
}

func loads(t *testing.T, p *plan.Plan, err error, said int) {
	t.Helper()
	if err != nil {
		if !errors.Is(err, ErrSpec) {
			t.Errorf("an error of another kind: %v", err)
		}
		return
	}
	mem := p.Encode()
	if _, err := plan.Load(mem); err != nil {
		t.Errorf("the plan can't be loaded: %v", err)
	}
	if most := 1<<20 + 1<<12*said; len(mem) > most {
		t.Errorf("a plan of %d bytes for a configuration of %d", len(mem), said)
	}
}
