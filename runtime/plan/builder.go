package plan

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"strings"
	"unsafe"
)

// Builder makes a plan. The zero value is ready for use. Its methods don't
// fail: what a plan can express is fixed when the program is written. What
// can't be fixed then, Err tells at the end.
type Builder struct {
	err     error
	p       Plan
	strings map[string]Arg
	phase   Phase
	step    int
}

// Input reserves the next slot for a descriptor that the launcher is handed.
// All inputs come before the first Slot.
func (b *Builder) Input(name string) Slot {
	b.p.Inputs = append(b.p.Inputs, name)
	return b.Slot()
}

// Slot reserves a new variable.
func (b *Builder) Slot() Slot {
	s := Slot(b.p.slots)
	b.p.slots++
	return s
}

// Step begins a step: the calls that follow belong to it.
func (b *Builder) Step(s Step) {
	b.step = len(b.p.Steps)
	b.phase = s.Phase
	b.p.Steps = append(b.p.Steps, s)
}

// Str puts a string, ended by a zero byte, into the data. Equal strings are
// kept once: nothing may write to them but Walk, which restores them.
func (b *Builder) Str(s string) Arg {
	if a, ok := b.strings[s]; ok {
		return a
	}
	if b.strings == nil {
		b.strings = make(map[string]Arg)
	}
	if strings.IndexByte(s, 0) >= 0 {
		b.err = errors.New(strconv.Quote(s) + " has a zero byte")
	}
	a := b.Data(append([]byte(s), 0))
	b.strings[s] = a
	return a
}

// Data puts bytes into the data, at an address that is a multiple of 8.
func (b *Builder) Data(p []byte) Arg {
	if len(b.p.data) == 0 {
		b.p.data = make([]byte, 8, 1<<14) // offset 0 means "nowhere"
	}
	for len(b.p.data)%8 != 0 {
		b.p.data = append(b.p.data, 0)
	}
	off := len(b.p.data)
	b.p.data = append(b.p.data, p...)
	return Arg{KindData, uint64(off)}
}

// Words puts 64-bit words into the data; a word that is an Arg of kind
// KindData becomes an address. Structures and argument vectors are made so.
func (b *Builder) Words(words ...Arg) Arg {
	raw := make([]byte, 8*len(words))
	for i, w := range words {
		if w.kind == KindInt {
			binary.NativeEndian.PutUint64(raw[8*i:], w.value)
		}
	}
	a := b.Data(raw)
	for i, w := range words {
		if w.kind == KindData {
			b.p.relocs = append(b.p.relocs, reloc{uint32(a.value) + uint32(8*i), uint32(w.value)})
		}
	}
	return a
}

// Strs puts a vector of strings, ended by a null pointer, into the data.
func (b *Builder) Strs(list []string) Arg {
	words := make([]Arg, 0, len(list)+1)
	for _, s := range list {
		words = append(words, b.Str(s))
	}
	return b.Words(append(words, Int(0))...)
}

// At is the address n bytes behind a.
func (a Arg) At(n int) Arg { return Arg{a.kind, a.value + uint64(n)} }

// usual are the numbers of operations that an ordinary container's phases
// have, so that their lists need not grow.
var usual = [phases]int{Host: 32, Child: 512, Undo: 8}

// Call adds a system call, or one of the launcher's own operations, to the
// step that was begun last. The result is good until the next call is added.
func (b *Builder) Call(nr uint32, args ...Arg) *Call {
	op := Op{Call: nr, Step: uint16(b.step), Phase: b.phase, Result: NoSlot}
	for i, a := range args {
		op.Kinds[i], op.Args[i] = a.kind, a.value
	}
	list := &b.p.ops[b.phase]
	if *list == nil {
		*list = make([]Op, 0, usual[b.phase])
	}
	*list = append(*list, op)
	return &Call{&(*list)[len(*list)-1]}
}

// Len is the number of operations of this phase so far: the position that
// the next one will have.
func (b *Builder) Len() int { return len(b.p.ops[b.phase]) }

// SkipFrom makes the call that stands at position at (from Len before it was
// added) answer errno by going on with the operation that is added next.
func (b *Builder) SkipFrom(at int, errnos ...int) {
	c := Call{&b.p.ops[b.phase][at]}
	for _, e := range errnos {
		c.skip(e, b.Len()-at-1)
	}
}

// JumpTo makes the Jump at position at go on with the operation that is added
// next.
func (b *Builder) JumpTo(at int) {
	b.p.ops[b.phase][at].Args[0] = uint64(b.Len() - at - 1)
}

// Err says why what was built is no plan, or nil: a string has a zero byte, by
// which it would end, or there are more steps or slots than have numbers.
func (b *Builder) Err() error {
	if b.err == nil && (len(b.p.Steps) > math.MaxUint16 || b.p.slots >= int(NoSlot)) {
		return errors.New("too many steps")
	}
	return b.err
}

// Plan is the finished plan.
func (b *Builder) Plan(cloneFlags uint64, cgroup Slot) *Plan {
	b.p.CloneFlags, b.p.Cgroup = cloneFlags, cgroup
	if len(b.p.data) == 0 {
		b.Data(nil)
	}
	return &b.p
}

// Call is an operation that is being written.
type Call struct{ op *Op }

// Into keeps the result in a slot.
func (c *Call) Into(s Slot) *Call { c.op.Result = s; return c }

// StoreAt also writes the result, as 32 bits, at an address in the data.
func (c *Call) StoreAt(a Arg) *Call { c.op.Store = uint32(a.value); return c }

// Ignore makes these errors a success.
func (c *Call) Ignore(errnos ...int) *Call {
	for _, e := range errnos {
		c.skip(e, 0)
	}
	return c
}

// Flag sets flags.
func (c *Call) Flag(f OpFlags) *Call { c.op.Flags |= f; return c }

func (c *Call) skip(errno, ops int) {
	for i := range c.op.Skip {
		if c.op.Skip[i].Errno == 0 {
			c.op.Skip[i] = Skip{uint16(errno), uint16(ops)}
			return
		}
	}
	panic("plan: an operation answers three errors at most")
}

const (
	opSize     = unsafe.Sizeof(Op{})
	relocSize  = unsafe.Sizeof(reloc{})
	headerSize = unsafe.Sizeof(header{})
)
