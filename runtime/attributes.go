package runtime

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// attributes sets what the kernel keeps of a process, and hands down to its
// children, and that takes rights which are given up later.
func (c *compiler) attributes() error {
	p := c.spec.Process
	if err := c.personality(); err != nil {
		return err
	}
	if err := c.memoryPolicy(); err != nil {
		return err
	}
	if err := c.ioPriority(p.IOPriority); err != nil {
		return err
	}
	if s := p.Scheduler; s != nil {
		return c.scheduler(s, c.target != plan.NoSlot)
	}
	return nil
}

// personality(2). The specification knows no flags.
func (c *compiler) personality() error {
	p := c.spec.Linux.Personality
	if p == nil {
		return nil
	}
	if len(p.Flags) > 0 {
		return specError("linux.personality.flags: %q is unknown", p.Flags[0])
	}
	domain, ok := map[specs.LinuxPersonalityDomain]int{specs.PerLinux: 0, specs.PerLinux32: 8}[p.Domain]
	if !ok {
		return specError("linux.personality.domain %q is unknown", p.Domain)
	}
	c.step("set personality", string(p.Domain), "", "what uname tells of the machine")
	c.b.Call(unix.SYS_PERSONALITY, plan.Int(domain))
	return nil
}

// Modes and flags of set_mempolicy(2), include/uapi/linux/mempolicy.h.
var (
	memoryModes = map[specs.MemoryPolicyModeType]int{
		specs.MpolDefault: 0, specs.MpolPreferred: 1, specs.MpolBind: 2, specs.MpolInterleave: 3,
		specs.MpolLocal: 4, specs.MpolPreferredMany: 5, specs.MpolWeightedInterleave: 6,
	}
	memoryFlags = map[specs.MemoryPolicyFlagType]int{
		specs.MpolFStaticNodes: 1 << 15, specs.MpolFRelativeNodes: 1 << 14, specs.MpolFNumaBalancing: 1 << 13,
	}
)

// memoryPolicy is set_mempolicy(2).
func (c *compiler) memoryPolicy() error {
	p := c.spec.Linux.MemoryPolicy
	if p == nil {
		return nil
	}
	mode, ok := memoryModes[p.Mode]
	if !ok {
		return specError("linux.memoryPolicy.mode %q is unknown", p.Mode)
	}
	for _, name := range p.Flags {
		flag, ok := memoryFlags[name]
		if !ok {
			return specError("linux.memoryPolicy.flags: %q is unknown", name)
		}
		mode |= flag
	}
	nodes, err := bitList(p.Nodes)
	if err != nil {
		return specError("linux.memoryPolicy.nodes: %v", err)
	}
	c.step("set memory policy", string(p.Mode), p.Nodes, "which nodes its memory is taken from")
	mask, bits := plan.Int(0), 0
	if len(nodes) > 0 {
		mask, bits = c.b.Data(nodes), 8*len(nodes)+1 // the kernel takes one off
	}
	c.b.Call(unix.SYS_SET_MEMPOLICY, plan.Int(mode), mask, plan.Int(bits))
	return nil
}

// ioPriority is ioprio_set(2).
func (c *compiler) ioPriority(p *specs.LinuxIOPriority) error {
	if p == nil {
		return nil
	}
	const whoProcess, classShift = 1, 13
	class, ok := map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}[p.Class]
	if !ok || p.Priority < 0 || p.Priority > 7 {
		return specError("process.ioPriority: class %q, priority %d", p.Class, p.Priority)
	}
	c.step("set I/O priority", string(p.Class), strconv.Itoa(p.Priority), "before whom it is served by disks")
	c.b.Call(unix.SYS_IOPRIO_SET, plan.Int(whoProcess), plan.Int(0), plan.Int(class<<classShift|p.Priority))
	return nil
}

// scheduler is sched_setattr(2). What a policy would ignore is refused. If the
// process is going to fork before it becomes the program, what the kernel
// would take from its child, or not let it have, is left for afterwards.
func (c *compiler) scheduler(s *specs.Scheduler, forks bool) error {
	policy, flags, err := schedulerPolicy(s)
	if err != nil {
		return err
	}
	if forks {
		if policy == unix.SCHED_DEADLINE {
			return nil
		}
		flags &^= unix.SCHED_FLAG_RESET_ON_FORK
	}
	c.step("set scheduler", string(s.Policy), schedulerDetail(s), "when it gets a processor")
	attr := make([]byte, unix.SizeofSchedAttr)
	binary.NativeEndian.PutUint32(attr[0:], unix.SizeofSchedAttr)
	binary.NativeEndian.PutUint32(attr[4:], policy)
	binary.NativeEndian.PutUint64(attr[8:], flags)
	binary.NativeEndian.PutUint32(attr[16:], uint32(s.Nice))
	binary.NativeEndian.PutUint32(attr[20:], uint32(s.Priority))
	binary.NativeEndian.PutUint64(attr[24:], s.Runtime)
	binary.NativeEndian.PutUint64(attr[32:], s.Deadline)
	binary.NativeEndian.PutUint64(attr[40:], s.Period)
	c.b.Call(unix.SYS_SCHED_SETATTR, plan.Int(0), c.b.Data(attr), plan.Int(0))
	return nil
}

// forkedScheduler sets what was left for after the fork.
func (c *compiler) forkedScheduler() error {
	s := c.spec.Process.Scheduler
	if s == nil || s.Policy != specs.SchedDeadline && !slices.Contains(s.Flags, specs.SchedFlagResetOnFork) {
		return nil
	}
	return c.scheduler(s, false)
}

// schedulerPolicy gives the kernel's numbers for a policy and its flags.
func schedulerPolicy(s *specs.Scheduler) (policy uint32, flags uint64, err error) {
	// SCHED_ISO has a number and no implementation: the kernel refuses it.
	policies := map[specs.LinuxSchedulerPolicy]uint32{
		specs.SchedOther: unix.SCHED_NORMAL, specs.SchedFIFO: unix.SCHED_FIFO, specs.SchedRR: unix.SCHED_RR,
		specs.SchedBatch: unix.SCHED_BATCH, specs.SchedISO: 4, specs.SchedIdle: unix.SCHED_IDLE,
		specs.SchedDeadline: unix.SCHED_DEADLINE,
	}
	known := map[specs.LinuxSchedulerFlag]uint64{
		specs.SchedFlagResetOnFork: unix.SCHED_FLAG_RESET_ON_FORK, specs.SchedFlagReclaim: unix.SCHED_FLAG_RECLAIM,
		specs.SchedFlagDLOverrun: unix.SCHED_FLAG_DL_OVERRUN, specs.SchedFlagKeepPolicy: unix.SCHED_FLAG_KEEP_POLICY,
		specs.SchedFlagKeepParams: unix.SCHED_FLAG_KEEP_PARAMS, specs.SchedFlagUtilClampMin: unix.SCHED_FLAG_UTIL_CLAMP_MIN,
		specs.SchedFlagUtilClampMax: unix.SCHED_FLAG_UTIL_CLAMP_MAX,
	}
	policy, ok := policies[s.Policy]
	if !ok {
		return 0, 0, specError("process.scheduler.policy %q is unknown", s.Policy)
	}
	for _, name := range s.Flags {
		flag, ok := known[name]
		if !ok {
			return 0, 0, specError("process.scheduler.flags: %q is unknown", name)
		}
		flags |= flag
	}
	switch {
	case s.Nice < -20 || s.Nice > 19:
		err = specError("process.scheduler.nice %d is not within -20 and 19", s.Nice)
	case s.Nice != 0 && policy != unix.SCHED_NORMAL && policy != unix.SCHED_BATCH:
		err = specError("process.scheduler.nice: %s has none", s.Policy)
	case s.Priority != 0 && policy != unix.SCHED_FIFO && policy != unix.SCHED_RR:
		err = specError("process.scheduler.priority: %s has none", s.Policy)
	case s.Runtime|s.Deadline|s.Period != 0 && policy != unix.SCHED_DEADLINE:
		err = specError("process.scheduler: %s has no runtime, deadline and period", s.Policy)
	}
	return policy, flags, err
}

func schedulerDetail(s *specs.Scheduler) string {
	switch s.Policy {
	case specs.SchedOther, specs.SchedBatch:
		return fmt.Sprintf("nice %d", s.Nice)
	case specs.SchedDeadline:
		return fmt.Sprintf("%d of %d ns, done by %d ns", s.Runtime, s.Period, s.Deadline)
	}
	return fmt.Sprintf("priority %d", s.Priority)
}

// affinity is sched_setaffinity(2) for a list of processors, "0-3,7".
func (c *compiler) affinity(field, cpus, why string) error {
	if cpus == "" {
		return nil
	}
	mask, err := bitList(cpus)
	if err != nil {
		return specError("process.execCPUAffinity.%s: %v", field, err)
	}
	c.step("run on", "processors "+cpus, "", why)
	c.b.Call(unix.SYS_SCHED_SETAFFINITY, plan.Int(0), plan.Int(len(mask)), c.b.Data(mask))
	return nil
}

// bitList makes a mask, in words of 64 bits, of a list of numbers and ranges,
// "0-3,7".
func bitList(list string) ([]byte, error) {
	const most = 8192 // CONFIG_NR_CPUS at its highest; nodes are fewer
	var mask []byte
	if list == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		low, err := strconv.ParseUint(first, 10, 32)
		high, err2 := strconv.ParseUint(last, 10, 32)
		if err != nil || err2 != nil || low > high || high >= most {
			return nil, fmt.Errorf("%q is no list of numbers below %d", list, most)
		}
		for uint64(8*len(mask)) <= high {
			mask = append(mask, make([]byte, 8)...)
		}
		for n := low; n <= high; n++ {
			word := mask[n/64*8:]
			binary.NativeEndian.PutUint64(word, binary.NativeEndian.Uint64(word)|1<<(n%64))
		}
	}
	return mask, nil
}
