package cgroup

import (
	"embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// The golden files go with the test program into the virtual machine.
//
//go:embed testdata/*.txt
var goldenFiles embed.FS

var update = flag.Bool("update", false, "write the golden files")

var (
	pure = Layout{
		Unified:   "/sys/fs/cgroup",
		Available: CPU | CPUSet | IO | Memory | HugeTLB | Pids | RDMA | Misc,
		Enabled:   CPU | IO | Memory | Pids,
	}
	first  = Layout{Unified: pure.Unified, Available: pure.Available} // nobody has used Parent yet
	hybrid = Layout{
		Unified:   "/sys/fs/cgroup/unified",
		Available: HugeTLB,
		V1: []Hierarchy{
			{"/sys/fs/cgroup/cpu", CPU}, {"/sys/fs/cgroup/cpuacct", CPUAcct}, {"/sys/fs/cgroup/cpuset", CPUSet},
			{"/sys/fs/cgroup/memory", Memory}, {"/sys/fs/cgroup/devices", Devices},
			{"/sys/fs/cgroup/freezer", Freezer}, {"/sys/fs/cgroup/blkio", IO}, {"/sys/fs/cgroup/pids", Pids},
		},
	}
	legacy = Layout{V1: []Hierarchy{
		{"/sys/fs/cgroup/cpu,cpuacct", CPU | CPUAcct}, {"/sys/fs/cgroup/cpuset", CPUSet},
		{"/sys/fs/cgroup/memory", Memory}, {"/sys/fs/cgroup/devices", Devices},
		{"/sys/fs/cgroup/freezer", Freezer}, {"/sys/fs/cgroup/blkio", IO}, {"/sys/fs/cgroup/pids", Pids},
		{"/sys/fs/cgroup/net_cls,net_prio", NetCls | NetPrio}, {"/sys/fs/cgroup/hugetlb", HugeTLB},
		{"/sys/fs/cgroup/rdma", RDMA},
	}}
)

func ptr[T any](v T) *T { return &v }

func defaults() *specs.LinuxResources {
	return &specs.LinuxResources{
		Pids: &specs.LinuxPids{Limit: ptr(int64(2048))},
		Devices: []specs.LinuxDeviceCgroup{
			{Allow: false, Access: "rwm"},
			{Allow: true, Type: "c", Access: "m"},
			{Allow: true, Type: "c", Major: ptr(int64(1)), Minor: ptr(int64(3)), Access: "rwm"},
		},
	}
}

func throttle(rate uint64) []specs.LinuxThrottleDevice {
	d := specs.LinuxThrottleDevice{Rate: rate}
	d.Major, d.Minor = 8, 16
	return []specs.LinuxThrottleDevice{d}
}

// common is what both versions have.
func common() *specs.LinuxResources {
	r := defaults()
	weighted := specs.LinuxWeightDevice{Weight: ptr(uint16(300))}
	weighted.Major = 8
	r.Memory = &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(96 << 20)),
		Reservation: ptr(int64(32 << 20)), Kernel: ptr(int64(1 << 20)), UseHierarchy: ptr(true)}
	r.CPU = &specs.LinuxCPU{Shares: ptr(uint64(2000)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000)),
		Burst: ptr(uint64(1000)), Idle: ptr(int64(0)), Cpus: "0-1", Mems: "0"}
	r.BlockIO = &specs.LinuxBlockIO{Weight: ptr(uint16(500)), WeightDevice: []specs.LinuxWeightDevice{weighted},
		ThrottleReadBpsDevice: throttle(1 << 20), ThrottleWriteBpsDevice: throttle(1 << 21),
		ThrottleReadIOPSDevice: throttle(100), ThrottleWriteIOPSDevice: throttle(0)}
	r.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}}
	r.Rdma = map[string]specs.LinuxRdma{"mlx5_1": {HcaHandles: ptr(uint32(3)), HcaObjects: ptr(uint32(10000))}, "a": {}}
	return r
}

func all1() *specs.LinuxResources {
	r := common()
	r.Memory.Swappiness, r.Memory.DisableOOMKiller = ptr(uint64(10)), ptr(true)
	r.Memory.KernelTCP = ptr(int64(1 << 20))
	r.CPU.RealtimePeriod, r.CPU.RealtimeRuntime = ptr(uint64(1000000)), ptr(int64(950000))
	r.Network = &specs.LinuxNetwork{ClassID: ptr(uint32(0x100001)),
		Priorities: []specs.LinuxInterfacePriority{{Name: "eth0", Priority: 5}}}
	return r
}

func all2() *specs.LinuxResources {
	r := common()
	r.Unified = map[string]string{"memory.high": "50000000", "io.max": "8:0 rbps=1\n8:16 wbps=2\n", "cgroup.max.depth": "3"}
	return r
}

func TestPlansAreGolden(t *testing.T) {
	tests := []struct {
		name      string
		layout    Layout
		path      string
		resources *specs.LinuxResources
		optional  Set
		engine    bool
		shared    bool
	}{
		{"v2-none", pure, "/minict/c1", nil, 0, false, false},
		{"v2-defaults", pure, "/minict/c1", defaults(), Pids | Devices, false, false},
		{"v2-first", first, "/minict/c1", defaults(), Pids | Devices, false, false},
		{"v2-shared", pure, Usual + "/c1", defaults(), Pids | Devices, false, true},
		{"v2-all", pure, "/kubepods/pod1/c1", all2(), 0, false, false},
		{"v2-engine", pure, "/kubepods/pod1/c1", defaults(), 0, true, false},
		{"hybrid-none", hybrid, "/minict/c1", nil, 0, false, false},
		{"hybrid-defaults", hybrid, "/minict/c1", defaults(), Pids | Devices, false, false},
		{"hybrid-shared", hybrid, Usual + "/c1", defaults(), Pids | Devices, false, true},
		{"v1-none", legacy, "/minict/c1", nil, 0, false, false},
		{"v1-all", legacy, "/minict/c1", all1(), 0, false, false},
		{"v1-engine", legacy, "/docker/c1", nil, 0, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b plan.Builder
			joined, err := tt.layout.Plan(&b, tt.path, tt.resources, Options{Optional: tt.optional, Engine: tt.engine, Shared: tt.shared})
			if err != nil {
				t.Fatal(err)
			}
			joined.Join(&b)
			golden(t, tt.name, render(t, b.Plan(0, joined.Slot)))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := "testdata/" + name + ".txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := goldenFiles.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (go test -update shows how):\n%s", file, got)
	}
}

// render prints a plan as it will be carried out, addresses resolved.
func render(t *testing.T, p *plan.Plan) string {
	t.Helper()
	loaded, err := plan.Load(p.Encode())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "child is born in %s\n", slotName(loaded.Cgroup))
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "\n%s: %s %s | %s | %s | %s\n", []string{"host", "child", "undo"}[s.Phase],
			s.Verb, s.Object, s.Detail, s.Why, s.Undone)
		for n, op := range loaded.Ops[s.Phase] {
			if int(op.Step) == i {
				fmt.Fprintf(&b, "  %2d %s\n", n, renderOp(loaded, op))
			}
		}
	}
	return b.String()
}

func slotName(s plan.Slot) string {
	if s == plan.NoSlot {
		return "-"
	}
	return fmt.Sprintf("$%d", s)
}

// operands are how an operation's arguments are printed, a letter each:
// d directory, s string, n number, x hexadecimal, a address, p program.
var operands = map[uint32]struct{ name, form string }{
	unix.SYS_MKDIRAT: {"mkdir", "ds"}, unix.SYS_GETPID: {"getpid", ""}, unix.SYS_FCNTL: {"fcntl", "nxn"}, unix.SYS_OPENAT: {"open", "dsx"}, unix.SYS_WRITE: {"write", "dbn"},
	unix.SYS_CLOSE: {"close", "d"}, unix.SYS_PREAD64: {"pread", "da"}, unix.SYS_BPF: {"bpf", "npn"},
	plan.Jump: {"jump", "n"}, plan.Expect: {"expect", "anx"}, plan.Expect32: {"expect32", "anx"}, plan.Rmdir: {"rmdir", "s"},
}

func renderOp(l *plan.Loaded, op plan.Op) string {
	o, ok := operands[op.Call]
	if !ok {
		return fmt.Sprintf("call %d?", op.Call)
	}
	words := []string{o.name}
	for i, form := range o.form {
		words = append(words, renderArg(l, op, i, form))
	}
	if op.Result != plan.NoSlot {
		words = append(words, "-> "+slotName(op.Result))
	}
	if op.Store != 0 {
		words = append(words, fmt.Sprintf("-> [%d]", op.Store))
	}
	for _, s := range op.Skip {
		if s.Errno != 0 {
			words = append(words, fmt.Sprintf("%s:+%d", unix.ErrnoName(unix.Errno(s.Errno)), s.Ops))
		}
	}
	if op.Flags&plan.AnyError != 0 {
		words = append(words, "any error")
	}
	return strings.Join(words, " ")
}

func renderArg(l *plan.Loaded, op plan.Op, i int, form rune) string {
	v := op.Args[i]
	base := uint64(uintptr(unsafe.Pointer(&l.Data[0])))
	text := func() string {
		s, _, _ := strings.Cut(string(l.Data[v-base:]), "\x00")
		return fmt.Sprintf("%q", s)
	}
	switch at := int64(unix.AT_FDCWD); {
	case op.Kinds[i] == plan.KindSlot:
		return slotName(plan.Slot(v))
	case form == 'd' && int64(v) == at:
		return "cwd"
	case form == 's', form == 'b' && v-base < uint64(len(l.Data)) && l.Data[v-base] >= ' ':
		return text()
	case form == 'x':
		return fmt.Sprintf("%#x", v)
	case form == 'p' && op.Args[0] == unix.BPF_PROG_LOAD:
		word := *(*[2]uint32)(unsafe.Pointer(&l.Data[v-base]))
		return fmt.Sprintf("type %d, %d instructions", word[0], word[1])
	case form == 'a', form == 'b', form == 'p':
		return fmt.Sprintf("[%d]", v-base)
	}
	return fmt.Sprint(v)
}

func TestPlanNamesWhatIsMissing(t *testing.T) {
	tests := []struct {
		name     string
		layout   Layout
		r        specs.LinuxResources
		optional Set
		want     string // "" none
	}{
		{"memory", Layout{Unified: "/u"}, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(1))}}, 0, "memory limit: controller memory"},
		{"memory unset", Layout{Unified: "/u"}, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(0))}}, 0, ""},
		{"pids", Layout{Unified: "/u"}, *defaults(), 0, "pids limit: controller pids"},
		{"optional pids", Layout{Unified: "/u"}, *defaults(), Pids, ""},
		{"devices", Layout{V1: []Hierarchy{{"/m", Memory | Pids}}}, *defaults(), 0, "device rules: controller devices"},
		{"optional devices", Layout{V1: []Hierarchy{{"/m", Memory | Pids}}}, *defaults(), Devices, ""},
		{"realtime", pure, specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimeRuntime: ptr(int64(1))}}, 0, "realtime cpu limit: only cgroup v1"},
		{"oom", pure, specs.LinuxResources{Memory: &specs.LinuxMemory{DisableOOMKiller: ptr(true)}}, 0, "OOM killer off: only cgroup v1"},
		{"no oom", pure, specs.LinuxResources{Memory: &specs.LinuxMemory{DisableOOMKiller: ptr(false)}}, 0, ""},
		{"network", pure, specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr(uint32(1))}}, 0, "network class: controller net_cls"},
		{"swap", pure, specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr(int64(5))}}, 0, "swap limit: a swap limit needs a memory limit"},
		{"less swap", pure, specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr(int64(5)), Limit: ptr(int64(6))}}, 0, "are less than memory"},
		{"leaf weight", pure, specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{LeafWeight: ptr(uint16(5))}}, 0, "leaf weight"},
		{"page size", pure, specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "../x/2MB"}}}, 0, "bad page size"},
		{"unified path", pure, specs.LinuxResources{Unified: map[string]string{"../memory.max": "1"}}, 0, "bad key"},
		{"unified slash", pure, specs.LinuxResources{Unified: map[string]string{"a.b/memory.max": "1"}}, 0, "bad key"},
		{"unified procs", pure, specs.LinuxResources{Unified: map[string]string{"cgroup.procs": "1"}}, 0, "bad key"},
		{"unified dots", pure, specs.LinuxResources{Unified: map[string]string{"..": "1"}}, 0, "unified: "},
		{"unified v1", legacy, specs.LinuxResources{Unified: map[string]string{"memory.max": "1"}}, 0, "unified: memory.max is not available"},
		{"unified unknown", pure, specs.LinuxResources{Unified: map[string]string{"net.max": "1"}}, 0, "unified: net.max is not available"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b plan.Builder
			_, err := tt.layout.Plan(&b, "/minict/x", &tt.r, Options{Optional: tt.optional})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && len(b.Plan(0, plan.NoSlot).Steps) != 0 {
				t.Error("steps were added before the error")
			}
		})
	}
}

func TestPath(t *testing.T) {
	tests := []struct{ path, id, want string }{
		{"", "abc", "/minict/abc"},
		{"x", "abc", "/minict/x"},
		{"x//y/./z/", "abc", "/minict/x/y/z"},
		{"/kubepods/pod1/c", "abc", "/kubepods/pod1/c"},
		{"a:b:c", "abc", "/minict/a:b:c"},
		{"", "..", ""}, {"", ".", ""}, {"", "", ""}, {"", "a/b", ""},
		{"..", "abc", ""}, {"../x", "abc", ""}, {"/a/../b", "abc", ""}, {"/..", "abc", ""},
		{"/", "abc", ""}, {"//", "abc", ""}, {"/minict", "abc", ""}, {"/minict/", "abc", ""},
		{"a\nb", "abc", ""}, {"a\x00b", "abc", ""},
		{strings.Repeat("a", 256), "abc", ""}, {strings.Repeat("a/", 2000), "abc", ""},
	}
	for _, tt := range tests {
		got, err := Path(tt.path, tt.id)
		if got != tt.want || (tt.want == "") != errors.Is(err, ErrPath) {
			t.Errorf("Path(%.20q, %q) = %q, %v; want %q", tt.path, tt.id, got, err, tt.want)
		}
	}
	var b plan.Builder
	if _, err := pure.Plan(&b, "/minict/../x", nil, Options{}); !errors.Is(err, ErrPath) {
		t.Errorf("Plan took a path with dots: %v", err)
	}
	if _, err := Open(pure, "/minict/../x"); !errors.Is(err, ErrPath) {
		t.Errorf("Open took a path with dots: %v", err)
	}
}

func TestConversions(t *testing.T) {
	for shares, want := range map[uint64]uint64{
		0: 0, 1: 1, 2: 1, 102: 17, 512: 59, 1024: 100, 2000: 170, 2048: 174, 262143: 10000, 262144: 10000, 1 << 40: 10000,
	} {
		if got := Weight(shares); got != want {
			t.Errorf("Weight(%d) = %d, want %d", shares, got, want)
		}
	}
	for last, shares := uint64(0), uint64(0); shares < 300000; shares++ {
		if w := Weight(shares); w < last || w > 10000 {
			t.Fatalf("Weight(%d) = %d after %d", shares, w, last)
		} else {
			last = w
		}
	}
	for v1, want := range map[uint16]uint64{1: 1, 10: 1, 500: 4950, 1000: 10000} {
		if got := ioWeight(v1); got != want {
			t.Errorf("ioWeight(%d) = %d, want %d", v1, got, want)
		}
	}
}
