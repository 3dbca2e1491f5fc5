package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// writes lists what has to be written for r (OCI config-linux.md), in an order
// that suits a new group. Devices are not among it: see filter.
func (l Layout) writes(r *specs.LinuxResources, optional Set, now current) ([]write, error) {
	if r == nil {
		return nil, nil
	}
	w := &writer{layout: l, optional: optional, current: now}
	w.memory(r.Memory)
	w.cpu(r.CPU)
	w.cpuset(r.CPU)
	if r.Pids != nil && r.Pids.Limit != nil {
		if _, ok := w.version(Pids, "pids limit"); ok {
			w.add(Pids, "pids.max", limit(*r.Pids.Limit), "tasks", "a fork bomb ends here")
		}
	}
	w.blockIO(r.BlockIO)
	w.hugepages(r.HugepageLimits)
	w.network(r.Network)
	w.rdma(r.Rdma)
	w.unified(r.Unified)
	return w.list, errors.Join(w.errs...)
}

// set gives the number behind p, and false for nil and for 0: callers all
// over the ecosystem write 0 where they mean "not set".
func set[T int64 | uint64](p *T) (T, bool) {
	if p == nil || *p == 0 {
		return 0, false
	}
	return *p, true
}

// memory leaves out kernel memory limits, which Linux ignores since 5.11, and
// useHierarchy, which is always on since then.
func (w *writer) memory(m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	_, limited := set(m.Limit)
	_, swap := set(m.Swap)
	_, low := set(m.Reservation)
	_, tcp := set(m.KernelTCP)
	oom := m.DisableOOMKiller != nil && *m.DisableOOMKiller
	if !limited && !swap && !low && !tcp && !oom && m.Swappiness == nil {
		return
	}
	switch v2, ok := w.version(Memory, "memory limit"); {
	case ok && v2:
		w.memory2(m, limited, swap, low)
		if tcp {
			w.only1("kernel TCP memory limit")
		}
		if oom {
			w.only1("switching the OOM killer off")
		}
		if m.Swappiness != nil {
			w.only1("memory swappiness")
		}
	case ok:
		w.memory1(m, limited, swap, low, tcp)
	}
}

const (
	whyMemory = "beyond it the kernel takes pages back, then kills inside the container"
	whySwap   = "memory can't grow on into swap"
	whyLow    = "so much is left to it while others are short"
)

func (w *writer) memory1(m *specs.LinuxMemory, limited, swap, low, tcp bool) {
	num := func(n int64) string { return strconv.FormatInt(max(n, -1), 10) }
	if limited {
		w.add(Memory, "memory.limit_in_bytes", num(*m.Limit), "memory", whyMemory)
	}
	if swap {
		x := w.add(Memory, "memory.memsw.limit_in_bytes", num(*m.Swap), "memory and swap", whySwap)
		x.spare = x.spare || *m.Swap < 0 // swapaccount=0 is no limit either
	}
	if low {
		w.add(Memory, "memory.soft_limit_in_bytes", num(*m.Reservation), "memory reservation", whyLow)
	}
	if tcp {
		w.add(Memory, "memory.kmem.tcp.limit_in_bytes", num(*m.KernelTCP), "TCP buffers", "")
	}
	if m.Swappiness != nil {
		w.add(Memory, "memory.swappiness", strconv.FormatUint(*m.Swappiness, 10), "swappiness", "")
	}
	if m.DisableOOMKiller != nil {
		value := "0"
		if *m.DisableOOMKiller {
			value = "1"
		}
		w.add(Memory, "memory.oom_control", value, "OOM killer", "1: who wants more memory waits instead")
	}
}

// memory2 writes swap first: lowering memory first would push into swap what
// then has no place there.
func (w *writer) memory2(m *specs.LinuxMemory, limited, swap, low bool) {
	if swap {
		memory := w.current.memoryMax
		if limited {
			memory = *m.Limit
		}
		n, err := swapMax(*m.Swap, memory)
		if err != nil {
			w.fail("swap limit: %w", err)
		}
		w.add(Memory, "memory.swap.max", limit(n), "swap", whySwap)
	}
	if limited {
		w.add(Memory, "memory.max", limit(*m.Limit), "memory", whyMemory)
	}
	if low {
		w.add(Memory, "memory.low", limit(*m.Reservation), "memory reservation", whyLow)
	}
}

func (w *writer) cpu(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	_, shares := set(c.Shares)
	_, quota := set(c.Quota)
	_, period := set(c.Period)
	_, rtRuntime := set(c.RealtimeRuntime)
	_, rtPeriod := set(c.RealtimePeriod)
	if !shares && !quota && !period && !rtRuntime && !rtPeriod && c.Burst == nil && c.Idle == nil {
		return
	}
	switch v2, ok := w.version(CPU, "cpu limit"); {
	case ok && v2:
		w.cpu2(c, shares, quota, period)
		if rtRuntime || rtPeriod {
			w.only1("realtime cpu limit")
		}
	case ok:
		w.cpu1(c, shares, quota, period)
		if rtPeriod {
			w.add(CPU, "cpu.rt_period_us", strconv.FormatUint(*c.RealtimePeriod, 10), "realtime period", "")
		}
		if rtRuntime {
			w.add(CPU, "cpu.rt_runtime_us", strconv.FormatInt(*c.RealtimeRuntime, 10), "realtime", "")
		}
	}
}

const (
	whyQuota = "microseconds of all CPUs together in each period"
	whyBurst = "unused time that may be saved up"
	whyShare = "its share when the CPUs are short"
	whyIdle  = "it runs when nobody else wants to"
)

// cpu1 and cpu2 write idle first: the kernel refuses a weight for an idle
// group; the burst comes last: it may not exceed the quota.
func (w *writer) cpu1(c *specs.LinuxCPU, shares, quota, period bool) {
	if c.Idle != nil {
		w.add(CPU, "cpu.idle", strconv.FormatInt(*c.Idle, 10), "idle", whyIdle)
	}
	if shares && !idle(c) {
		w.add(CPU, "cpu.shares", strconv.FormatUint(*c.Shares, 10), "cpu share", whyShare)
	}
	if period {
		w.add(CPU, "cpu.cfs_period_us", strconv.FormatUint(*c.Period, 10), "cpu period", whyQuota)
	}
	if quota {
		w.add(CPU, "cpu.cfs_quota_us", strconv.FormatInt(max(*c.Quota, -1), 10), "cpu time", whyQuota)
	}
	if c.Burst != nil {
		w.add(CPU, "cpu.cfs_burst_us", strconv.FormatUint(*c.Burst, 10), "cpu burst", whyBurst)
	}
}

func (w *writer) cpu2(c *specs.LinuxCPU, shares, quota, period bool) {
	if c.Idle != nil {
		w.add(CPU, "cpu.idle", strconv.FormatInt(*c.Idle, 10), "idle", whyIdle)
	}
	if shares && !idle(c) {
		w.add(CPU, "cpu.weight", strconv.FormatUint(Weight(*c.Shares), 10), "cpu share", whyShare)
	}
	if quota || period {
		value := w.current.cpuMax
		if value == "" {
			value = "max"
		}
		if quota {
			value = limit(*c.Quota)
		}
		if period {
			value += " " + strconv.FormatUint(*c.Period, 10)
		}
		w.add(CPU, "cpu.max", value, "cpu time", whyQuota)
	}
	if c.Burst != nil {
		w.add(CPU, "cpu.max.burst", strconv.FormatUint(*c.Burst, 10), "cpu burst", whyBurst)
	}
}

func idle(c *specs.LinuxCPU) bool { return c.Idle != nil && *c.Idle == 1 }

func (w *writer) cpuset(c *specs.LinuxCPU) {
	if c == nil || c.Cpus == "" && c.Mems == "" {
		return
	}
	if _, ok := w.version(CPUSet, "cpu set"); !ok {
		return
	}
	if c.Cpus != "" {
		w.add(CPUSet, "cpuset.cpus", c.Cpus, "cpus", "runs on these alone")
	}
	if c.Mems != "" {
		w.add(CPUSet, "cpuset.mems", c.Mems, "memory nodes", "has memory of these alone")
	}
}

func (w *writer) hugepages(list []specs.LinuxHugepageLimit) {
	if len(list) == 0 {
		return
	}
	v2, ok := w.version(HugeTLB, "huge page limit")
	if !ok {
		return
	}
	name := "limit_in_bytes"
	if v2 {
		name = "max"
	}
	for _, h := range list {
		if !pageSize(h.Pagesize) {
			w.fail("huge page limit: bad page size %q", h.Pagesize)
			continue
		}
		value := strconv.FormatUint(h.Limit, 10)
		file := "hugetlb." + h.Pagesize + "."
		w.add(HugeTLB, file+name, value, "huge pages", "huge pages in use")
		w.add(HugeTLB, file+"rsvd."+name, value, "huge pages", "huge pages promised").spare = true
	}
}

// pageSize says whether s has the form of a page size in a file's name: 2MB.
func pageSize(s string) bool {
	n := strings.TrimRight(s, "KMGB")
	unit := s[len(n):]
	_, err := strconv.ParseUint(n, 10, 32)
	return err == nil && (unit == "KB" || unit == "MB" || unit == "GB")
}

func (w *writer) network(n *specs.LinuxNetwork) {
	if n == nil {
		return
	}
	if n.ClassID != nil {
		if _, ok := w.version(NetCls, "network class"); ok {
			w.add(NetCls, "net_cls.classid", strconv.FormatUint(uint64(*n.ClassID), 10), "network class", "")
		}
	}
	if len(n.Priorities) == 0 {
		return
	}
	if _, ok := w.version(NetPrio, "network priorities"); ok {
		for _, p := range n.Priorities {
			w.add(NetPrio, "net_prio.ifpriomap", fmt.Sprintf("%s %d", p.Name, p.Priority), "network priority", "")
		}
	}
}

func (w *writer) rdma(list map[string]specs.LinuxRdma) {
	if len(list) == 0 {
		return
	}
	if _, ok := w.version(RDMA, "rdma limit"); !ok {
		return
	}
	for _, device := range slices.Sorted(maps.Keys(list)) {
		value := device
		if n := list[device].HcaHandles; n != nil {
			value += fmt.Sprintf(" hca_handle=%d", *n)
		}
		if n := list[device].HcaObjects; n != nil {
			value += fmt.Sprintf(" hca_object=%d", *n)
		}
		w.add(RDMA, "rdma.max", value, "rdma", "")
	}
}

// unified writes raw files of cgroup v2, line by line, as the kernel wants
// those that have several. What is no limit of this group (cgroup.procs and
// its like) is refused, and so is a key that is more than a file's name.
func (w *writer) unified(files map[string]string) {
	for _, file := range slices.Sorted(maps.Keys(files)) {
		controller, _, dotted := strings.Cut(file, ".")
		set := parseSet(controller, " ")
		core := strings.HasPrefix(file, "cgroup.max.")
		switch {
		case !dotted || strings.ContainsAny(file, "/\x00") || controller == "cgroup" && !core:
			w.fail("unified: bad key %q", file)
			continue
		case w.layout.Unified == "" || !core && w.layout.Available&set == 0:
			w.fail("unified: %s is %w", file, ErrUnavailable)
			continue
		}
		for line := range strings.Lines(files[file]) {
			w.add(set, file, strings.TrimSuffix(line, "\n"), file, "as the configuration says")
		}
	}
}
