package cgroup

import "encoding/binary"

// instruction is an eBPF instruction, <linux/bpf.h>.
type instruction struct {
	code     uint8
	dst, src uint8
	off      int16
	imm      int32
}

// The few codes that the filter is made of: class | size or operation | source.
const (
	loadWord   = 0x61 // dst = *(u32 *)(src + off)
	moveReg    = 0xbf
	moveImm    = 0xb7
	andImm     = 0x57
	shiftRight = 0x77
	jumpEq     = 0x15 // if dst == imm, skip off instructions
	jumpNotEq  = 0x55
	exit       = 0x95
)

// Types of device, <linux/bpf.h>.
const (
	deviceBlock = 1
	deviceChar  = 2
)

// program gives the filter as a program of type BPF_PROG_TYPE_CGROUP_DEVICE,
// which answers 1 for allowed and 0 for not.
//
// It takes the rules from the last to the first. r3 has the kinds of access
// that are asked for and not yet decided: a rule that allows takes its own
// out, and when none is left the answer is 1; a rule that denies one of them
// ends it with 0.
func (f *filter) program() []instruction {
	p := []instruction{ // struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor
		{code: loadWord, dst: 2, src: 1, off: 0},
		{code: moveReg, dst: 3, src: 2},
		{code: andImm, dst: 2, imm: 0xffff},
		{code: shiftRight, dst: 3, imm: 16},
		{code: loadWord, dst: 4, src: 1, off: 4},
		{code: loadWord, dst: 5, src: 1, off: 8},
	}
	for i := len(f.rules) - 1; i >= 0; i-- {
		p = append(p, f.rules[i].code()...)
	}
	return append(p, answer(f.allowed)...)
}

func (r rule) code() []instruction {
	kind := int32(deviceChar)
	if r.kind == 'b' {
		kind = deviceBlock
	}
	p := []instruction{{code: jumpNotEq, dst: 2, imm: kind}}
	if r.major != anyNumber {
		p = append(p, instruction{code: jumpNotEq, dst: 4, imm: int32(r.major)})
	}
	if r.minor != anyNumber {
		p = append(p, instruction{code: jumpNotEq, dst: 5, imm: int32(r.minor)})
	}
	if r.allow {
		p = append(p,
			instruction{code: andImm, dst: 3, imm: int32(accessAll &^ r.access)},
			instruction{code: jumpNotEq, dst: 3})
	} else {
		p = append(p,
			instruction{code: moveReg, dst: 0, src: 3},
			instruction{code: andImm, imm: int32(r.access)},
			instruction{code: jumpEq})
	}
	p = append(p, answer(r.allow)...)
	for i := range p { // each jump leads behind the rule
		if p[i].code == jumpNotEq || p[i].code == jumpEq {
			p[i].off = int16(len(p) - i - 1)
		}
	}
	return p
}

func answer(allow bool) []instruction {
	move := instruction{code: moveImm}
	if allow {
		move.imm = 1
	}
	return []instruction{move, {code: exit}}
}

// encode gives the memory form of a little-endian machine.
func encode(p []instruction) []byte {
	out := make([]byte, 0, 8*len(p))
	for _, in := range p {
		out = append(out, in.code, in.src<<4|in.dst)
		out = binary.LittleEndian.AppendUint16(out, uint16(in.off))
		out = binary.LittleEndian.AppendUint32(out, uint32(in.imm))
	}
	return out
}
