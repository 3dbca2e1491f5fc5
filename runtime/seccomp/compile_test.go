package seccomp

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var (
	testActions = []specs.LinuxSeccompAction{
		specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno,
		specs.ActTrace, specs.ActAllow, specs.ActLog, specs.ActNotify,
	}
	testOperators = []specs.LinuxSeccompOperator{
		specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo,
		specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual,
	}
	testValues = []uint64{
		0, 1, 2, 3, 5, 11, 21, 38, 0xffff, 0x7e020000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
		0x100000000, 0x100000001, 0x1ffffffff, 0x2_00000000, 0x7fffffff_ffffffff,
		0xffffffff_00000000, 0xffffffff_fffffffe, 0xffffffff_ffffffff,
	}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// randomProfile makes a profile from few names and values, so that rules meet,
// or from many names.
func randomProfile(r *rand.Rand) *specs.LinuxSeccomp {
	p := &specs.LinuxSeccomp{DefaultAction: pick(r, testActions[:8]), ListenerPath: "/agent"}
	errno := func(a specs.LinuxSeccompAction) *uint {
		if (a == specs.ActErrno || a == specs.ActTrace) && r.IntN(2) == 0 {
			n := uint(r.IntN(3))
			return &n
		}
		return nil
	}
	p.DefaultErrnoRet = errno(p.DefaultAction)
	for _, a := range []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64, specs.ArchS390X} {
		if r.IntN(2) == 0 {
			p.Architectures = append(p.Architectures, a)
		}
	}
	few := []string{"read", "socket", "socketcall", "ipc", "shmat", "semop", "accept", "ioctl", "clone", "set_tls", "no_such_call"}
	many := r.IntN(4) == 0
	for range r.IntN(12) {
		s := specs.LinuxSyscall{Action: pick(r, testActions)}
		s.ErrnoRet = errno(s.Action)
		for range 1 + r.IntN(3) {
			s.Names = append(s.Names, pick(r, few))
		}
		if many {
			for range r.IntN(150) {
				s.Names = append(s.Names, callName(r.IntN(callCount)))
			}
		}
		if r.IntN(3) > 0 {
			for range 1 + r.IntN(3) {
				s.Args = append(s.Args, specs.LinuxSeccompArg{
					Index: uint(r.IntN(3)), Op: pick(r, testOperators), Value: pick(r, testValues), ValueTwo: pick(r, testValues),
				})
			}
		}
		p.Syscalls = append(p.Syscalls, s)
	}
	return p
}

// randomSample makes a call that a profile may have an opinion about.
func randomSample(r *rand.Rand, p *specs.LinuxSeccomp) sample {
	var s sample
	a := pick(r, abis[:])
	s.arch = a.audit
	switch i := r.IntN(10); {
	case i < 7 && len(p.Syscalls) > 0:
		name := pick(r, pick(r, p.Syscalls).Names)
		if m, ok := a.mux(name); ok && r.IntN(2) == 0 {
			name = m.through
		}
		if at := call(name); at >= 0 {
			s.nr, _ = a.number(at)
		}
		s.nr += uint32(r.IntN(4) / 3)
	case i == 8:
		s.nr = pick(r, []uint32{0, 511, 9999, 0xeffff, 0xf0000, 0xf0005, 0xf0006, 0x3fffffff, 0x40000000, 0x40000200, 0x7fffffff, 0xfffffffe, 0xffffffff})
	default:
		s.nr = uint32(r.IntN(600)) + a.first
	}
	if r.IntN(50) == 0 {
		s.arch = pick(r, []uint32{0, 0xc0000016, 0xffffffff, a.audit + 1})
	}
	for i := range s.args {
		s.args[i] = pick(r, testValues) + uint64(r.IntN(3)) - 1
		if r.IntN(3) == 0 {
			s.args[i] = uint64(r.IntN(30))
		}
		if a.narrow {
			s.args[i] = uint64(uint32(s.args[i])) // as the kernel hands them over
		}
	}
	return s
}

func agree(t *testing.T, r *rand.Rand, p *specs.LinuxSeccomp, arch string, samples int) {
	t.Helper()
	prog, _, err := Compile(p, arch)
	if err != nil {
		t.Fatalf("%v\n%+v", err, p)
	}
	if err := checkProgram(prog); err != nil {
		t.Fatalf("bad program: %v\n%+v", err, p)
	}
	for range samples {
		s := randomSample(r, p)
		got, _ := run(prog, s)
		if want := naive(p, arch, s); got != want {
			t.Fatalf("%s on %s: filter says %#x, profile says %#x\n%+v", s, arch, got, want, p)
		}
	}
}

func TestFiltersSayWhatProfilesMean(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 800 {
		agree(t, r, randomProfile(r), pick(r, []string{"amd64", "386", "arm64", "arm"}), 60)
	}
}

// Long jumps: chains of conditions that no conditional jump can cross.
func TestLargeProfiles(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 6 {
		p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86, specs.ArchX32}}
		for range 120 {
			p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{
				Names: []string{callName(r.IntN(callCount)), pick(r, []string{"read", "ioctl", "prctl"})}, Action: pick(r, testActions[:8]),
				Args: []specs.LinuxSeccompArg{
					{Index: 1, Op: pick(r, testOperators), Value: uint64(r.IntN(300))},
					{Index: 2, Op: pick(r, testOperators), Value: uint64(r.IntN(300)), ValueTwo: uint64(r.IntN(300))},
				},
			})
		}
		agree(t, r, p, "amd64", 500)
	}
}

func TestTooLargeProfile(t *testing.T) {
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
	for i := range uint64(3000) {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{
			Names: []string{"ioctl"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 1, Op: specs.OpEqualTo, Value: i * i}, {Index: 2, Op: specs.OpEqualTo, Value: i}},
		})
	}
	_, _, err := Compile(p, "amd64")
	if err == nil || err.Error() != "seccomp profile: profile needs a filter of 24105 instructions, the kernel takes 4096" {
		t.Fatal(err)
	}
}

func TestFlags(t *testing.T) {
	const notify, tsync = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, "SECCOMP_FILTER_FLAG_TSYNC"
	type flags = []specs.LinuxSeccompFlag
	for _, test := range []struct {
		flags  flags
		notify bool
		want   uint32
	}{
		{nil, false, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{flags{}, false, 0},
		{flags{specs.LinuxSeccompFlagLog}, false, unix.SECCOMP_FILTER_FLAG_LOG},
		{flags{tsync, specs.LinuxSeccompFlagSpecAllow}, false, unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{flags{tsync}, true, unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH | notify},
		{flags{specs.LinuxSeccompFlagWaitKillableRecv}, false, 0},
		{flags{specs.LinuxSeccompFlagWaitKillableRecv}, true, unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | notify},
	} {
		p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: test.flags, ListenerPath: "/agent"}
		if test.notify {
			p.Syscalls = []specs.LinuxSyscall{{Names: []string{"mount"}, Action: specs.ActNotify}}
		}
		_, got, err := Compile(p, "amd64")
		if err != nil || got != test.want {
			t.Errorf("flags %q, notify %v: got %#x, %v, want %#x", test.flags, test.notify, got, err, test.want)
		}
	}
}

func TestBadProfiles(t *testing.T) {
	zero, big := uint(0), uint(4096)
	rule := func(s specs.LinuxSyscall) *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{s}}
	}
	arg := func(a specs.LinuxSeccompArg) *specs.LinuxSeccomp {
		return rule(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActTrap, Args: []specs.LinuxSeccompArg{a}})
	}
	for _, test := range []struct {
		p    *specs.LinuxSeccomp
		want string
	}{
		{nil, "there is none"},
		{&specs.LinuxSeccomp{}, "default: action is missing"},
		{&specs.LinuxSeccomp{DefaultAction: "ALLOW"}, `default: unknown action "ALLOW"`},
		{&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, DefaultErrnoRet: &zero}, "default: action SCMP_ACT_ALLOW takes no errno"},
		{&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &big}, "default: errno 4096 of SCMP_ACT_ERRNO is above 4095"},
		{&specs.LinuxSeccomp{DefaultAction: specs.ActNotify}, "default: SCMP_ACT_NOTIFY would stop the container before anyone can listen"},
		{&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"amd64"}}, `unknown architecture "amd64"`},
		{&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"LOG"}}, `unknown flag "LOG"`},
		{&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerMetadata: "x"}, "listenerMetadata without a listenerPath"},
		{rule(specs.LinuxSyscall{Action: specs.ActTrap}), "rule 1: names are missing"},
		{rule(specs.LinuxSyscall{Names: []string{"read", ""}, Action: specs.ActTrap}), "rule 1 (read): a name is empty"},
		{rule(specs.LinuxSyscall{Names: []string{"read"}}), "rule 1 (read): action is missing"},
		{rule(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActKill, ErrnoRet: &zero}), "rule 1 (read): action SCMP_ACT_KILL takes no errno"},
		{rule(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActNotify}), "SCMP_ACT_NOTIFY needs a listenerPath"},
		{arg(specs.LinuxSeccompArg{Op: "EQ"}), `rule 1 (read): unknown operator "EQ"`},
		{arg(specs.LinuxSeccompArg{Op: specs.OpEqualTo, Index: 6}), "rule 1 (read): argument 6: a system call has 6"},
	} {
		_, _, err := Compile(test.p, "amd64")
		if err == nil || err.Error() != "seccomp profile: "+test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
	_, _, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow}, "s390x")
	if err == nil || err.Error() != "seccomp profile: no filters for the architecture s390x" {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		name string
		want [len(abis)]int // x86, x86_64, x32, arm, aarch64; -1: none
	}{
		{"read", [...]int{3, 0, x32Bit, 3, 63}},
		{"_llseek", [...]int{140, -1, -1, 140, -1}},
		{"socketcall", [...]int{102, -1, -1, -1, -1}},
		{"ioctl", [...]int{54, 16, x32Bit | 514, 54, 29}},
		{"pwritev2", [...]int{379, 328, x32Bit | 547, 393, 287}},
		{"set_tls", [...]int{-1, -1, -1, 0xf0005, -1}},
		{"sync_file_range2", [...]int{-1, -1, -1, 341, -1}},
		{"cachestat", [...]int{451, 451, x32Bit | 451, 451, 451}},
		{"fchmodat2", [...]int{452, 452, x32Bit | 452, 452, 452}},
		{"map_shadow_stack", [...]int{453, 453, x32Bit | 453, 453, 453}},
		{"futex_wake", [...]int{454, 454, x32Bit | 454, 454, 454}},
		{"statmount", [...]int{457, 457, x32Bit | 457, 457, 457}},
		{"listmount", [...]int{458, 458, x32Bit | 458, 458, 458}},
		{"lsm_list_modules", [...]int{461, 461, x32Bit | 461, 461, 461}},
		{"mseal", [...]int{462, 462, x32Bit | 462, 462, 462}},
		{"setxattrat", [...]int{463, 463, x32Bit | 463, 463, 463}},
		{"uretprobe", [...]int{-1, 335, x32Bit | 335, -1, -1}},
		{"open_tree_attr", [...]int{467, 467, x32Bit | 467, 467, 467}},
		{"file_getattr", [...]int{468, 468, x32Bit | 468, 468, 468}},
		{"arch_specific_syscall", [...]int{-1, -1, -1, -1, -1}},
		{"", [...]int{-1, -1, -1, -1, -1}},
		{"zzz", [...]int{-1, -1, -1, -1, -1}},
	} {
		for i, a := range abis {
			got := -1
			if at := call(test.name); at >= 0 {
				if nr, ok := a.number(at); ok {
					got = int(nr)
				}
			}
			if got != test.want[i] {
				t.Errorf("%s of %s: got %d, want %d", test.name, a.arch, got, test.want[i])
			}
		}
	}
	names := make([]string, callCount)
	for i := range names {
		names[i] = callName(i)
		if call(names[i]) != i {
			t.Errorf("%s is not found", names[i])
		}
	}
	if !slices.IsSorted(names) {
		t.Error("the names are not sorted")
	}
}

// x32's own calls follow one another.
func TestX32Names(t *testing.T) {
	for i, name := range strings.Fields(`
		rt_sigaction rt_sigreturn ioctl readv writev recvfrom sendmsg recvmsg execve ptrace rt_sigpending
		rt_sigtimedwait rt_sigqueueinfo sigaltstack timer_create mq_notify kexec_load waitid set_robust_list
		get_robust_list vmsplice move_pages preadv pwritev rt_tgsigqueueinfo recvmmsg sendmmsg process_vm_readv
		process_vm_writev setsockopt getsockopt io_setup io_submit execveat preadv2 pwritev2`) {
		if nr, ok := abis[2].number(call(name)); !ok || nr != x32Bit|uint32(512+i) {
			t.Errorf("%s: got %#x, want %#x", name, nr, x32Bit|(512+i))
		}
	}
}
