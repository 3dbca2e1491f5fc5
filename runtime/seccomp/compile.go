// Package seccomp turns OCI seccomp profiles into filters: programs for the
// kernel's classic BPF machine that look at each system call of a process
// before the kernel does. docs/seccomp.md tells how.
//
// It agrees with runc and libseccomp on what a profile means, where these are
// not at odds with the OCI specification:
//
//   - A rule without conditions beats the ones with conditions for the same
//     call; among equals the first in the profile counts.
//   - All conditions of a rule must hold, unless two look at the same argument:
//     then each condition is a rule of its own.
//   - MASKED_EQ compares the bits of the argument that are set in value with
//     those of valueTwo.
//   - A rule whose action is the default one is left out.
//   - The kernel's own architecture is always part of the filter; a call by any
//     other that the profile doesn't list kills the calling thread.
//   - Names that no supported architecture knows are left out.
//   - A call with a number above all that the profile names answers ENOSYS, for
//     each architecture, unless the default action is ALLOW, LOG or TRACE: the
//     C library then falls back to an older call, which it doesn't after EPERM.
//
// It differs in that architectures which the machine can't execute are left out
// of the filter, and as described at muxRule and condition.
package seccomp

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Compile returns the filter for a profile, and the flags to give seccomp(2)
// with it. arch is the kernel's architecture by Go's name: amd64, 386, arm64 or
// arm. The flags contain SECCOMP_FILTER_FLAG_NEW_LISTENER when the profile asks
// for notifications: whoever installs such a filter must have done with all
// calls that it notifies about before anyone listens.
func Compile(p *specs.LinuxSeccomp, arch string) ([]unix.SockFilter, uint32, error) {
	prog, flags, err := compile(p, arch)
	if err != nil {
		return nil, 0, fmt.Errorf("seccomp profile: %w", err)
	}
	return prog, flags, nil
}

func compile(p *specs.LinuxSeccomp, arch string) ([]unix.SockFilter, uint32, error) {
	if p == nil {
		return nil, 0, errors.New("there is none")
	}
	wanted, err := wantedABIs(p.Architectures, arch)
	if err != nil {
		return nil, 0, err
	}
	c := compiler{}
	if err := c.read(p); err != nil {
		return nil, 0, err
	}
	flags, err := parseFlags(p, c.notify)
	if err != nil {
		return nil, 0, err
	}
	prog, err := emit(c.machine(wanted))
	return prog, flags, err
}

// wantedABIs returns the ABIs that a filter has to know.
func wantedABIs(archs []specs.Arch, native string) ([]abi, error) {
	all, own := family(native)
	if all == nil {
		return nil, fmt.Errorf("no filters for the architecture %s", native)
	}
	for _, a := range archs {
		if !knownArch(a) {
			return nil, fmt.Errorf("unknown architecture %q", a)
		}
	}
	var wanted []abi
	for _, a := range all {
		if a.arch == own || slices.Contains(archs, a.arch) {
			wanted = append(wanted, a)
		}
	}
	return wanted, nil
}

// A rule is what a profile says about one system call.
type rule struct {
	name   string
	call   int // the name's place in the tables
	action action
	conds  []specs.LinuxSeccompArg
}

// A compiler holds a profile as it was read, and the decisions made from it.
type compiler struct {
	graph
	normal action // the default
	rules  []rule // in the profile's order
	notify bool
}

// read checks a profile whole and takes its rules apart.
func (c *compiler) read(p *specs.LinuxSeccomp) (err error) {
	if c.normal, err = parseAction(p.DefaultAction, p.DefaultErrnoRet); err != nil {
		return fmt.Errorf("default: %w", err)
	}
	if c.normal == unix.SECCOMP_RET_USER_NOTIF {
		return fmt.Errorf("default: %s would stop the container before anyone can listen", p.DefaultAction)
	}
	size := 0
	for _, s := range p.Syscalls {
		size += len(s.Names)
	}
	c.rules = make([]rule, 0, size)
	for i, s := range p.Syscalls {
		if err := c.readRule(s); err != nil {
			if len(s.Names) > 0 {
				return fmt.Errorf("rule %d (%s): %w", i+1, s.Names[0], err)
			}
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	if c.notify && p.ListenerPath == "" {
		return fmt.Errorf("%s needs a listenerPath", specs.ActNotify)
	}
	if p.ListenerMetadata != "" && p.ListenerPath == "" {
		return errors.New("listenerMetadata without a listenerPath")
	}
	return nil
}

func (c *compiler) readRule(s specs.LinuxSyscall) error {
	act, err := parseAction(s.Action, s.ErrnoRet)
	if err != nil {
		return err
	}
	c.notify = c.notify || act == unix.SECCOMP_RET_USER_NOTIF
	if len(s.Names) == 0 {
		return errors.New("names are missing")
	}
	var seen [maxArgs]bool
	apart := false
	for _, a := range s.Args {
		if err := checkCondition(a); err != nil {
			return err
		}
		apart = apart || seen[a.Index]
		seen[a.Index] = true
	}
	for _, name := range s.Names {
		if name == "" {
			return errors.New("a name is empty")
		}
		r := rule{name: name, call: call(name), action: act, conds: s.Args}
		switch {
		case r.call < 0: // No architecture knows it: the profile is for newer kernels.
		case !apart:
			c.rules = append(c.rules, r)
		default:
			for i := range s.Args {
				r.conds = s.Args[i : i+1]
				c.rules = append(c.rules, r)
			}
		}
	}
	return nil
}

// machine returns the decision about calls by any ABI.
func (c *compiler) machine(wanted []abi) *node {
	kill := c.final(unix.SECCOMP_RET_KILL_THREAD)
	spans := []span{{0, kill}}
	for len(wanted) > 0 {
		n := 1
		for n < len(wanted) && wanted[n].audit == wanted[0].audit {
			n++
		}
		audit := wanted[0].audit
		spans = append(spans, span{audit, c.table(wanted[:n])}, span{audit + 1, kill})
		wanted = wanted[n:]
	}
	return c.decide(wordArch, noLimit, spans)
}

// table returns the decision about calls by those ABIs that the kernel gives
// one name: one ABI, or x86_64 and x32.
func (c *compiler) table(same []abi) *node {
	var spans []span
	next := uint32(0) // the first number not decided about
	for _, a := range same {
		if a.first > next {
			spans = append(spans, c.outside(next)...)
		}
		spans = append(spans, c.numbers(a)...)
		next = a.last + 1
	}
	if next != 0 {
		spans = append(spans, c.outside(next)...)
	}
	return c.decide(wordCall, noLimit, spans)
}

// outside returns the decision about numbers from first on that belong to an
// ABI which the profile doesn't list, x86_64 or x32. -1 is not one of these: a
// tracer sets it to have a call skipped.
func (c *compiler) outside(first uint32) []span {
	spans := []span{{first, c.final(unix.SECCOMP_RET_KILL_THREAD)}}
	if first > 0 {
		spans = append(spans, span{noLimit, c.final(c.normal)})
	}
	return spans
}

// numbers returns the decision about an ABI's calls.
func (c *compiler) numbers(a abi) []span {
	rules := c.forABI(a)
	newest := rules.newest
	normal := c.final(c.normal)
	spans := append(make([]span, 0, 2*len(rules.keys)), span{a.first, normal})
	set := func(nr uint32, n *node) {
		if spans[len(spans)-1].from == nr {
			spans[len(spans)-1].to = n
		} else {
			spans = append(spans, span{nr, n})
		}
	}
	unknown := func() { // the calls above newest, when all below are decided about
		if newest > 0 && newest < a.last && refuses(c.normal) {
			set(newest+1, c.final(enosys))
			if a.private < a.last {
				set(a.private, normal)
			}
		}
		newest = 0
	}
	for nr, about := range rules.byNumber() {
		if nr > newest {
			unknown()
		}
		set(nr, c.chain(about, a.narrow))
		if nr < a.last {
			set(nr+1, normal)
		}
	}
	unknown()
	return spans
}

// ruleset are the rules that are about an ABI's numbers.
type ruleset struct {
	rules  []*rule  // in the profile's order
	keys   []uint64 // a number above, the place of a rule for it below
	newest uint32   // the largest number that the profile is about, 0 for none
}

// byNumber yields each number, in order, with the rules for it.
func (s *ruleset) byNumber() iter.Seq2[uint32, []*rule] {
	return func(yield func(uint32, []*rule) bool) {
		slices.Sort(s.keys)
		var about []*rule
		for i, k := range s.keys {
			nr := uint32(k >> 32)
			about = append(about, s.rules[uint32(k)])
			if i+1 < len(s.keys) && uint32(s.keys[i+1]>>32) == nr {
				continue
			}
			if !yield(nr, about) {
				return
			}
			about = about[:0]
		}
	}
}

func (c *compiler) forABI(a abi) *ruleset {
	s := &ruleset{rules: make([]*rule, 0, len(c.rules)), keys: make([]uint64, 0, len(c.rules))}
	add := func(nr uint32, r *rule) {
		if nr < a.private {
			s.newest = max(s.newest, nr)
		}
		if r.action != c.normal {
			s.keys = append(s.keys, uint64(nr)<<32|uint64(len(s.rules)))
			s.rules = append(s.rules, r)
		}
	}
	for i := range c.rules {
		r := &c.rules[i]
		if nr, ok := a.number(r.call); ok {
			add(nr, r)
		}
		if m, ok := a.mux(r.name); ok {
			nr, _ := a.number(call(m.through))
			add(nr, c.muxRule(*r, m))
		}
	}
	return s
}

// muxRule returns the rule for a call when it is made through socketcall or ipc.
// A filter can't see such a call's arguments. libseccomp takes conditions on
// them for true; here that is so only for rules that make the filter stricter,
// and one that permits more than the default leaves these calls to the default.
func (c *compiler) muxRule(r rule, m muxed) *rule {
	if len(r.conds) > 0 && permits(r.action) > permits(c.normal) {
		r.action = c.normal
	}
	r.conds = []specs.LinuxSeccompArg{{
		Op: specs.OpMaskedEqual, Value: uint64(m.mask), ValueTwo: uint64(m.first),
	}}
	return &r
}

// chain returns the decision about one call from the rules for it.
func (c *compiler) chain(rules []*rule, narrow bool) *node {
	for _, r := range rules {
		if len(r.conds) == 0 {
			return c.final(r.action)
		}
	}
	next := c.final(c.normal)
	for len(rules) > 0 {
		last := len(rules) - 1
		first := last
		for first > 0 && mergeable(rules[first-1], rules[last]) && mergeable(rules[last], rules[last]) {
			first--
		}
		if mergeable(rules[last], rules[last]) {
			next = c.merge(rules[first:], narrow, next)
		} else {
			next = c.all(rules[last], narrow, next)
		}
		rules = rules[:first]
	}
	return next
}

// all returns the decision by a rule all of whose conditions must hold.
func (c *compiler) all(r *rule, narrow bool, otherwise *node) *node {
	n := c.final(r.action)
	for _, cond := range slices.Backward(r.conds) {
		n = c.condition(cond, narrow, n, otherwise)
	}
	return n
}
