package seccomp

import (
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// maxArgs is how many arguments a system call can have.
const maxArgs = 6

func checkCondition(a specs.LinuxSeccompArg) error {
	switch a.Op {
	case specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo,
		specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual:
	default:
		return fmt.Errorf("unknown operator %q", a.Op)
	}
	if a.Index >= maxArgs {
		return fmt.Errorf("argument %d: a system call has %d", a.Index, maxArgs)
	}
	return nil
}

// A comparison is a condition that can be drawn on the line of numbers, which
// is any but MASKED_EQ: it holds in one range, or everywhere but there.
type comparison struct {
	first, last uint64
	not         bool
}

func (c comparison) holds(v uint64) bool {
	return (c.first <= v && v <= c.last) != c.not
}

func compare(a specs.LinuxSeccompArg) comparison {
	const top = ^uint64(0)
	switch a.Op {
	case specs.OpEqualTo:
		return comparison{a.Value, a.Value, false}
	case specs.OpNotEqual:
		return comparison{a.Value, a.Value, true}
	case specs.OpLessEqual:
		return comparison{0, a.Value, false}
	case specs.OpGreaterThan:
		return comparison{0, a.Value, true}
	case specs.OpGreaterEqual:
		return comparison{a.Value, top, false}
	default: // SCMP_CMP_LT
		return comparison{a.Value, top, true}
	}
}

// condition returns the decision by a condition. An ABI with narrow arguments
// compares the low halves of both sides, so that -1 written with 64 bits finds
// the -1 of a program with 32. x32 is not one: its programs fill whole
// registers, and the kernel reads these; libseccomp compares their low halves.
func (c *compiler) condition(a specs.LinuxSeccompArg, narrow bool, yes, no *node) *node {
	if a.Op != specs.OpMaskedEqual {
		return c.ranges(a.Index, narrow, []specs.LinuxSeccompArg{a}, []*node{yes}, no)
	}
	low := wordArgs + 8*uint32(a.Index)
	v := a.Value & a.ValueTwo
	n := c.equal(low, uint32(a.Value), uint32(v), yes, no)
	if narrow {
		return n
	}
	return c.equal(low+wordSize, uint32(a.Value>>32), uint32(v>>32), n, no)
}

// mergeable tells whether two rules are about nothing but one and the same
// argument's place on the line of numbers.
func mergeable(a, b *rule) bool {
	return len(a.conds) == 1 && len(b.conds) == 1 && a.conds[0].Index == b.conds[0].Index &&
		a.conds[0].Op != specs.OpMaskedEqual && b.conds[0].Op != specs.OpMaskedEqual
}

// merge returns the decision by mergeable rules, the first that holds.
func (c *compiler) merge(rules []*rule, narrow bool, otherwise *node) *node {
	conds := make([]specs.LinuxSeccompArg, len(rules))
	to := make([]*node, len(rules))
	for i, r := range rules {
		conds[i], to[i] = r.conds[0], c.final(r.action)
	}
	return c.ranges(conds[0].Index, narrow, conds, to, otherwise)
}

// ranges returns the decision that goes where the first comparison leads that
// holds for the argument.
func (c *compiler) ranges(arg uint, narrow bool, conds []specs.LinuxSeccompArg, to []*node, otherwise *node) *node {
	top := ^uint64(0)
	if narrow {
		top = uint64(noLimit)
	}
	comparisons := make([]comparison, len(conds))
	ends := make([]uint64, 1, 2*len(conds)+1) // where an answer can begin, 0 first
	for i, cond := range conds {
		cond.Value &= top
		cmp := compare(cond)
		comparisons[i] = cmp
		ends = append(ends, cmp.first)
		if cmp.last < top {
			ends = append(ends, cmp.last+1)
		}
	}
	slices.Sort(ends)
	ends = slices.Compact(ends)
	steps := make([]step, len(ends))
	for i, v := range ends {
		steps[i] = step{v, otherwise}
		if j := slices.IndexFunc(comparisons, func(cmp comparison) bool { return cmp.holds(v) }); j >= 0 {
			steps[i].to = to[j]
		}
	}
	return c.decideArg(arg, narrow, steps)
}
