package cgroup

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Stats are measurements of a group; 0 where the kernel does not tell, as for
// block I/O on version 1 when the group has no limit of it.
type Stats struct {
	CPU        CPUStats
	Memory     MemoryStats
	Pids       uint64 // tasks (threads count)
	PidsLimit  uint64 // 0: none
	IORead     uint64 // bytes
	IOWritten  uint64 // bytes
	IOReadOps  uint64
	IOWriteOps uint64
}

// CPUStats are in nanoseconds.
type CPUStats struct {
	Usage, User, System uint64
	Periods             uint64 // of enforcement that have passed
	ThrottledPeriods    uint64
	Throttled           uint64 // time
}

// MemoryStats are in bytes.
type MemoryStats struct {
	Usage    uint64 // with the page cache
	Peak     uint64 // 0 before Linux 5.19 on version 2
	Limit    uint64 // 0: none
	Swap     uint64
	Cache    uint64 // inactive file pages: what Docker takes off Usage
	OOMKills uint64
}

// Stats measures. Numbers are read one after the other, so they are not of
// quite the same moment.
func (c *Cgroup) Stats() (Stats, error) {
	var s Stats
	r := &reader{}
	s.CPU = r.cpu(c)
	if d, ok := c.find(Memory); ok {
		s.Memory = r.memory(d)
	}
	if d, ok := c.find(Pids); ok {
		s.Pids, s.PidsLimit = r.file(d, "pids.current").number(), r.file(d, "pids.max").number()
	}
	if d, ok := c.find(IO); ok {
		r.io(d, &s)
	}
	return s, r.err
}

// reader reads files and keeps the first error; one that is not there is
// empty, because kernels differ.
type reader struct{ err error }

type content string

func (r *reader) file(d dir, name string) content {
	data, err := readFile(d.f, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EOPNOTSUPP) && r.err == nil {
		r.err = err
	}
	return content(data)
}

// number is 0 for "max", and for version 1's largest number, which means none.
func (c content) number() uint64 {
	n, err := strconv.ParseUint(strings.TrimSpace(string(c)), 10, 64)
	if err != nil || n >= 1<<63-1<<16 { // rounded down to a page, of at most 64 KiB
		return 0
	}
	return n
}

func (c content) key(key string) uint64 {
	n, _ := keyed([]byte(c), key)
	return n
}

func (r *reader) cpu(c *Cgroup) (s CPUStats) {
	if d, ok := c.unified(); ok {
		s = r.cpu2(d)
	} else if d, ok := c.find(CPUAcct); ok {
		s = r.cpu1(d)
	}
	if d, ok := c.find(CPU); ok && !d.v2 {
		stat := r.file(d, "cpu.stat")
		s.Periods, s.ThrottledPeriods = stat.key("nr_periods"), stat.key("nr_throttled")
		s.Throttled = stat.key("throttled_time")
	}
	return s
}

func (r *reader) cpu2(d dir) CPUStats {
	const micro = 1000
	stat := r.file(d, "cpu.stat")
	return CPUStats{
		Usage:            stat.key("usage_usec") * micro,
		User:             stat.key("user_usec") * micro,
		System:           stat.key("system_usec") * micro,
		Periods:          stat.key("nr_periods"),
		ThrottledPeriods: stat.key("nr_throttled"),
		Throttled:        stat.key("throttled_usec") * micro,
	}
}

func (r *reader) cpu1(d dir) CPUStats {
	return CPUStats{
		Usage:  r.file(d, "cpuacct.usage").number(),
		User:   r.file(d, "cpuacct.usage_user").number(),
		System: r.file(d, "cpuacct.usage_sys").number(),
	}
}

func (r *reader) memory(d dir) MemoryStats {
	if d.v2 {
		return MemoryStats{
			Usage:    r.file(d, "memory.current").number(),
			Peak:     r.file(d, "memory.peak").number(),
			Limit:    r.file(d, "memory.max").number(),
			Swap:     r.file(d, "memory.swap.current").number(),
			Cache:    r.file(d, "memory.stat").key("inactive_file"),
			OOMKills: r.file(d, "memory.events").key("oom_kill"),
		}
	}
	m := MemoryStats{
		Usage:    r.file(d, "memory.usage_in_bytes").number(),
		Peak:     r.file(d, "memory.max_usage_in_bytes").number(),
		Limit:    r.file(d, "memory.limit_in_bytes").number(),
		Cache:    r.file(d, "memory.stat").key("total_inactive_file"),
		OOMKills: r.file(d, "memory.oom_control").key("oom_kill"),
	}
	if both := r.file(d, "memory.memsw.usage_in_bytes").number(); both > m.Usage {
		m.Swap = both - m.Usage
	}
	return m
}

func (r *reader) io(d dir, s *Stats) {
	if d.v2 { // 8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0
		for field := range strings.FieldsSeq(string(r.file(d, "io.stat"))) {
			key, value, _ := strings.Cut(field, "=")
			s.count(key, content(value).number())
		}
		return
	}
	names := map[string]string{"Read": "r", "Write": "w"} // 8:0 Read 1
	for file, unit := range map[string]string{
		"blkio.throttle.io_service_bytes_recursive": "bytes",
		"blkio.throttle.io_serviced_recursive":      "ios",
	} {
		for line := range strings.Lines(string(r.file(d, file))) {
			if f := strings.Fields(line); len(f) == 3 {
				s.count(names[f[1]]+unit, content(f[2]).number())
			}
		}
	}
}

func (s *Stats) count(key string, n uint64) {
	switch key {
	case "rbytes":
		s.IORead += n
	case "wbytes":
		s.IOWritten += n
	case "rios":
		s.IOReadOps += n
	case "wios":
		s.IOWriteOps += n
	}
}
