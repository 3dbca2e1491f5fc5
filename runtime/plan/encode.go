package plan

import (
	"errors"
	"unsafe"
)

// magic ends with a version: both sides come from one build, so another
// version is a mistake of the installation and no case to be handled.
const magic = 0x6d696e6963740001

type header struct {
	Magic      uint64
	CloneFlags uint64
	Ends       [phases]uint32
	Relocs     uint32
	Data       uint32
	Slots      uint16
	Inputs     uint16
	Cgroup     Slot
	Steps      uint16
	Spare      uint32
}

// ErrEncoding says that bytes are not an encoded plan of this version.
var ErrEncoding = errors.New("not a plan of this version")

// Encode gives the plan in the form that Loaded takes: the memory of its
// parts, one after the other.
func (p *Plan) Encode() []byte {
	h := header{
		Magic: magic, CloneFlags: p.CloneFlags,
		Relocs: uint32(len(p.relocs)), Data: uint32(len(p.data)),
		Slots: uint16(p.slots), Inputs: uint16(len(p.Inputs)), Cgroup: p.Cgroup,
		Steps: uint16(len(p.Steps)),
	}
	count := 0
	for phase, ops := range p.ops {
		count += len(ops)
		h.Ends[phase] = uint32(count)
	}
	size := int(headerSize) + count*int(opSize) + len(p.relocs)*int(relocSize) + len(p.data)
	out := make([]byte, 0, size)
	out = append(out, unsafe.Slice((*byte)(unsafe.Pointer(&h)), headerSize)...)
	for _, ops := range p.ops {
		out = appendMemory(out, ops)
	}
	out = appendMemory(out, p.relocs)
	return append(out, p.data...)
}

func appendMemory[T any](out []byte, list []T) []byte {
	if len(list) == 0 {
		return out
	}
	var one T
	return append(out, unsafe.Slice((*byte)(unsafe.Pointer(&list[0])), len(list)*int(unsafe.Sizeof(one)))...)
}

// Loaded is a plan in memory, with addresses made absolute, ready to be carried out
// once. The memory must not move: a mapping, or a slice that the garbage collector
// leaves alone, as Go's does, while it is referenced.
type Loaded struct {
	Ops        [phases][]Op // by phase
	Data       []byte
	CloneFlags uint64
	Cgroup     Slot
	Slots      int
	Inputs     int
	Steps      int
}

// Ready makes the addresses in the plan absolute, in place, for who carries it out
// in the process that has made it: it can't be encoded or made ready once more.
func (p *Plan) Ready() *Loaded {
	l := &Loaded{
		Ops: p.ops, Data: p.data, CloneFlags: p.CloneFlags, Cgroup: p.Cgroup,
		Slots: p.slots, Inputs: len(p.Inputs), Steps: len(p.Steps),
	}
	l.relocate(p.relocs)
	return l
}

// Load makes the addresses in an encoded plan absolute, in place.
func Load(mem []byte) (*Loaded, error) {
	if uintptr(len(mem)) < headerSize || uintptr(unsafe.Pointer(&mem[0]))%8 != 0 {
		return nil, ErrEncoding
	}
	h := (*header)(unsafe.Pointer(&mem[0]))
	count := h.Ends[phases-1]
	opsEnd := headerSize + uintptr(count)*opSize
	relocsEnd := opsEnd + uintptr(h.Relocs)*relocSize
	if h.Magic != magic || count == 0 || relocsEnd+uintptr(h.Data) != uintptr(len(mem)) {
		return nil, ErrEncoding
	}
	ops := unsafe.Slice((*Op)(unsafe.Pointer(&mem[headerSize])), count)
	l := &Loaded{
		Data:       mem[relocsEnd:],
		CloneFlags: h.CloneFlags, Cgroup: h.Cgroup,
		Slots: int(h.Slots), Inputs: int(h.Inputs), Steps: int(h.Steps),
	}
	begin := uint32(0)
	for phase, end := range h.Ends {
		l.Ops[phase] = ops[begin:end]
		begin = end
	}
	var relocs []reloc
	if h.Relocs > 0 {
		relocs = unsafe.Slice((*reloc)(unsafe.Pointer(&mem[opsEnd])), h.Relocs)
	}
	l.relocate(relocs)
	return l, nil
}

func (l *Loaded) relocate(relocs []reloc) {
	base := uint64(uintptr(unsafe.Pointer(&l.Data[0])))
	for _, r := range relocs {
		*(*uint64)(unsafe.Pointer(&l.Data[r.At])) = base + uint64(r.To)
	}
	for _, ops := range l.Ops {
		for i := range ops {
			ops[i].relocate(base)
		}
	}
}

func (op *Op) relocate(base uint64) {
	for j, k := range op.Kinds {
		if k == KindData {
			op.Args[j] += base
			op.Kinds[j] = KindInt
		}
	}
}
