package seccomp

import (
	"encoding/binary"
	"slices"
)

// Where the words of struct seccomp_data are. Source: seccomp(2). All supported
// architectures keep the low half of an argument first.
const (
	wordCall = 0
	wordArch = 4
	wordArgs = 16
	wordSize = 4
)

// A node is a decision: a return value, or a question for one word of the
// call's data with an answer for each range of it. Nodes are shared: a graph
// holds none twice.
type node struct {
	id    uint32
	ret   action // when there are no spans
	word  uint32 // its offset
	mask  uint32 // the bits of the word that count
	spans []span // sorted, the first begins at 0
	place int    // where the emitter has put it
}

// A span goes from a value to the next span's.
type span struct {
	from uint32
	to   *node
}

func (n *node) final() bool { return n.spans == nil }

type graph struct {
	nodes map[string]*node
	key   []byte // scratch
}

// intern returns the node like n that exists already, or n.
func (g *graph) intern(n node) *node {
	k := g.key[:0]
	for _, u := range [...]uint32{n.ret, n.word, n.mask} {
		k = binary.LittleEndian.AppendUint32(k, u)
	}
	for _, s := range n.spans {
		k = binary.LittleEndian.AppendUint32(k, s.from)
		k = binary.LittleEndian.AppendUint32(k, s.to.id)
	}
	g.key = k
	if old := g.nodes[string(k)]; old != nil {
		return old
	}
	if g.nodes == nil {
		g.nodes = map[string]*node{}
	}
	kept := n // and n itself stays off the heap
	kept.id = uint32(len(g.nodes))
	kept.place = -1
	g.nodes[string(k)] = &kept
	return &kept
}

func (g *graph) final(a action) *node { return g.intern(node{ret: a}) }

// decide returns the node that looks at the bits in mask of a word. It takes
// the spans over: neighbours with the same answer become one, and a question
// with one answer is not asked.
func (g *graph) decide(word, mask uint32, spans []span) *node {
	spans = slices.CompactFunc(spans, func(a, b span) bool { return a.to == b.to })
	if len(spans) == 1 {
		return spans[0].to
	}
	return g.intern(node{word: word, mask: mask, spans: spans})
}

// equal returns the node that goes to yes when the bits in mask of a word are v.
func (g *graph) equal(word, mask, v uint32, yes, no *node) *node {
	if mask == 0 {
		return yes // v's bits are among the mask's
	}
	var spans []span
	if v > 0 {
		spans = append(spans, span{0, no})
	}
	spans = append(spans, span{v, yes})
	if v < noLimit {
		spans = append(spans, span{v + 1, no})
	}
	return g.decide(word, mask, spans)
}

// A step is where the answer changes on the way through an argument's values.
type step struct {
	from uint64
	to   *node
}

// decideArg returns the node that looks at a whole argument: at its high half
// first, at its low half only where that matters. steps are sorted, the first
// begins at 0.
func (g *graph) decideArg(arg uint, narrow bool, steps []step) *node {
	low := wordArgs + 8*uint32(arg)
	var highs []span
	for i := 0; i < len(steps); {
		high := uint32(steps[i].from >> 32)
		var lows []span
		if uint32(steps[i].from) != 0 {
			lows = append(lows, span{0, steps[i-1].to})
		}
		for ; i < len(steps) && uint32(steps[i].from>>32) == high; i++ {
			lows = append(lows, span{uint32(steps[i].from), steps[i].to})
		}
		last := lows[len(lows)-1].to
		highs = append(highs, span{high, g.decide(low, noLimit, lows)})
		if high < noLimit && (i == len(steps) || uint32(steps[i].from>>32) > high+1) {
			highs = append(highs, span{high + 1, last})
		}
	}
	if narrow {
		return highs[0].to
	}
	return g.decide(low+wordSize, noLimit, highs)
}
