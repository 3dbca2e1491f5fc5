package cgroup

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// An engine that runs its containers with minict (containerd, Podman, …)
// expects of a group what runtimes have always done, beyond the specification:
//
//   - It is in every hierarchy, because the engine looks for the container's
//     meters there by itself.
//   - The engine may have made it before, as long as nobody is in it and it is
//     not frozen: a process that joins a frozen group never runs, and one that
//     joins another container's group would be killed with that.
//   - The devices of every container (/dev/null and its like) can be used
//     whatever the rules say, and without rules these alone.
//   - It may lie below a threaded group of version 2.
const everything = ^Set(0)

// takeOver refuses a group that exists, and was not made by this plan, unless
// it is as good as new.
func (p *planner) takeOver(g *group) {
	b := p.b
	b.Step(plan.Step{Phase: plan.Host, Verb: "check", Object: "that nobody is in cgroup " + p.path + " and it is not frozen",
		Detail: g.mount + p.path, Why: "another container's group would end with that one"})
	made := b.Len()
	b.Call(plan.Expect32, *g.made, plan.Int(0), plan.Int(^uint32(0)), plan.Int(int(unix.EEXIST)))
	if g.v2 { // populated 0, frozen 0
		p.expect(g, "cgroup.events", len("populated "), '0')
		p.expect(g, "cgroup.events", len("populated 0\nfrozen "), '0')
	} else {
		p.expect(g, "cgroup.procs", 0, 0)
		if g.set&Freezer != 0 {
			p.expect(g, "freezer.state", 0, 'T') // THAWED
		}
	}
	b.SkipFrom(made, int(unix.EEXIST))
	if g.v2 {
		p.thread(g)
	}
}

// expect fails with EBUSY unless the byte stands in the file at the offset; 0
// is behind its end.
func (p *planner) expect(g *group, file string, offset int, want byte) {
	b := p.b
	buf := b.Data(make([]byte, 64))
	f := open(b, plan.Int(unix.AT_FDCWD), g.mount+p.path+"/"+file, unix.O_RDONLY)
	b.Call(unix.SYS_PREAD64, f.Value(), buf, plan.Int(64), plan.Int(0))
	b.Call(plan.Expect, buf.At(offset), plan.Int(int(want)), plan.Int(int(unix.EBUSY)))
	b.Call(unix.SYS_CLOSE, f.Value())
}

// domain are controllers of version 2 that can't divide what belongs to
// processes, and not to threads, cgroup-v2.rst "Threads".
const domain = Memory | IO | HugeTLB | RDMA | Misc

// thread makes a group below a threaded one threaded too: as it is made
// ("domain invalid") nobody may enter it. Limits on what is not a thread's are
// refused there (EOPNOTSUPP).
func (p *planner) thread(g *group) {
	b := p.b
	b.Step(plan.Step{Phase: plan.Host, Verb: "fit", Object: "cgroup " + p.path + " below a threaded one",
		Detail: g.mount + p.path, Why: "nobody could enter it otherwise"})
	buf := b.Data(make([]byte, 32))
	f := open(b, plan.Int(unix.AT_FDCWD), g.mount+p.path+"/cgroup.type", unix.O_RDWR)
	b.Call(unix.SYS_PREAD64, f.Value(), buf, plan.Int(32), plan.Int(0))
	usual := b.Len()
	b.Call(plan.Expect, buf.At(len("domain ")), plan.Int(int('i')), plan.Int(int(unix.EEXIST)))
	if needs(g.writes)&domain != 0 {
		b.Call(plan.Expect, buf, plan.Int(0), plan.Int(int(unix.EOPNOTSUPP)))
	}
	b.Call(unix.SYS_WRITE, f.Value(), b.Str("threaded"), plan.Int(len("threaded")))
	b.SkipFrom(usual, int(unix.EEXIST))
	b.Call(unix.SYS_CLOSE, f.Value())
}

// needs are the controllers that the writes go to.
func needs(list []write) (need Set) {
	for _, w := range list {
		need |= w.set
	}
	return need
}

// ordinary are rules for the devices that the specification says each
// container has (config-linux.md, "Default Devices"), and for terminals.
var ordinary = []rule{
	{true, 'c', 1, 3, accessAll}, {true, 'c', 1, 5, accessAll}, {true, 'c', 1, 7, accessAll}, // null, zero, full
	{true, 'c', 1, 8, accessAll}, {true, 'c', 1, 9, accessAll}, // random, urandom
	{true, 'c', 5, 0, accessAll}, {true, 'c', 5, 1, accessAll}, // tty, console
	{true, 'c', 5, 2, accessAll}, {true, 'c', 136, anyNumber, accessAll}, // ptmx, pts/*
}

// nodes are rules for making device nodes, which is not the same as using
// them. They come last: version 1 can't except anything from them.
var nodes = []rule{{true, 'c', anyNumber, anyNumber, accessMknod}, {true, 'b', anyNumber, anyNumber, accessMknod}}

// extended is the filter with what an engine expects, but for the devices that
// a rule of its own denies.
func (f *filter) extended() *filter {
	switch {
	case f == nil:
		f = &filter{}
	case f.allowed:
		return f
	}
	rules := slices.Clone(f.rules)
	for _, r := range ordinary {
		denied := func(own rule) bool { return !own.allow && own.meets(r) }
		if !slices.ContainsFunc(f.rules, denied) {
			rules = append(rules, r)
		}
	}
	return &filter{rules: append(rules, nodes...)}
}

// deviceFilter gives the filter, or nil if there is to be none.
func (l Layout) deviceFilter(r *specs.LinuxResources, opt Options) (*filter, error) {
	var rules []specs.LinuxDeviceCgroup
	if r != nil {
		rules = r.Devices
	}
	f, err := newFilter(rules)
	if err == nil && opt.Engine {
		f = f.extended()
	}
	if f == nil || err != nil {
		return nil, err
	}
	w := writer{layout: l, optional: opt.Optional}
	v2, ok := w.version(Devices, "device rules")
	if !ok {
		if len(w.errs) > 0 {
			return nil, w.errs[0]
		}
		return nil, nil
	}
	if !v2 {
		_, err = f.exceptions()
	}
	return f, err
}
