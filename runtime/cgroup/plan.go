package cgroup

import (
	"cmp"
	"encoding/binary"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// Joined is how the container's first process gets into its groups.
type Joined struct {
	// Slot is the directory for CLONE_INTO_CGROUP (plan.Builder.Plan's
	// last argument), or plan.NoSlot where cgroup v2 is not mounted.
	Slot plan.Slot
	// Files are slots of version 1's files to join by; see Join.
	Files []plan.Slot
}

// Join adds the Child step in which the process joins the hierarchies of
// version 1; without one it adds nothing. It has to come before
// unshare(CLONE_NEWCGROUP), which takes the groups of that moment as the
// namespace's root: that flag must not be given to clone3 itself, neither
// with version 2, because the kernel copies namespaces before it moves the
// child into its group.
//
// The child joins by the file tasks, not cgroup.procs: it has one thread, and
// the kernel moves one thread without stopping all forks of the machine,
// which takes it an RCU grace period (6 to 15 ms) per hierarchy otherwise.
func (j Joined) Join(b *plan.Builder) {
	if len(j.Files) == 0 {
		return
	}
	b.Step(plan.Step{Phase: plan.Child, Verb: "join", Object: "cgroup",
		Why: "the limits hold from here on, for it and all its children"})
	for _, f := range j.Files {
		b.Call(unix.SYS_WRITE, f.Value(), b.Str("0"), plan.Int(1))
	}
}

// Options are what the starter of a container decides about its group.
type Options struct {
	// Optional are controllers whose limits are wishes of minict's own, such
	// as the default pids limit: where the machine has no such controller
	// they are quietly left out.
	Optional Set
	// Shared says that the groups beside this one have the same device
	// rules, now and ever: on version 2 they become a filter of the group
	// above, which the first container puts there and which stays. To load
	// a filter, and to drop the only one of the machine, takes as long as to
	// make all namespaces.
	Shared bool
	// Engine says that another engine chose the path, and looks after the
	// group itself; engine.go says what it expects.
	Engine bool
}

// Plan adds the Host steps that make the group path, hand it its controllers
// and write its limits, and the Undo steps that remove it. It fails when a
// resource is asked for that the machine has no controller for, unless that
// is optional.
//
// A group that exists is refused when the plan is carried out (EEXIST): it is
// another container's, or was left by one that crashed and is to be removed
// by Remove first. It is not touched by Undo either. Only an engine's may
// exist; see Options.
func (l Layout) Plan(b *plan.Builder, path string, r *specs.LinuxResources, opt Options) (Joined, error) {
	joined := Joined{Slot: plan.NoSlot}
	if err := checkPath(path); err != nil {
		return joined, err
	}
	groups, err := l.groups(r, opt)
	if err != nil {
		return joined, err
	}
	p := planner{b: b, layout: l, path: path, opt: opt}
	for _, g := range groups {
		p.host(g, &joined)
	}
	for _, g := range groups {
		p.undo(g)
	}
	return joined, nil
}

// group is what is to be made in one hierarchy.
type group struct {
	mounted
	writes  []write
	filter  *filter
	program []instruction // the filter's, on version 2
	made    *plan.Arg     // see planner.host
}

// mounted is a hierarchy of either version.
type mounted struct {
	mount string
	v2    bool
	set   Set
}

func (l Layout) mounts() []mounted {
	list := make([]mounted, 0, len(l.V1)+1)
	two := l.Available | implicit
	for _, h := range l.V1 {
		list = append(list, mounted{h.Mount, false, h.Controllers})
		two &^= h.Controllers
	}
	if l.Unified != "" {
		list = append(list, mounted{l.Unified, true, two})
	}
	return list
}

// groups says in which hierarchies there has to be a group, and with what.
// Each costs about 0.1 ms to make, join and remove, so these are as few as
// are right: version 2 wherever it is mounted (to kill and to freeze), memory
// (nobody could be told of an OOM kill without), those with a limit; and for
// what version 2 would give, the freezer and cpuacct, if it is not mounted.
// An engine gets one everywhere.
func (l Layout) groups(r *specs.LinuxResources, opt Options) ([]*group, error) {
	writes, err := l.writes(r, opt.Optional, current{})
	if err != nil {
		return nil, err
	}
	filter, err := l.deviceFilter(r, opt)
	if err != nil {
		return nil, err
	}
	used := Memory
	if opt.Engine {
		used = everything
	}
	if l.Unified == "" {
		used |= Freezer | CPUAcct
	}
	used |= needs(writes)
	if filter != nil {
		used |= Devices
	}
	var list []*group
	for _, m := range l.mounts() {
		if !m.v2 && m.set&used == 0 {
			continue
		}
		g := &group{mounted: m}
		if mount, _, _ := l.on(Devices); mount == m.mount {
			g.filter = filter
		}
		if g.filter != nil && g.v2 {
			if g.program, err = filter.program(); err != nil {
				return nil, err
			}
		}
		for _, w := range writes {
			if w.set == 0 && m.v2 || w.set&m.set != 0 {
				g.writes = append(g.writes, w)
			}
		}
		list = append(list, g)
	}
	return list, nil
}

// planner writes the steps for one path.
type planner struct {
	b      *plan.Builder
	layout Layout
	path   string
	opt    Options
}

// host makes a group. The data keeps the descriptor of its directory, in the
// place of attr.target_fd of bpf(2)'s BPF_PROG_ATTACH, and a mark that is 0 as
// long as the group was not made by this plan.
func (p *planner) host(g *group, joined *Joined) {
	b := p.b
	attach, made := b.Data(attachment()), b.Data(make([]byte, 4))
	g.made = &made
	if g.v2 {
		p.prepare(g)
	}
	b.Step(plan.Step{Phase: plan.Host, Verb: "make", Object: "cgroup " + p.path, Detail: g.mount + p.path,
		Why: "what the container's processes use is counted and limited together", Undone: "minict removes it"})
	if !g.v2 {
		for _, dir := range parents(p.path)[1:] {
			p.mkdir(g, dir).Ignore(int(unix.EEXIST))
			p.copyCPUSet(g, dir)
		}
	}
	exists := b.Len()
	p.mkdir(g, p.path)
	b.Call(unix.SYS_GETPID).StoreAt(made) // it can't fail, and is not 0
	if p.opt.Engine {
		b.SkipFrom(exists, int(unix.EEXIST))
	}
	dir := b.Slot()
	b.Call(unix.SYS_OPENAT, plan.Int(unix.AT_FDCWD), b.Str(g.mount+p.path),
		plan.Int(unix.O_DIRECTORY|unix.O_CLOEXEC)).Into(dir).StoreAt(attach)
	p.copyCPUSet(g, p.path)
	if p.opt.Engine {
		p.takeOver(g)
	}
	for _, w := range g.writes {
		b.Step(plan.Step{Phase: plan.Host, Verb: "limit", Object: w.what,
			Detail: w.file + " = " + w.value, Why: w.why})
		p.write(dir, w)
	}
	if g.filter != nil && !p.shares(g) {
		p.devices(g, dir, attach)
	}
	if g.v2 {
		joined.Slot = dir
		return
	}
	joined.Files = append(joined.Files, open(b, dir.Value(), "tasks", unix.O_WRONLY))
}

func (p *planner) mkdir(g *group, dir string) *plan.Call {
	return p.b.Call(unix.SYS_MKDIRAT, plan.Int(unix.AT_FDCWD), p.b.Str(g.mount+dir), plan.Int(0o755))
}

// prepare makes the groups of version 2 above, and has them hand down
// controllers.
func (p *planner) prepare(g *group) {
	above := parents(p.path)
	p.b.Step(plan.Step{Phase: plan.Host, Verb: "prepare", Object: "cgroup " + cmp.Or(above[len(above)-1], "/"),
		Detail: g.mount, Why: "it hands the controllers down to the container's group", Undone: "it stays for the next container"})
	for _, dir := range above {
		if dir != "" {
			p.mkdir(g, dir).Ignore(int(unix.EEXIST))
		}
		p.wish(g, dir)
	}
	for _, dir := range above {
		p.need(g, dir)
	}
	if p.shares(g) {
		p.shareDevices(g, above[len(above)-1])
	}
}

// shares says whether the group gets its device rules from the group above.
func (p *planner) shares(g *group) bool { return p.opt.Shared && g.v2 && g.filter != nil }

// shareDevices gives the group above the filter, unless it has one. Two that
// are the first at the same time both do; that does no harm.
func (p *planner) shareDevices(g *group, above string) {
	b := p.b
	b.Step(plan.Step{Phase: plan.Host, Verb: "limit", Object: "devices", Detail: g.filter.String(),
		Why: "a device node made inside opens nothing else", Undone: "it stays for the next container"})
	attach, query := b.Data(attachment()), b.Data(filterQuery())
	dir, again := b.Slot(), b.Slot() // its number has to stand in both
	b.Call(unix.SYS_OPENAT, plan.Int(unix.AT_FDCWD), b.Str(g.mount+above),
		plan.Int(unix.O_DIRECTORY|unix.O_CLOEXEC)).Into(dir).StoreAt(attach)
	b.Call(unix.SYS_FCNTL, dir.Value(), plan.Int(unix.F_DUPFD_CLOEXEC), plan.Int(0)).Into(again).StoreAt(query)
	b.Call(unix.SYS_BPF, plan.Int(unix.BPF_PROG_QUERY), query, plan.Int(filterQuerySize)).Flag(plan.AnyError)
	there := b.Len()
	b.Call(plan.Expect32, query.At(filterCount), plan.Int(0), plan.Int(^uint32(0)), plan.Int(int(unix.EEXIST)))
	p.program(g.program, attach)
	b.SkipFrom(there, int(unix.EEXIST))
	b.Call(unix.SYS_CLOSE, again.Value())
	b.Call(unix.SYS_CLOSE, dir.Value())
}

// parents gives the groups above path, from the root, which is "".
func parents(path string) []string {
	var list []string
	for i := range path {
		if path[i] == '/' {
			list = append(list, path[:i])
		}
	}
	return list
}

// base are the controllers that a group of version 2 gets without a limit,
// for measuring, and so that update needs to enable nothing.
const base = CPU | Memory | Pids | IO

// known are the controllers that dir hands down already. They are left out:
// the kernel waits there for groups that are being removed.
func (p *planner) known(dir string) Set {
	if dir == "" || dir == Parent || dir == Usual {
		return p.layout.Enabled
	}
	return 0
}

// wish hands controllers from dir down to its children that may be missing.
// Wished ones and base are written apart, because the kernel refuses all of a
// line for one.
func (p *planner) wish(g *group, dir string) {
	need, known := needs(g.writes), p.known(dir)
	p.control(g.mount+dir, need&^known&p.opt.Optional, plan.AnyError)
	p.control(g.mount+dir, base&p.layout.Available&^need&^known, plan.AnyError)
}

// need hands those down that there are limits for. That is refused (EBUSY) to
// a group with processes of its own, cgroup-v2.rst "No Internal Process
// Constraint".
func (p *planner) need(g *group, dir string) {
	set := needs(g.writes) &^ p.known(dir) &^ p.opt.Optional
	if set == 0 {
		return
	}
	who := "cgroup " + dir + ", which must not have processes of its own"
	if dir == "" {
		who = "the root cgroup"
	}
	p.b.Step(plan.Step{Phase: plan.Host, Verb: "hand down", Object: set.String() + " from " + who,
		Detail: g.mount + dir, Why: "limits need their controllers", Undone: "it stays for the next container"})
	p.control(g.mount+dir, set, 0)
}

func (p *planner) control(dir string, set Set, flag plan.OpFlags) {
	if set == 0 {
		return
	}
	f := open(p.b, plan.Int(unix.AT_FDCWD), dir+"/cgroup.subtree_control", unix.O_WRONLY)
	value := set.join("+")
	p.b.Call(unix.SYS_WRITE, f.Value(), p.b.Str(value), plan.Int(len(value))).Flag(flag)
	p.b.Call(unix.SYS_CLOSE, f.Value())
}

// write writes one value, or the other one for kernels without the file.
func (p *planner) write(dir plan.Slot, w write) {
	at := p.b.Len()
	f := open(p.b, dir.Value(), w.file, unix.O_WRONLY)
	p.b.Call(unix.SYS_WRITE, f.Value(), p.b.Str(w.value), plan.Int(len(w.value)))
	p.b.Call(unix.SYS_CLOSE, f.Value())
	switch {
	case w.other != nil:
		done := p.b.Len()
		p.b.Call(plan.Jump)
		p.b.SkipFrom(at, int(unix.ENOENT))
		p.write(dir, *w.other)
		p.b.JumpTo(done)
	case w.spare:
		p.b.SkipFrom(at, int(unix.ENOENT))
	}
}

// copyCPUSet gives a new group of version 1 its parent's CPUs and memory
// nodes: it has none, and no process could join it. Those that a limit names
// are overwritten after.
func (p *planner) copyCPUSet(g *group, dir string) {
	if g.v2 || g.set&CPUSet == 0 {
		return
	}
	b := p.b
	const size = 4096
	buf, n := b.Data(make([]byte, size)), b.Slot()
	up := g.mount + dir[:strings.LastIndexByte(dir, '/')]
	for _, file := range []string{"/cpuset.cpus", "/cpuset.mems"} {
		own := open(b, plan.Int(unix.AT_FDCWD), g.mount+dir+file, unix.O_RDWR)
		b.Call(unix.SYS_PREAD64, own.Value(), buf, plan.Int(size), plan.Int(0))
		full := b.Len()
		b.Call(plan.Expect, buf, plan.Int(int('\n')), plan.Int(int(unix.EEXIST)))
		parent := open(b, plan.Int(unix.AT_FDCWD), up+file, unix.O_RDONLY)
		b.Call(unix.SYS_PREAD64, parent.Value(), buf, plan.Int(size), plan.Int(0)).Into(n)
		b.Call(unix.SYS_WRITE, own.Value(), buf, n.Value())
		b.Call(unix.SYS_CLOSE, parent.Value())
		b.SkipFrom(full, int(unix.EEXIST))
		b.Call(unix.SYS_CLOSE, own.Value())
	}
}

func (p *planner) devices(g *group, dir plan.Slot, attach plan.Arg) {
	b := p.b
	b.Step(plan.Step{Phase: plan.Host, Verb: "limit", Object: "devices",
		Detail: g.filter.String(), Why: "a device node made inside opens nothing else"})
	if g.v2 {
		p.program(g.program, attach)
		return
	}
	file, f := "", plan.NoSlot
	for _, w := range g.filter.writes() {
		if w.file != file {
			if file != "" {
				b.Call(unix.SYS_CLOSE, f.Value())
			}
			file, f = w.file, open(b, dir.Value(), w.file, unix.O_WRONLY)
		}
		b.Call(unix.SYS_WRITE, f.Value(), b.Str(w.value), plan.Int(len(w.value)))
	}
	b.Call(unix.SYS_CLOSE, f.Value())
}

// loadTries is how often a filter is loaded: the kernel gives up checking it
// (EAGAIN) whenever a signal comes in, as the Go runtime sends to itself.
const loadTries = 5

// program loads the filter and attaches it, bpf(2).
func (p *planner) program(code []instruction, attach plan.Arg) {
	b := p.b
	load := b.Words(
		plan.Int(pair(unix.BPF_PROG_TYPE_CGROUP_DEVICE, uint32(len(code)))),
		b.Data(encode(code)),
		b.Str(""), // the licence: it calls nothing that asks for one
		plan.Int(0), plan.Int(0), plan.Int(0), plan.Int(0), plan.Int(0))
	prog := b.Slot()
	var loads, jumps []int
	for try := range loadTries {
		if try > 0 {
			jumps = append(jumps, b.Len())
			b.Call(plan.Jump)
			b.SkipFrom(loads[try-1], int(unix.EAGAIN))
		}
		loads = append(loads, b.Len())
		b.Call(unix.SYS_BPF, plan.Int(unix.BPF_PROG_LOAD), load, plan.Int(64)).Into(prog).StoreAt(attach.At(4))
	}
	for _, jump := range jumps {
		b.JumpTo(jump)
	}
	b.Call(unix.SYS_BPF, plan.Int(unix.BPF_PROG_ATTACH), attach, plan.Int(16))
	b.Call(unix.SYS_CLOSE, prog.Value())
	if p.opt.Optional&Devices != 0 {
		for _, at := range loads {
			b.SkipFrom(at, int(unix.EPERM), int(unix.ENOSYS))
		}
	}
}

// attachment is the attr of BPF_PROG_ATTACH without its two descriptors. The
// filter is added to those of the groups above: all have to allow.
func attachment() []byte {
	attr := make([]byte, 16) // target_fd, attach_bpf_fd, attach_type, attach_flags
	binary.NativeEndian.PutUint32(attr[8:], unix.BPF_CGROUP_DEVICE)
	binary.NativeEndian.PutUint32(attr[12:], unix.BPF_F_ALLOW_MULTI)
	return attr
}

// filterQuery is the attr of BPF_PROG_QUERY without its descriptor; the kernel
// writes the number of filters into it.
func filterQuery() []byte {
	attr := make([]byte, filterQuerySize) // target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt
	binary.NativeEndian.PutUint32(attr[4:], unix.BPF_CGROUP_DEVICE)
	return attr
}

const (
	filterQuerySize = 32
	filterCount     = 24 // the offset of prog_cnt
)

// pair gives two 32-bit fields that stand side by side as one 64-bit word.
func pair(first, second uint32) uint64 {
	raw := binary.NativeEndian.AppendUint32(nil, first)
	return binary.NativeEndian.Uint64(binary.NativeEndian.AppendUint32(raw, second))
}

// undo removes the group if the plan made it.
func (p *planner) undo(g *group) {
	b := p.b
	b.Step(plan.Step{Phase: plan.Undo, Verb: "remove", Object: "cgroup " + p.path, Detail: g.mount + p.path})
	unmade := b.Len()
	b.Call(plan.Expect32, *g.made, plan.Int(0), plan.Int(^uint32(0)), plan.Int(int(unix.EEXIST)))
	skip := b.Len()
	b.Call(plan.Jump)
	b.SkipFrom(unmade, int(unix.EEXIST))
	b.Call(plan.Rmdir, b.Str(g.mount+p.path))
	b.JumpTo(skip)
}

func open(b *plan.Builder, dir plan.Arg, name string, flags int) plan.Slot {
	s := b.Slot()
	b.Call(unix.SYS_OPENAT, dir, b.Str(name), plan.Int(flags|unix.O_CLOEXEC)).Into(s)
	return s
}
