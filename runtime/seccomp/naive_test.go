package seccomp

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// naive says what a valid profile means for one call, by reading the profile
// from start to end: the measure that filters are held against. It shares the
// tables with the compiler, and nothing else.
func naive(p *specs.LinuxSeccomp, native string, s sample) action {
	normal := naiveAction(p.DefaultAction, p.DefaultErrnoRet)
	arch, narrow := naiveArch(s)
	own := map[string]specs.Arch{
		"amd64": specs.ArchX86_64, "386": specs.ArchX86, "arm64": specs.ArchAARCH64, "arm": specs.ArchARM,
	}[native]
	if onARM := own == specs.ArchARM || own == specs.ArchAARCH64; onARM != (arch == specs.ArchARM || arch == specs.ArchAARCH64) {
		return unix.SECCOMP_RET_KILL_THREAD
	}
	if arch != own && !slices.Contains(p.Architectures, arch) {
		if arch == specs.ArchX32 && s.nr == ^uint32(0) &&
			(own == specs.ArchX86_64 || slices.Contains(p.Architectures, specs.ArchX86_64)) {
			return normal
		}
		return unix.SECCOMP_RET_KILL_THREAD
	}
	var newest uint32
	var chosen *action // by a rule with conditions
	for _, rule := range p.Syscalls {
		act := naiveAction(rule.Action, rule.ErrnoRet)
		for _, name := range rule.Names {
			nr, ok := naiveNumber(arch, name)
			if ok && (arch != specs.ArchARM || nr < 0xf0000) {
				newest = max(newest, nr)
			}
			if arch == specs.ArchX86 && slices.Contains(socketcalls[1:], name) {
				newest = max(newest, 102)
			}
			if arch == specs.ArchX86 && name != "" && slices.Contains(ipcs[1:], name) {
				newest = max(newest, 117)
			}
			if act == normal {
				continue
			}
			if ok && nr == s.nr && len(rule.Args) == 0 {
				return naiveFirst(p, arch, s.nr, normal)
			}
			matches := ok && nr == s.nr && naiveArgs(rule.Args, s, narrow)
			if arch == specs.ArchX86 && naiveMuxed(name, s) && (len(rule.Args) == 0 || permits(act) <= permits(normal)) {
				if free := naiveFirst(p, arch, s.nr, normal); free != normal {
					return free
				}
				matches = true
			}
			if matches && chosen == nil {
				chosen = &act
			}
		}
	}
	if chosen != nil {
		// A rule without conditions may come later.
		if free := naiveFirst(p, arch, s.nr, normal); free != normal {
			return free
		}
		return *chosen
	}
	if newest > 0 && s.nr > newest && normal&0x7ff00000 != 0x7ff00000 &&
		(arch != specs.ArchARM || s.nr < 0xf0000) {
		return enosys
	}
	return normal
}

// naiveFirst returns the action of the first rule without conditions.
func naiveFirst(p *specs.LinuxSeccomp, arch specs.Arch, nr uint32, normal action) action {
	for _, rule := range p.Syscalls {
		for _, name := range rule.Names {
			n, ok := naiveNumber(arch, name)
			act := naiveAction(rule.Action, rule.ErrnoRet)
			if ok && n == nr && len(rule.Args) == 0 && act != normal {
				return act
			}
		}
	}
	return normal
}

func naiveAction(a specs.LinuxSeccompAction, errno *uint) action {
	n := uint32(1)
	if errno != nil {
		n = uint32(*errno)
	}
	return map[specs.LinuxSeccompAction]action{
		specs.ActKill: 0, specs.ActKillThread: 0, specs.ActKillProcess: 0x80000000,
		specs.ActTrap: 0x30000, specs.ActErrno: 0x50000 | n, specs.ActNotify: 0x7fc00000,
		specs.ActTrace: 0x7ff00000 | n, specs.ActLog: 0x7ffc0000, specs.ActAllow: 0x7fff0000,
	}[a]
}

func naiveArch(s sample) (arch specs.Arch, narrow bool) {
	switch s.arch {
	case 0x40000003:
		return specs.ArchX86, true
	case 0x40000028:
		return specs.ArchARM, true
	case 0xc00000b7:
		return specs.ArchAARCH64, false
	case 0xc000003e:
		if s.nr >= 0x40000000 {
			return specs.ArchX32, false
		}
		return specs.ArchX86_64, false
	}
	return "other", false
}

func naiveNumber(arch specs.Arch, name string) (uint32, bool) {
	for _, a := range abis {
		if a.arch != arch {
			continue
		}
		if i := call(name); i >= 0 {
			return a.number(i)
		}
	}
	return 0, false
}

func naiveMuxed(name string, s sample) bool {
	if i := slices.Index(socketcalls[:], name); i > 0 {
		return s.nr == 102 && uint32(s.args[0]) == uint32(i)
	}
	i := slices.Index(ipcs[:], name)
	return i > 0 && s.nr == 117 && uint16(s.args[0]) == uint16(i)
}

func naiveArgs(args []specs.LinuxSeccompArg, s sample, narrow bool) bool {
	seen := map[uint]bool{}
	apart, all, some := false, true, false
	for _, a := range args {
		apart = apart || seen[a.Index]
		seen[a.Index] = true
		v, want, two := s.args[a.Index], a.Value, a.ValueTwo
		if narrow {
			v, want, two = uint64(uint32(v)), uint64(uint32(want)), uint64(uint32(two))
		}
		holds := map[specs.LinuxSeccompOperator]bool{
			specs.OpNotEqual: v != want, specs.OpEqualTo: v == want,
			specs.OpLessThan: v < want, specs.OpLessEqual: v <= want,
			specs.OpGreaterThan: v > want, specs.OpGreaterEqual: v >= want,
			specs.OpMaskedEqual: v&want == two&want,
		}[a.Op]
		all = all && holds
		some = some || holds
	}
	if apart {
		return some
	}
	return all
}
