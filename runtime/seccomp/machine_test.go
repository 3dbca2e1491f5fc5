package seccomp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// sample is struct seccomp_data without the instruction pointer.
type sample struct {
	nr, arch uint32
	args     [maxArgs]uint64
}

func (s sample) String() string {
	return fmt.Sprintf("arch %#x nr %#x args %#x", s.arch, s.nr, s.args)
}

func (s sample) load(offset uint32) uint32 {
	switch {
	case offset == wordCall:
		return s.nr
	case offset == wordArch:
		return s.arch
	case offset >= wordArgs:
		v := s.args[(offset-wordArgs)/8]
		return uint32(v >> (8 * ((offset - wordArgs) % 8)))
	}
	return 0 // the instruction pointer
}

// checkProgram refuses what the kernel would refuse. Source:
// bpf_check_classic and seccomp_check_filter in the kernel.
func checkProgram(prog []unix.SockFilter) error {
	if len(prog) == 0 || len(prog) > maxProgram {
		return fmt.Errorf("%d instructions", len(prog))
	}
	for pc, in := range prog {
		rest := len(prog) - pc - 1
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			if in.K%4 != 0 || in.K >= 64 {
				return fmt.Errorf("%d: load from %d", pc, in.K)
			}
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, unix.BPF_RET | unix.BPF_K:
		case unix.BPF_JMP | unix.BPF_JA:
			if int64(in.K) >= int64(rest) {
				return fmt.Errorf("%d: jump out of the program", pc)
			}
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			if int(in.Jt) >= rest || int(in.Jf) >= rest {
				return fmt.Errorf("%d: jump out of the program", pc)
			}
		default:
			return fmt.Errorf("%d: code %#x", pc, in.Code)
		}
	}
	if prog[len(prog)-1].Code != unix.BPF_RET|unix.BPF_K {
		return fmt.Errorf("ends without return")
	}
	return nil
}

// run runs a checked program and returns how many instructions that took.
func run(prog []unix.SockFilter, s sample) (ret action, steps int) {
	var a uint32
	for pc := 0; ; pc++ {
		steps++
		in := prog[pc]
		branch := func(yes bool) {
			if yes {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = s.load(in.K)
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= in.K
		case unix.BPF_RET | unix.BPF_K:
			return in.K, steps
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			branch(a == in.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			branch(a >= in.K)
		}
	}
}
