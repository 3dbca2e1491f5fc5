package runtime

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"minict/runtime/cgroup"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

// Plans are compared as a person reads them, for each layout of cgroups, and
// without a look at this machine.
func TestPlansAreGolden(t *testing.T) {
	all := cgroup.CPU | cgroup.CPUSet | cgroup.Memory | cgroup.Pids | cgroup.IO
	layouts := map[string]cgroup.Layout{
		"v2": {Unified: "/sys/fs/cgroup", Available: all, Enabled: all},
		"v1": {V1: []cgroup.Hierarchy{
			{Mount: "/sys/fs/cgroup/cpu,cpuacct", Controllers: cgroup.CPU | cgroup.CPUAcct},
			{Mount: "/sys/fs/cgroup/memory", Controllers: cgroup.Memory},
			{Mount: "/sys/fs/cgroup/pids", Controllers: cgroup.Pids},
			{Mount: "/sys/fs/cgroup/devices", Controllers: cgroup.Devices},
			{Mount: "/sys/fs/cgroup/freezer", Controllers: cgroup.Freezer},
		}},
	}
	for name, layout := range layouts {
		spec := ordinary("/rootfs", "true")
		limit := int64(64 << 20)
		spec.Linux.CgroupsPath = "/minict/golden"
		spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
		spec.Process.Terminal = true
		spec.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{1000}}
		p, err := Compile(spec, Host{Cgroup: layout, LastCap: 40}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if err := Explain(&text, p, nil); err != nil {
			t.Fatal(err)
		}
		golden(t, "ordinary-"+name+".txt", text.Bytes())
	}
}

// The same specification gives the same bytes: a plan depends on nothing else.
func TestCompileIsPure(t *testing.T) {
	spec := ordinary("/rootfs", "true")
	spec.Linux.Sysctl = map[string]string{"net.a": "1", "net.b": "2", "net.c": "3", "kernel.msgmax": "1"}
	var first []byte
	for range 5 {
		p, err := Compile(spec, Host{LastCap: 40}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = p.Encode()
		} else if !bytes.Equal(first, p.Encode()) {
			t.Fatal("two compilations differ")
		}
	}
}

// What is not built yet is refused and never ignored.
func TestRefused(t *testing.T) {
	tests := map[string]func(*specs.Spec){
		"uid mappings": func(s *specs.Spec) { s.Linux.UIDMappings = make([]specs.LinuxIDMapping, 1) },
		"user namespace": func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		},
		"namespace twice":      func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, s.Linux.Namespaces[0]) },
		"no mount ns":          func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[:1] },
		"no process":           func(s *specs.Spec) { s.Process = nil },
		"no args":              func(s *specs.Spec) { s.Process.Args = nil },
		"zero byte":            func(s *specs.Spec) { s.Process.Args = []string{"a\x00b"} },
		"relative cwd":         func(s *specs.Spec) { s.Process.Cwd = "tmp" },
		"mount on the root":    func(s *specs.Spec) { s.Mounts[0].Destination = "/dev/.." },
		"mount without a type": func(s *specs.Spec) { s.Mounts[0].Type = "" },
		"idmap of a tmpfs":     func(s *specs.Spec) { s.Mounts[1].Options = []string{"idmap"} },
		"relative bind": func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/a", Source: "b", Type: "bind"})
		},
		"copy up":              func(s *specs.Spec) { s.Mounts[0].Options = append(s.Mounts[0].Options, "tmpcopyup") },
		"relative root":        func(s *specs.Spec) { s.Root.Path = "rootfs" },
		"relative mask":        func(s *specs.Spec) { s.Linux.MaskedPaths = []string{"proc/kcore"} },
		"zero byte in a mount": func(s *specs.Spec) { s.Mounts[0].Destination = "/a\x00b" },
		"too many mounts":      func(s *specs.Spec) { s.Mounts = make([]specs.Mount, 1e5) },
		"umask":                func(s *specs.Spec) { n := uint32(0o1000); s.Process.User.Umask = &n },
		"console size": func(s *specs.Spec) {
			s.Process.Terminal, s.Process.ConsoleSize = true, &specs.Box{Width: 1 << 16}
		},
		"personality": func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: "BSD"} },
		"personality flags": func(s *specs.Spec) {
			s.Linux.Personality = &specs.LinuxPersonality{Domain: "LINUX", Flags: []specs.LinuxPersonalityFlag{"X"}}
		},
		"memory mode": func(s *specs.Spec) { s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_X"} },
		"memory flags": func(s *specs.Spec) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{"X"}}
		},
		"memory nodes": func(s *specs.Spec) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "3-1"}
		},
		"I/O class": func(s *specs.Spec) { s.Process.IOPriority = &specs.LinuxIOPriority{Class: "X"} },
		"I/O priority": func(s *specs.Spec) {
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 8}
		},
		"policy": func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_X"} },
		"policy flags": func(s *specs.Spec) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedFIFO, Flags: []specs.LinuxSchedulerFlag{"X"}}
		},
		"nice range": func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Nice: 20} },
		"nice of FIFO": func(s *specs.Spec) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedFIFO, Priority: 1, Nice: 1}
		},
		"priority of all": func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Priority: 1} },
		"period of RR": func(s *specs.Spec) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedRR, Priority: 1, Period: 1}
		},
		"closID":          func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "../x"} },
		"schemata":        func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{Schemata: []string{"a:b\nc:d"}} },
		"selinux":         func(s *specs.Spec) { s.Process.SelinuxLabel = "x" },
		"host name twice": func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.hostname": "other"} },
		"bad rlimit":      func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} },
		"bad oom score":   func(s *specs.Spec) { n := 1001; s.Process.OOMScoreAdj = &n },
		"bad device":      func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "z"}} },
		"propagation":     func(s *specs.Spec) { s.Linux.RootfsPropagation = "maybe" },
		"apparmor":        func(s *specs.Spec) { s.Process.ApparmorProfile = "x" },
		"cgroup path":     func(s *specs.Spec) { s.Linux.CgroupsPath = "/minict/../x" },
	}
	for name, change := range tests {
		spec := ordinary("/rootfs", "true")
		change(spec)
		if _, err := Compile(spec, Host{LastCap: 40}, Options{}); !errors.Is(err, ErrSpec) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
