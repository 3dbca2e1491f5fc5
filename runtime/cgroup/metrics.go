package cgroup

import (
	"math"
	"os"
	"strconv"
	"strings"
)

// Metrics are all measurements of a group, in the words of runc events, whose
// JSON other programs read. Times are in nanoseconds, sizes in bytes; what the
// kernel does not tell is left out.
type Metrics struct {
	CPU     CPUMetrics                `json:"cpu"`
	CPUSet  CPUSetMetrics             `json:"cpuset"`
	Memory  MemoryMetrics             `json:"memory"`
	Pids    PidsMetrics               `json:"pids"`
	IO      IOMetrics                 `json:"blkio"`
	HugeTLB map[string]HugeTLBMetrics `json:"hugetlb"`
}

// CPUMetrics tell of CPU time used, and of that refused by the quota.
type CPUMetrics struct {
	Usage struct {
		Total        uint64   `json:"total,omitempty"`
		PerCPU       []uint64 `json:"percpu,omitempty"`
		PerCPUKernel []uint64 `json:"percpu_kernel,omitempty"`
		PerCPUUser   []uint64 `json:"percpu_user,omitempty"`
		Kernel       uint64   `json:"kernel"`
		User         uint64   `json:"user"`
	} `json:"usage"`
	Throttling struct {
		Periods          uint64 `json:"periods,omitempty"`
		ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
		ThrottledTime    uint64 `json:"throttledTime,omitempty"`
	} `json:"throttling"`
}

// CPUSetMetrics are the CPUs and memory nodes that may be used.
type CPUSetMetrics struct {
	CPUs []uint16 `json:"cpus,omitempty"`
	Mems []uint16 `json:"mems,omitempty"`
}

// MemoryMetrics: Usage is memory with the page cache, Swap is memory and swap
// together, as version 1 counts it; Raw is memory.stat.
type MemoryMetrics struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     MemoryUse         `json:"usage"`
	Swap      MemoryUse         `json:"swap"`
	Kernel    MemoryUse         `json:"kernel"`
	KernelTCP MemoryUse         `json:"kernelTCP"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
}

// MemoryUse is one kind of memory. Without a limit Limit is the largest number.
type MemoryUse struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// PidsMetrics: no Limit is none.
type PidsMetrics struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

// IOMetrics are bytes and operations, by device.
type IOMetrics struct {
	Bytes      []IOEntry `json:"ioServiceBytesRecursive,omitempty"`
	Operations []IOEntry `json:"ioServicedRecursive,omitempty"`
}

// IOEntry is a count for a device and a kind of operation: Read, Write.
type IOEntry struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value,omitempty"`
}

// HugeTLBMetrics are of one page size, such as "2MB".
type HugeTLBMetrics struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// Metrics measures; see Stats for the few numbers that most want.
func (c *Cgroup) Metrics() (*Metrics, error) {
	m := &Metrics{HugeTLB: make(map[string]HugeTLBMetrics)}
	r := &reader{}
	r.cpuMetrics(c, &m.CPU)
	if d, ok := c.find(CPUSet); ok {
		name := map[bool]string{false: "", true: ".effective"}[d.v2]
		m.CPUSet = CPUSetMetrics{ranges(r.file(d, "cpuset.cpus"+name)), ranges(r.file(d, "cpuset.mems"+name))}
	}
	if d, ok := c.find(Memory); ok {
		m.Memory = r.memoryMetrics(d)
	}
	if d, ok := c.find(Pids); ok {
		m.Pids = PidsMetrics{r.file(d, "pids.current").number(), r.file(d, "pids.max").number()}
	}
	if d, ok := c.find(IO); ok {
		m.IO = r.ioMetrics(d)
	}
	if d, ok := c.find(HugeTLB); ok {
		r.hugeMetrics(d, m.HugeTLB)
	}
	return m, r.err
}

func (r *reader) cpuMetrics(c *Cgroup, m *CPUMetrics) {
	s := r.cpu(c)
	m.Usage.Total, m.Usage.Kernel, m.Usage.User = s.Usage, s.System, s.User
	m.Throttling.Periods, m.Throttling.ThrottledPeriods, m.Throttling.ThrottledTime = s.Periods, s.ThrottledPeriods, s.Throttled
	if d, ok := c.find(CPUAcct); ok {
		m.Usage.PerCPU = r.file(d, "cpuacct.usage_percpu").numbers()
		m.Usage.PerCPUKernel = r.file(d, "cpuacct.usage_percpu_sys").numbers()
		m.Usage.PerCPUUser = r.file(d, "cpuacct.usage_percpu_user").numbers()
	}
}

func (r *reader) memoryMetrics(d dir) (m MemoryMetrics) {
	m.Raw = r.file(d, "memory.stat").table()
	if !d.v2 {
		m.Cache = m.Raw["cache"]
		m.Usage, m.Swap = r.memoryUse(d, "memory"), r.memoryUse(d, "memory.memsw")
		m.Kernel, m.KernelTCP = r.memoryUse(d, "memory.kmem"), r.memoryUse(d, "memory.kmem.tcp")
		return m
	}
	m.Cache = m.Raw["file"]
	m.Usage = MemoryUse{Limit: r.file(d, "memory.max").bound(), Usage: r.file(d, "memory.current").number(),
		Max: r.file(d, "memory.peak").number(), Failcnt: r.file(d, "memory.events").key("max")}
	m.Swap = MemoryUse{Limit: r.file(d, "memory.swap.max").bound(), Usage: m.Usage.Usage + r.file(d, "memory.swap.current").number(),
		Failcnt: r.file(d, "memory.swap.events").key("max")}
	if m.Swap.Limit != math.MaxUint64 { // both limits or none: see swapMax
		m.Swap.Limit += min(m.Usage.Limit, math.MaxUint64-m.Swap.Limit)
	}
	return m
}

func (r *reader) memoryUse(d dir, prefix string) MemoryUse {
	limit := r.file(d, prefix+".limit_in_bytes")
	if limit == "" {
		return MemoryUse{} // kernel memory has no limit since Linux 6.1
	}
	return MemoryUse{Limit: limit.bound(), Usage: r.file(d, prefix+".usage_in_bytes").number(),
		Max: r.file(d, prefix+".max_usage_in_bytes").number(), Failcnt: r.file(d, prefix+".failcnt").number()}
}

func (r *reader) ioMetrics(d dir) (m IOMetrics) {
	if !d.v2 { // 8:0 Read 1
		for file, list := range map[string]*[]IOEntry{
			"blkio.throttle.io_service_bytes_recursive": &m.Bytes,
			"blkio.throttle.io_serviced_recursive":      &m.Operations,
		} {
			for line := range strings.Lines(string(r.file(d, file))) {
				if f := strings.Fields(line); len(f) == 3 {
					*list = append(*list, entry(f[0], f[1], content(f[2]).number()))
				}
			}
		}
		return m
	}
	for line := range strings.Lines(string(r.file(d, "io.stat"))) { // 8:0 rbytes=1 wbytes=2 rios=3 …
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		stat := content(strings.ReplaceAll(strings.Join(f[1:], "\n"), "=", " ")).table()
		m.Bytes = append(m.Bytes, entry(f[0], "Read", stat["rbytes"]), entry(f[0], "Write", stat["wbytes"]))
		m.Operations = append(m.Operations, entry(f[0], "Read", stat["rios"]), entry(f[0], "Write", stat["wios"]))
	}
	return m
}

func entry(device, op string, value uint64) IOEntry {
	major, minor, _ := strings.Cut(device, ":")
	return IOEntry{content(major).number(), content(minor).number(), op, value}
}

// hugeMetrics finds the page sizes by the files that there are.
func (r *reader) hugeMetrics(d dir, all map[string]HugeTLBMetrics) {
	entries, err := os.ReadDir(d.f.Name())
	if err != nil && r.err == nil {
		r.err = err
	}
	usage, peak, fails := ".usage_in_bytes", ".max_usage_in_bytes", ".failcnt"
	if d.v2 {
		usage, peak, fails = ".current", "", ".events"
	}
	for _, e := range entries {
		size, ok := strings.CutSuffix(e.Name(), usage)
		size, prefixed := strings.CutPrefix(size, "hugetlb.")
		if !ok || !prefixed || strings.Contains(size, ".") {
			continue
		}
		file := func(name string) content { return r.file(d, "hugetlb."+size+name) }
		m := HugeTLBMetrics{Usage: file(usage).number()}
		if d.v2 {
			m.Failcnt = file(fails).key("max")
		} else {
			m.Max, m.Failcnt = file(peak).number(), file(fails).number()
		}
		all[size] = m
	}
}

// bound is a limit: the largest number where there is none.
func (c content) bound() uint64 {
	if strings.TrimSpace(string(c)) == "0" {
		return 0
	}
	if n := c.number(); n != 0 {
		return n
	}
	return math.MaxUint64
}

func (c content) numbers() (list []uint64) {
	for field := range strings.FieldsSeq(string(c)) {
		list = append(list, content(field).number())
	}
	return list
}

// table reads "key number" lines.
func (c content) table() map[string]uint64 {
	table := make(map[string]uint64)
	for line := range strings.Lines(string(c)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			table[key] = content(value).number()
		}
	}
	return table
}

// ranges reads a list such as "0-3,7".
func ranges(c content) (list []uint16) {
	for part := range strings.SplitSeq(strings.TrimSpace(string(c)), ",") {
		first, last, ok := strings.Cut(part, "-")
		if !ok {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		for n := from; err1 == nil && err2 == nil && n <= to; n++ {
			list = append(list, uint16(n))
		}
	}
	return list
}
