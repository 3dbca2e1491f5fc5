package cgroup

import (
	"encoding/binary"
	"errors"
)

// instruction is an eBPF instruction, <linux/bpf.h>. A jump's offset is one of
// the labels until the program is complete.
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
	orReg      = 0x4f
	shiftRight = 0x77
	shiftLeft  = 0x67
	jumpEq     = 0x16 // if (u32) dst == imm, skip off instructions
	jumpNotEq  = 0x56
	exit       = 0x95
)

// Registers.
const (
	result = 0
	ctx    = 1 // struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor
	kind   = 2
	wanted = 3 // kinds of access that are asked for and not yet decided
	device = 4 // major << minorBits | minor
	major  = 5
	minor  = 6
)

// Labels. From toMask down there is one for each set of accesses: allow what
// is in the set.
const (
	toAllow = -1 - iota
	toDeny
	toMask
)

// A device number has 12 bits of major and 20 bits of minor, <linux/kdev_t.h>.
const (
	minorBits = 20
	maxMajor  = 1<<12 - 1
	maxMinor  = 1<<minorBits - 1
)

// Types of device, <linux/bpf.h>.
const (
	deviceBlock = 1
	deviceChar  = 2
)

var errManyRules = errors.New("too many device rules")

// program gives the filter as a program of type BPF_PROG_TYPE_CGROUP_DEVICE,
// which answers 1 for allowed and 0 for not. It has a list of tests for each
// type of device.
//
// Its form is chosen for the kernel's verifier, which walks all paths through
// it while the container starts: a rule about one device is a comparison that
// leads out.
func (f *filter) program() ([]instruction, error) {
	p := []instruction{
		{code: loadWord, dst: kind, src: ctx},
		{code: moveReg, dst: wanted, src: kind},
		{code: andImm, dst: kind, imm: 0xffff},
		{code: shiftRight, dst: wanted, imm: 16},
		{code: loadWord, dst: major, src: ctx, off: 4},
		{code: loadWord, dst: minor, src: ctx, off: 8},
		{code: moveReg, dst: device, src: major},
		{code: shiftLeft, dst: device, imm: minorBits},
		{code: orReg, dst: device, src: minor},
	}
	char, block := f.section('c'), f.section('b')
	if len(char)+len(block) > 1<<15-100 { // as far as a jump leads
		return nil, errManyRules
	}
	p = append(p, instruction{code: jumpNotEq, dst: kind, imm: deviceChar, off: int16(len(char))})
	p = append(p, char...)
	other := answer(f.allowed) // there is no third type
	p = append(p, instruction{code: jumpEq, dst: kind, imm: deviceBlock, off: int16(len(other))})
	p = append(p, other...)
	return append(p, block...), nil
}

// section decides about one type. What all rules say about a device that one of
// them names is known here and now. For the others it takes the rules from the
// last to the first: one that allows takes its access out of what is wanted,
// and when nothing is left the answer is 1; one that denies something wanted
// makes it 0.
func (f *filter) section(of byte) []instruction {
	var p []instruction
	open := true // the end can be reached
	seen := make(map[rule]bool)
	for _, r := range f.rules {
		one := rule{kind: r.kind, major: r.major, minor: r.minor}
		if r.kind == of && r.major != anyNumber && r.minor != anyNumber && !seen[one] {
			seen[one] = true
			number := int32(uint32(r.major<<minorBits | r.minor))
			p = append(p, instruction{code: jumpEq, dst: device, imm: number, off: maskLabel(f.verdict(one))})
		}
	}
	for i := len(f.rules) - 1; i >= 0 && open; i-- {
		r := f.rules[i]
		if r.kind == of && (r.major == anyNumber || r.minor == anyNumber) {
			p = append(p, r.code()...)
			open = r.access != accessAll || r.major != anyNumber || r.minor != anyNumber
		}
	}
	if open {
		p = append(p, answer(f.allowed)...)
	}
	for mask := uint8(1); mask < accessAll; mask++ {
		p = link(p, maskLabel(mask), append([]instruction{
			{code: moveReg, dst: result, src: wanted},
			{code: andImm, dst: result, imm: int32(accessAll &^ mask)},
			{code: jumpNotEq, dst: result, off: toDeny},
		}, answer(true)...))
	}
	p = link(p, toAllow, answer(true))
	return link(p, toDeny, answer(false))
}

// verdict gives what is allowed with one device.
func (f *filter) verdict(one rule) (mask uint8) {
	if f.allowed {
		mask = accessAll
	}
	for _, r := range f.rules {
		switch {
		case !r.covers(one):
		case r.allow:
			mask |= r.access
		default:
			mask &^= r.access
		}
	}
	return mask
}

func maskLabel(mask uint8) int16 {
	switch mask {
	case accessAll:
		return toAllow
	case 0:
		return toDeny
	}
	return toMask - int16(mask)
}

// link adds the answer at the end and has the jumps to the label lead there.
// The verifier refuses what no jump leads to.
func link(p []instruction, label int16, answer []instruction) []instruction {
	end, used := len(p), false
	for i := range p {
		if p[i].off == label {
			p[i].off, used = int16(end-i-1), true
		}
	}
	if !used {
		return p
	}
	return append(p, answer...)
}

// code is for rules about more than one device.
func (r rule) code() []instruction {
	label := int16(toDeny)
	if r.allow {
		label = toAllow
	}
	body := []instruction{
		{code: moveReg, dst: result, src: wanted},
		{code: andImm, dst: result, imm: int32(r.access)},
		{code: jumpNotEq, dst: result, off: label},
	}
	if r.allow {
		body = []instruction{
			{code: andImm, dst: wanted, imm: int32(accessAll &^ r.access)},
			{code: jumpEq, dst: wanted, off: label},
		}
	}
	test := instruction{code: jumpNotEq, dst: major, imm: int32(r.major), off: int16(len(body))}
	if r.major == anyNumber {
		test.dst, test.imm = minor, int32(r.minor)
	}
	switch all := r.major == anyNumber && r.minor == anyNumber; {
	case all && r.access == accessAll:
		return answer(r.allow)
	case all:
		return body
	case r.access == accessAll:
		test.code, test.off = jumpEq, label
		return []instruction{test}
	}
	return append([]instruction{test}, body...)
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
