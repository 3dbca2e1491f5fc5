package seccomp

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	docker "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// dockerCaps are the capabilities that a container has by default.
var dockerCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// capSets are those that change Docker's default profile, and then some.
var capSets = [][]string{
	nil, dockerCaps, {"CAP_SYS_ADMIN"}, {"CAP_SYS_ADMIN", "CAP_BPF", "CAP_PERFMON"}, {"CAP_SYS_PTRACE"},
	{"CAP_DAC_READ_SEARCH"}, {"CAP_SYS_TIME", "CAP_SYS_NICE"}, {"CAP_SYSLOG"}, {"CAP_SYS_MODULE", "CAP_SYS_BOOT"},
}

// Docker's own code for this machine and ours must agree, from Go and from JSON.
func TestDefaultIsDockers(t *testing.T) {
	asJSON, err := json.Marshal(docker.DefaultProfile())
	if err != nil {
		t.Fatal(err)
	}
	for _, caps := range capSets {
		want, err := docker.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := Default(caps, runtime.GOARCH)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("capabilities %q: got %+v, %v\nwant %+v", caps, got, err, want)
		}
		loaded, err := Load(asJSON, caps, runtime.GOARCH)
		if err != nil || !sameJSON(t, loaded, want) {
			t.Errorf("capabilities %q: loaded %+v, %v\nwant %+v", caps, loaded, err, want)
		}
	}
}

func sameJSON(t *testing.T, a, b any) bool {
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(x) == string(y)
}

// What Docker's default profile comes to, number by number.
func TestDefaultFilter(t *testing.T) {
	const eperm = action(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	const allow = action(unix.SECCOMP_RET_ALLOW)
	for _, test := range []struct {
		name   string
		caps   []string
		arg    uint64
		want   action
		newest bool // a call newer than all of the profile
	}{
		{"read", dockerCaps, 0, allow, false},
		{"mount", dockerCaps, 0, eperm, false},
		{"mount", []string{"CAP_SYS_ADMIN"}, 0, allow, false},
		{"clone3", dockerCaps, 0, enosys, false},
		{"clone3", []string{"CAP_SYS_ADMIN"}, 0, allow, false},
		{"clone", dockerCaps, uint64(unix.SIGCHLD), allow, false},
		{"clone", dockerCaps, unix.CLONE_NEWUSER | uint64(unix.SIGCHLD), eperm, false},
		{"clone", []string{"CAP_SYS_ADMIN"}, unix.CLONE_NEWUSER, allow, false},
		{"unshare", dockerCaps, unix.CLONE_NEWUSER, eperm, false},
		{"io_uring_setup", dockerCaps, 0, eperm, false},
		{"keyctl", dockerCaps, 0, eperm, false},
		{"open_by_handle_at", dockerCaps, 0, eperm, false},
		{"bpf", dockerCaps, 0, eperm, false},
		{"bpf", []string{"CAP_BPF"}, 0, allow, false},
		{"chroot", dockerCaps, 0, allow, false},
		{"chroot", nil, 0, eperm, false},
		{"socket", dockerCaps, unix.AF_UNIX, allow, false},
		{"socket", dockerCaps, unix.AF_INET6, allow, false},
		{"socket", dockerCaps, unix.AF_ALG, eperm, false},
		{"socket", dockerCaps, unix.AF_VSOCK, eperm, false},
		{"socket", dockerCaps, 1<<32 | unix.AF_ALG, eperm, false},
		{"personality", dockerCaps, 0, allow, false},
		{"personality", dockerCaps, 0x20008, allow, false},
		{"personality", dockerCaps, 0xffffffff, allow, false},
		{"personality", dockerCaps, 0x40000, eperm, false},
		{"open_tree_attr", dockerCaps, 0, enosys, true},
	} {
		for _, arch := range []string{"amd64", "arm64"} {
			p, err := Default(test.caps, arch)
			if err != nil {
				t.Fatal(err)
			}
			prog, _, err := Compile(p, arch)
			if err != nil {
				t.Fatal(err)
			}
			if err := checkProgram(prog); err != nil {
				t.Fatal(err)
			}
			same, _ := family(arch)
			for _, a := range same {
				nr, ok := a.number(call(test.name))
				if !ok || a.x32 && test.newest {
					continue // x32's own calls have larger numbers
				}
				got, _ := run(prog, sample{nr: nr, arch: a.audit, args: [maxArgs]uint64{test.arg}})
				if got != test.want {
					t.Errorf("%s(%#x) of %s with %q: got %#x, want %#x", test.name, test.arg, a.arch, test.caps, got, test.want)
				}
			}
		}
	}
}

// The length of the default filter, and of the way through it, is what a start
// and each call cost.
func TestDefaultFilterIsShort(t *testing.T) {
	p, err := Default(dockerCaps, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	prog, _, err := Compile(p, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	longest := 0
	for nr := range uint32(600) {
		for _, a := range abis[:3] {
			_, steps := run(prog, sample{nr: a.first + nr, arch: a.audit, args: [maxArgs]uint64{unix.AF_ALG}})
			longest = max(longest, steps)
		}
	}
	if len(prog) > 300 || longest > 30 {
		t.Errorf("%d instructions, %d on the longest way", len(prog), longest)
	}
	t.Logf("%d instructions, %d on the longest way", len(prog), longest)
}

func TestLoad(t *testing.T) {
	const podman = `{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS", "defaultErrnoRet": 38,
		"archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
		"syscalls": [
			{"name": "read", "action": "SCMP_ACT_ALLOW", "comment": "old form"},
			{"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errno": "EPERM", "excludes": {"caps": ["CAP_BPF"]}},
			{"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
			{"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
			{"names": ["kill"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "99.0"}},
			{"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}}
		]}`
	nosys, perm := uint(unix.ENOSYS), uint(unix.EPERM)
	want := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: &nosys,
		Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86},
		Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read"}, Action: specs.ActAllow},
			{Names: []string{"bpf"}, Action: specs.ActErrno, ErrnoRet: &perm},
			{Names: []string{"kill"}, Action: specs.ActAllow},
		},
	}
	got, err := Load([]byte(podman), nil, "amd64")
	if err != nil || !sameJSON(t, got, want) {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, test := range []struct{ data, want string }{
		{"", "it ends too early"},
		{"{", "it ends too early"},
		{"{\n\"a\"\n;", "line 3: invalid character ';' after object key"},
		{"{}", "default: action is missing"},
		{"null", "default: action is missing"},
		{`{"defaultAction": "SCMP_ACT_ALLOW"} {}`, "there is more after the end of the profile"},
		{`{"defaultAction": "SCMP_ACT_ALLOW", "syscall": []}`, `unknown field "syscall"`},
		{`{"defaultAction": "ALLOW"}`, `default: unknown action "ALLOW"`},
		{`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "EWHAT"}`, `unknown errno "EWHAT"`},
		{`{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}`, "it has both architectures and an archMap"},
		{`{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x86"]}`, `unknown architecture "x86"`},
		{`{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["x"]}`, `unknown flag "x"`},
		{`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [null]}`, "rule for : action is missing"},
		{`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "name": "b", "action": "SCMP_ACT_LOG"}]}`, "rule 1 has both a name and names"},
		{`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "KILL", "includes": {"caps": ["CAP_X"]}}]}`, `rule for read: unknown action "KILL"`},
		{`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL", "includes": {"minKernel": "4"}}]}`, `invalid kernel version: "4", expected "<kernel>.<major>"`},
	} {
		_, err := Load([]byte(test.data), nil, "amd64")
		if err == nil || err.Error() != "seccomp profile: "+test.want {
			t.Errorf("%s: got %v, want %s", test.data, err, test.want)
		}
	}
}

func TestParseRelease(t *testing.T) {
	for release, want := range map[string]docker.KernelVersion{
		"6.18.44-fc-v669": {Kernel: 6, Major: 18}, "5.14": {Kernel: 5, Major: 14}, "4.18.0-553.el8": {Kernel: 4, Major: 18},
		"": {}, "6": {}, "6.": {}, "x.y": {}, "6-1": {},
	} {
		got, err := parseRelease(release)
		if bad := want.Kernel == 0; err != nil != bad || !bad && got != want {
			t.Errorf("%q: got %v, %v", release, got, err)
		}
	}
}

func TestDockerVersion(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), "github.com/moby/profiles/seccomp "+dockerVersion+" ") &&
		!strings.Contains(string(mod), "github.com/moby/profiles/seccomp "+dockerVersion+"\n") {
		t.Error("dockerVersion is not go.mod's: filters of the old default profile would be used")
	}
}

func FuzzCompile(f *testing.F) {
	asJSON, err := json.Marshal(docker.DefaultProfile())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(asJSON)
	f.Add([]byte(`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
		"flags": ["SECCOMP_FILTER_FLAG_TSYNC"], "listenerPath": "/a", "syscalls": [
		{"names": ["read", "socket"], "action": "SCMP_ACT_NOTIFY", "args": [{"index": 0, "value": 4294967296, "op": "SCMP_CMP_GE"}]},
		{"name": "shmat", "action": "SCMP_ACT_TRACE", "errno": "EPERM", "args": [{"index": 1, "value": 7, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}],
		"includes": {"minKernel": "4.8", "arches": ["amd64"]}, "excludes": {"caps": ["CAP_KILL"]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, arch := range []string{"amd64", "arm"} {
			p, err := Load(data, dockerCaps, arch)
			if err != nil {
				continue
			}
			prog, _, err := Compile(p, arch)
			if err != nil {
				if !strings.Contains(err.Error(), "instructions, the kernel takes") {
					t.Fatalf("loads, but: %v", err)
				}
				continue
			}
			if err := checkProgram(prog); err != nil {
				t.Fatal(err)
			}
			same, _ := family(arch)
			for _, nr := range []uint32{0, 1, 54, 102, 117, 359, 512, 9999, x32Bit | 514, ^uint32(0)} {
				s := sample{nr: nr, arch: same[len(same)-1].audit, args: [maxArgs]uint64{1, 7, 1 << 32}}
				if got, _ := run(prog, s); got != naive(p, arch, s) {
					t.Fatalf("%s: filter says %#x, profile says %#x", s, got, naive(p, arch, s))
				}
			}
		}
	})
}

func BenchmarkDefault(b *testing.B) {
	for b.Loop() {
		if _, err := Default(dockerCaps, runtime.GOARCH); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompileDefault(b *testing.B) {
	p, err := Default(dockerCaps, runtime.GOARCH)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := Compile(p, runtime.GOARCH); err != nil {
			b.Fatal(err)
		}
	}
}
