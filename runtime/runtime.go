// Package runtime turns an OCI specification into a process.
//
// Compile reads a specification (OCI runtime specification 1.3) and writes
// the plan (package plan) that makes the container: a pure function, without
// a look at the machine beyond what it is told in Host. Package launch
// carries the plan out. What a container is made of can be read off here,
// file by file: namespaces, mounts, devices, process, terminal.
package runtime

import (
	"errors"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/cgroup"
	"minict/runtime/plan"
)

// ErrSpec says that a specification asks for something that is wrong or that
// can't be had here. What exactly is in the text of the error that wraps it.
var ErrSpec = errors.New("bad specification")

// Host is what Compile has to know of the machine.
type Host struct {
	Cgroup cgroup.Layout
	// Rootless says that the caller is not the root of the machine: an
	// ordinary user, or root in a user namespace.
	Rootless bool
	LastCap  int    // highest capability of the kernel, /proc/sys/kernel/cap_last_cap
	Denied   uint64 // capabilities that this process does not have itself, a bit for each
	// The security modules that the kernel runs with.
	AppArmor, SELinux bool
}

// Filter is a compiled seccomp filter, see package seccomp.
type Filter struct {
	Program []byte // array of struct sock_filter
	Flags   uint   // SECCOMP_FILTER_FLAG_*
}

// File is a small file that is made for a container, such as /etc/hosts. It
// lies in memory, in a filesystem of the container's own, and is gone with it.
type File struct {
	Target  string // absolute path in the root filesystem; made if nothing is there and that can be written to
	Content string
	// Shared says that it is another container's, and has its content
	// already: the launcher is handed a detached mount of it, input
	// InputFile and the target.
	Shared bool
}

// Options are what a specification has no words for.
type Options struct {
	// Root says that the launcher is handed the root filesystem as a
	// detached mount, input InputRoot; Spec.Root.Path is not looked at.
	Root bool
	// Anchor is a directory of the host on which the root filesystem is
	// attached while it is being furnished, in the container's own mount
	// namespace: the host never sees a mount there. If empty, it is
	// Spec.Root.Path.
	Anchor string
	// Airlock says that the launcher is handed the program of an airlock,
	// input InputAirlock, for the child to go through: a launcher whose own
	// program could be written to must not become a container's program by
	// itself, nor wait in a container. See FitsAirlock and
	// launch.AirlockProgram. It is of no use with Init.
	Airlock bool
	// Network says that the launcher is handed the container's network
	// namespace as input InputNetwork. A new one takes as long to make as
	// everything else in the container: see NewNetwork. If the specification
	// has a path for it, it is somebody's, and the path only tells whose.
	Network bool
	// Files are shown to the container beside what the root filesystem has.
	Files []File
	// Filter is what Spec.Linux.Seccomp compiles to, if the caller has it
	// at hand.
	Filter *Filter
	// Optional are the controllers whose limits are wishes: where the
	// machine has no such controller they are left out.
	Optional cgroup.Set
	// SharedDevices says that all groups beside the container's have the same
	// device rules, see cgroup.Options.
	SharedDevices bool
	// Engine says that another engine looks after the container's cgroup,
	// see cgroup.Options.
	Engine bool
	// Scope says that systemd makes the cgroup, around the child: the plan
	// does not, and pauses for it (PauseCgroup).
	Scope bool
	// Bundle is the directory that a relative Spec.Root.Path, and relative
	// sources of bind mounts, are meant from. If empty, they are refused.
	Bundle string
	// Gate has the child wait when all but execve is done, until somebody
	// opens the gate: see InputGate. It implies Outlive.
	Gate bool
	// Outlive has the container live on when the launcher, or the thread of
	// it that called Start, ends. If not set, it is killed then.
	Outlive bool
	// NoPivot leaves pivot_root(2) out, for a root filesystem in which it
	// can't be done (an initramfs): the root is moved over the old one, which
	// stays below.
	NoPivot bool
	// NoNewKeyring leaves the program the caller's session keyring.
	NoNewKeyring bool
	// PreserveFDs is the number of descriptors, from 3 on, that the launcher
	// was started with and that stay open for the program.
	PreserveFDs int
	// Subgroups, for CompileExec, are groups below the container's into which
	// the process is put, as cgroup.Layout.Enter takes them.
	Subgroups []string
	// Init makes the program handed as InputInit PID 1, with the user's
	// command as its arguments.
	Init bool
}

// Names of the descriptors that a plan wants handed, see plan.Plan.Inputs.
const (
	InputRoot    = "root"    // detached mount of the root filesystem; for exec, see CompileExec
	InputStdin   = "stdin"   // what becomes descriptors 0, 1, 2; if it is one of these, then in its place
	InputStdout  = "stdout"  // …
	InputStderr  = "stderr"  // …
	InputConsole = "console" // socket that takes the terminal's master side
	InputInit    = "init"    // the init program
	InputNetwork = "network" // a network namespace
	InputAirlock = "airlock" // the program of an airlock
	InputTarget  = "target"  // pidfd of the container that is joined
	InputFile    = "file "   // begins the names of mounts of files that are shared, File.Shared
	// InputIDMap begins the names of user namespaces that map the ids of
	// mounts, see OpenIDMaps.
	InputIDMap = "idmap "
	// With Options.Gate: two fifos, each opened for reading and writing, so
	// that there is always another end. A byte written to the first lets the
	// child go on; launch.Started reads from the second how that ended.
	InputGate    = "gate"
	InputStarted = "started"
)

// What the launcher has to do while the child waits: the numbers of
// launch.Pause, in the order in which they come.
const (
	// PauseMappings: write uid_map, gid_map and setgroups of the new user
	// namespace, timens_offsets of the new time namespace.
	PauseMappings = iota + 1
	// PauseCgroup, with Options.Scope: put the child into its cgroups.
	PauseCgroup
	// PauseCreateRuntime: all namespaces exist, nothing is mounted yet. For
	// hooks prestart and createRuntime, and network devices.
	PauseCreateRuntime
	// PauseCreateContainer: all is mounted, pivot_root is next. For hooks
	// createContainer, in the container's namespaces.
	PauseCreateContainer
	// PauseSeccomp: launch.Child.Sent is the listener of a seccomp filter
	// that notifies.
	PauseSeccomp
)

// compiler is the state of one compilation.
type compiler struct {
	b    plan.Builder
	spec *specs.Spec
	host Host
	opt  Options

	spaces spaces

	root    plan.Slot // the root filesystem, O_PATH
	procfs  plan.Slot // the container's own procfs, or NoSlot
	sysfs   plan.Slot // the container's own sysfs, or NoSlot
	devpts  plan.Slot // the container's own devpts, or NoSlot
	null    plan.Slot // the host's /dev/null, O_PATH, or NoSlot
	std     [3]plan.Slot
	socket  plan.Slot    // InputConsole
	init    plan.Slot    // InputInit
	network plan.Slot    // InputNetwork
	airlock plan.Slot    // InputAirlock
	gate    [2]plan.Slot // InputGate, InputStarted
	target  plan.Slot    // InputTarget
	spread  uint64       // Spec.Linux.RootfsPropagation, MS_*
	mounted []mount      // Spec.Mounts
	// sources are those of bind mounts, by their number, that are open already.
	sources map[int]plan.Slot
	idmaps  map[string]plan.Slot // inputs InputIDMap, by name
	shared  map[string]plan.Slot // inputs InputFile, by target
	late    []readonly
}

// Compile writes the plan for a container. Errors wrap ErrSpec.
func Compile(spec *specs.Spec, host Host, opt Options) (*plan.Plan, error) {
	c := &compiler{spec: spec, host: host, opt: opt}
	c.procfs, c.sysfs, c.devpts, c.null = plan.NoSlot, plan.NoSlot, plan.NoSlot, plan.NoSlot
	c.sources, c.idmaps, c.shared = make(map[int]plan.Slot), make(map[string]plan.Slot), make(map[string]plan.Slot)
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := c.readMounts(); err != nil {
		return nil, err
	}
	c.inputs()
	joined, err := c.cgroup()
	if err != nil {
		return nil, err
	}
	if err := c.idmapped(); err != nil {
		return nil, err
	}
	flags := c.namespaces(joined)
	for _, part := range []func() error{
		c.labels, c.attributes, c.createRuntime, c.rootfs, c.becomeRoot, c.mounts, c.devices, c.terminal, c.procfsWrites,
		c.masks, c.createContainer, c.pivot, c.loopback, c.process,
	} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	return c.finished(flags, joined)
}

// finished gives the plan, if what was written is one.
func (c *compiler) finished(flags uint64, joined cgroup.Joined) (*plan.Plan, error) {
	if err := c.b.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpec, err)
	}
	return c.b.Plan(flags, joined.Slot), nil
}

// check refuses what would otherwise be ignored.
func (c *compiler) check() error {
	s := c.spec
	switch {
	case s.Process == nil:
		return specError("process is missing")
	case len(s.Process.Args) == 0:
		return specError("process.args is empty")
	case s.Root == nil:
		return specError("root is missing")
	case s.Linux == nil:
		return specError("linux is missing")
	case parts(s) > maxParts:
		return specError("more than %d mounts, devices, paths and the like", maxParts)
	}
	if err := checkProcess(s.Process); err != nil {
		return err
	}
	return c.checkNamespaces()
}

// maxParts bounds the length of a plan. Nobody comes near.
const maxParts = 8192

// parts counts what a plan has steps of its own for.
func parts(s *specs.Spec) int {
	n := len(s.Mounts) + len(s.Process.Rlimits) + len(s.Linux.Devices) + len(s.Linux.Sysctl) +
		len(s.Linux.MaskedPaths) + len(s.Linux.ReadonlyPaths)
	for _, m := range s.Mounts {
		n += len(m.Options)
	}
	return n
}

func specError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSpec, fmt.Sprintf(format, args...))
}

// inputs reserves the slots of what the launcher is handed.
func (c *compiler) inputs() {
	c.root, c.init, c.target = plan.NoSlot, plan.NoSlot, plan.NoSlot
	if c.opt.Root {
		c.root = c.b.Input(InputRoot)
	}
	c.stdio(c.spec.Process)
	if c.opt.Init {
		c.init = c.b.Input(InputInit)
	}
	if c.opt.Network {
		c.network = c.b.Input(InputNetwork)
	}
	if c.opt.Airlock {
		c.airlock = c.b.Input(InputAirlock)
	}
	if c.opt.Gate {
		c.gate = [2]plan.Slot{c.b.Input(InputGate), c.b.Input(InputStarted)}
	}
	for _, f := range c.opt.Files {
		if f.Shared {
			c.shared[f.Target] = c.b.Input(InputFile + f.Target)
		}
	}
	for _, id := range c.mounted {
		if _, ok := c.idmaps[id.idmap.input()]; !ok && id.options.idmap {
			c.idmaps[id.idmap.input()] = c.b.Input(id.idmap.input())
		}
	}
}

func (c *compiler) stdio(p *specs.Process) {
	for i, name := range []string{InputStdin, InputStdout, InputStderr} {
		c.std[i] = c.b.Input(name)
	}
	if p.Terminal {
		c.socket = c.b.Input(InputConsole)
	}
}

// cgroup puts the container under its limits from birth.
func (c *compiler) cgroup() (cgroup.Joined, error) {
	l := c.spec.Linux
	if l.CgroupsPath == "" || c.opt.Scope {
		return cgroup.Joined{Slot: plan.NoSlot}, nil
	}
	joined, err := c.host.Cgroup.Plan(&c.b, l.CgroupsPath, l.Resources,
		cgroup.Options{Optional: c.opt.Optional, Shared: c.opt.SharedDevices, Engine: c.opt.Engine})
	if err != nil {
		return joined, fmt.Errorf("%w: %w", ErrSpec, err)
	}
	return joined, nil
}

// step begins a step of the child.
func (c *compiler) step(verb, object, detail, why string) {
	c.b.Step(plan.Step{Phase: plan.Child, Verb: verb, Object: object, Detail: detail, Why: why})
}

const atFDCWD = unix.AT_FDCWD
