package seccomp

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// maxProgram is the kernel's limit in instructions. Source: BPF_MAXINSNS in
// include/uapi/linux/bpf_common.h.
const maxProgram = 4096

// maxJump is how far a conditional jump reaches: its distance is a byte.
const maxJump = 255

// maxSingles is how many exceptions inside a range are tested one after the
// other instead of by halving.
const maxSingles = 3

// An emitter writes a program from its end to its start. Jumps only go forward,
// so whatever an instruction jumps to has its place already, and whether a
// target is too far is known when the jump is written: then the target, or a
// jump to it, is put within reach first.
//
// The program is kept in reverse: a place is a distance from the end.
type emitter struct {
	reverse []unix.SockFilter
	returns map[action]int // the latest place of each return
}

// emit returns the program of a decision.
func emit(root *node) ([]unix.SockFilter, error) {
	e := emitter{returns: map[action]int{}, reverse: make([]unix.SockFilter, 0, 512)}
	if root.final() {
		e.putReturn(root.ret)
	} else {
		e.node(root)
	}
	if len(e.reverse) > maxProgram {
		return nil, fmt.Errorf("profile needs a filter of %d instructions, the kernel takes %d", len(e.reverse), maxProgram)
	}
	slices.Reverse(e.reverse)
	return e.reverse, nil
}

func (e *emitter) put(code uint16, jt, jf uint8, k uint32) int {
	e.reverse = append(e.reverse, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
	return len(e.reverse) - 1
}

func (e *emitter) putReturn(a action) int {
	e.returns[a] = e.put(unix.BPF_RET|unix.BPF_K, 0, 0, a)
	return e.returns[a]
}

// node writes a question and, before it, the questions that it leads to.
func (e *emitter) node(n *node) {
	for _, s := range n.spans {
		if !s.to.final() && s.to.place < 0 {
			e.node(s.to)
		}
	}
	e.search(pieces(n.spans)) // ends with a jump: there are two answers at least
	if n.mask != noLimit {
		e.put(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, 0, 0, n.mask)
	}
	n.place = e.put(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, n.word)
}

// A piece is a range of values with one answer but for a few single values.
type piece struct {
	from    uint32
	to      *node
	singles []span
}

// pieces gathers spans: a span of one value between two with one and the same
// answer is an exception from it.
func pieces(spans []span) []piece {
	var ps []piece
	for i := 0; i < len(spans); {
		p := piece{from: spans[i].from, to: spans[i].to}
		single := func() bool {
			return i+2 < len(spans) && spans[i+2].to == p.to && spans[i+2].from == spans[i+1].from+1
		}
		for single() && len(p.singles) < maxSingles {
			p.singles = append(p.singles, spans[i+1])
			i += 2
		}
		if !single() {
			i++ // Otherwise the next piece goes on with this answer.
		}
		ps = append(ps, p)
	}
	return ps
}

// A target is what an instruction jumps to: a node or, without one, a place.
type target struct {
	node  *node
	place int
}

// search writes a binary search over the pieces.
func (e *emitter) search(ps []piece) target {
	if len(ps) > 1 {
		m := len(ps) / 2
		right := e.search(ps[m:])
		left := e.search(ps[:m])
		return e.jump(unix.BPF_JGE, ps[m].from, right, left)
	}
	at := target{node: ps[0].to}
	for _, s := range ps[0].singles {
		at = e.jump(unix.BPF_JEQ, s.from, target{node: s.to}, at)
	}
	return at
}

// jump writes a conditional jump, and before it what is not within its reach.
func (e *emitter) jump(op uint16, k uint32, yes, no target) target {
	for {
		// The places of both are asked for anew whenever one was moved, which
		// makes the other's distance longer.
		size := len(e.reverse)
		jt := size - 1 - e.reach(&yes)
		jf := size - 1 - e.reach(&no)
		if size == len(e.reverse) {
			return target{place: e.put(unix.BPF_JMP|op|unix.BPF_K, uint8(jt), uint8(jf), k)}
		}
	}
}

// reach returns a place of the target that the next instruction can jump to.
func (e *emitter) reach(t *target) int {
	size := len(e.reverse)
	near := func(place int) bool { return size-1-place <= maxJump }
	if t.node != nil && t.node.final() {
		if place, ok := e.returns[t.node.ret]; ok && near(place) {
			return place
		}
		return e.putReturn(t.node.ret)
	}
	place := t.place
	if t.node != nil {
		place = t.node.place
	}
	if near(place) {
		return place
	}
	place = e.put(unix.BPF_JMP|unix.BPF_JA, 0, 0, uint32(size-1-place))
	if t.node != nil {
		t.node.place = place
	}
	t.place = place
	return place
}
