package cgroup

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func memory(limit int64) *specs.LinuxResources {
	return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
}

func TestMemoryLimit(t *testing.T) {
	everywhere(t, Memory, func(t *testing.T, l Layout) {
		x := start(t, l, memory(32<<20), "eat", strconv.Itoa(200<<20))
		x.expect(Memory, "memory.limit_in_bytes", "33554432", "memory.max", "33554432")
		if said := x.says(); said != "" {
			t.Fatalf("the payload says %q", said)
		}
		if status := x.wait(); !status.Signaled() || status.Signal() != unix.SIGKILL {
			t.Errorf("status %v", status)
		}
		if n, err := x.OOMKills(); err != nil || n != 1 {
			t.Errorf("%d OOM kills, %v", n, err)
		}
		file, key := l.OOMFile(x.path)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := keyed(data, key); !ok || n != 1 {
			t.Errorf("%s says %q", file, data)
		}
		if s, err := x.Stats(); err != nil || s.Memory.OOMKills != 1 || s.Memory.Limit != 32<<20 {
			t.Errorf("stats %+v, %v", s, err)
		}
	})
}

func TestNoOOMKill(t *testing.T) {
	everywhere(t, Memory, func(t *testing.T, l Layout) {
		x := start(t, l, memory(64<<20), "eat", strconv.Itoa(8<<20)).ready()
		if n, err := x.OOMKills(); err != nil || n != 0 {
			t.Errorf("%d OOM kills, %v", n, err)
		}
		s, err := x.Stats()
		if err != nil || s.Memory.Usage < 8<<20 || s.Memory.Peak < 8<<20 {
			t.Errorf("stats %+v, %v", s.Memory, err)
		}
	})
}

func TestPidsLimit(t *testing.T) {
	everywhere(t, Pids, func(t *testing.T, l Layout) {
		r := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(20))}}
		x := start(t, l, r, "fork", "100")
		if said := x.says(); !strings.Contains(said, "resource temporarily unavailable") {
			t.Errorf("the payload says %q", said)
		}
		x.expect(Pids, "pids.max", "20", "pids.max", "20")
		if s, err := x.Stats(); err != nil || s.PidsLimit != 20 || s.Pids > 20 {
			t.Errorf("stats %+v, %v", s, err)
		}
	})
}

func TestPidsWithoutLimit(t *testing.T) {
	everywhere(t, Pids, func(t *testing.T, l Layout) {
		r := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(-1))}}
		x := start(t, l, r, "wait").ready()
		x.expect(Pids, "pids.max", "max", "pids.max", "max")
	})
}

func TestCPU(t *testing.T) {
	everywhere(t, CPU, func(t *testing.T, l Layout) {
		r := &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(2000)), Quota: ptr(int64(2000)),
			Period: ptr(uint64(50000)), Burst: ptr(uint64(1000))}}
		x := start(t, l, r, "spin").ready()
		x.expect(CPU, "cpu.shares", "2000", "cpu.weight", "170")
		x.expect(CPU, "cpu.cfs_quota_us", "2000", "cpu.max", "2000 50000")
		x.expect(CPU, "cpu.cfs_burst_us", "1000", "cpu.max.burst", "1000")
		s, err := x.Stats()
		if err != nil || s.CPU.ThrottledPeriods == 0 || s.CPU.Usage == 0 {
			t.Errorf("not throttled: %+v, %v", s.CPU, err)
		}
	})
}

func TestCPUIdle(t *testing.T) {
	everywhere(t, CPU, func(t *testing.T, l Layout) {
		r := &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(2000)), Idle: ptr(int64(1))}}
		start(t, l, r, "wait").ready().expect(CPU, "cpu.idle", "1", "cpu.idle", "1")
	})
}

func TestCPUUsageWithoutLimits(t *testing.T) {
	everywhere(t, 0, func(t *testing.T, l Layout) {
		x := start(t, l, nil, "spin").ready()
		if s, err := x.Stats(); err != nil || s.CPU.Usage < 10e6 || s.CPU.User == 0 {
			t.Errorf("stats %+v, %v", s.CPU, err)
		}
	})
}

func TestCPUSet(t *testing.T) {
	everywhere(t, CPUSet, func(t *testing.T, l Layout) {
		r := &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "1"}}
		x := start(t, l, r, "wait").ready()
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(x.pid, &set); err != nil || set.Count() != 1 || !set.IsSet(1) {
			t.Errorf("affinity %v, %v", set, err)
		}
		if !x.v2(CPUSet) {
			x.expect(CPUSet, "cpuset.mems", "0", "", "") // from the group above
		}
		if err := x.Update(&specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0", Mems: "0"}}); err != nil {
			t.Fatal(err)
		}
		if err := unix.SchedGetaffinity(x.pid, &set); err != nil || set.Count() != 1 || !set.IsSet(0) {
			t.Errorf("affinity %v, %v", set, err)
		}
	})
}

func TestUpdate(t *testing.T) {
	everywhere(t, Memory|Pids|CPU, func(t *testing.T, l Layout) {
		r := memory(100 << 20)
		r.Memory.Swap = ptr(int64(100 << 20))
		r.CPU = &specs.LinuxCPU{Quota: ptr(int64(50000)), Period: ptr(uint64(100000)), Burst: ptr(uint64(40000))}
		x := start(t, l, r, "fork", "2").ready()
		steps := []struct {
			name string
			r    specs.LinuxResources
			want func()
		}{
			{"grow", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(200 << 20)), Swap: ptr(int64(300 << 20))}}, func() {
				x.expect(Memory, "memory.limit_in_bytes", "209715200", "memory.max", "209715200")
				x.expect(Memory, "memory.memsw.limit_in_bytes", "314572800", "memory.swap.max", "104857600")
			}},
			{"swap alone", specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr(int64(250 << 20))}}, func() {
				x.expect(Memory, "memory.memsw.limit_in_bytes", "262144000", "memory.swap.max", "52428800")
			}},
			{"shrink", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(80 << 20)), Swap: ptr(int64(80 << 20))}}, func() {
				x.expect(Memory, "memory.limit_in_bytes", "83886080", "memory.max", "83886080")
				x.expect(Memory, "memory.memsw.limit_in_bytes", "83886080", "memory.swap.max", "0")
			}},
			{"quota below burst", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(20000)), Burst: ptr(uint64(10000))}}, func() {
				x.expect(CPU, "cpu.cfs_quota_us", "20000", "cpu.max", "20000 100000")
				x.expect(CPU, "cpu.cfs_burst_us", "10000", "cpu.max.burst", "10000")
			}},
			{"period alone", specs.LinuxResources{CPU: &specs.LinuxCPU{Period: ptr(uint64(40000))}}, func() {
				x.expect(CPU, "cpu.cfs_period_us", "40000", "cpu.max", "20000 40000")
			}},
			{"quota above", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(80000)), Burst: ptr(uint64(70000))}}, func() {
				x.expect(CPU, "cpu.cfs_burst_us", "70000", "cpu.max.burst", "70000")
			}},
			{"new hierarchy", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(77))}}, func() {
				x.expect(Pids, "pids.max", "77", "pids.max", "77")
			}},
			{"nothing", specs.LinuxResources{}, func() {
				x.expect(Memory, "memory.limit_in_bytes", "83886080", "memory.max", "83886080")
			}},
		}
		for _, s := range steps {
			t.Run(s.name, func(t *testing.T) {
				x.t = t
				if err := x.Update(&s.r); err != nil {
					t.Fatal(err)
				}
				s.want()
			})
		}
		x.t = t
		all, err := x.Processes()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range x.dirs { // those joined late too
			if in, err := processes([]dir{d}); err != nil || !slices.Equal(in, all) || len(in) != 3 {
				t.Errorf("%s has %v, %v; want %v", d.mount, in, err, all)
			}
		}
	})
}

func TestUpdateRefuses(t *testing.T) {
	everywhere(t, Memory, func(t *testing.T, l Layout) {
		x := start(t, l, memory(100<<20), "eat", strconv.Itoa(20<<20)).ready()
		r := memory(10 << 20)
		r.Memory.CheckBeforeUpdate = ptr(true)
		if err := x.Update(r); !errors.Is(err, ErrBelowUsage) {
			t.Errorf("below usage: %v", err)
		}
		x.expect(Memory, "memory.limit_in_bytes", "104857600", "memory.max", "104857600")
		err := x.Update(&specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"nowhere": {HcaHandles: ptr(uint32(1))}}})
		if err == nil {
			t.Error("a device that is not there was limited")
		}
	})
}

func TestBadLimitNamesItself(t *testing.T) {
	everywhere(t, Pids, func(t *testing.T, l Layout) {
		r := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(1) << 40)}}
		_, err := tryStart(t, l, testPath(t, l), r, "wait")
		if err == nil || !strings.Contains(err.Error(), "limit tasks (pids.max = 1099511627776): invalid argument") {
			t.Errorf("got %v", err)
		}
	})
}

func TestBlockIO(t *testing.T) {
	everywhere(t, IO, func(t *testing.T, l Layout) {
		var st unix.Stat_t
		if err := unix.Stat(disk(t), &st); err != nil {
			t.Fatal(err)
		}
		major, minor := int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		rate := func(n uint64) []specs.LinuxThrottleDevice {
			d := specs.LinuxThrottleDevice{Rate: n}
			d.Major, d.Minor = major, minor
			return []specs.LinuxThrottleDevice{d}
		}
		r := &specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: rate(1 << 20), ThrottleWriteIOPSDevice: rate(50)}}
		x := start(t, l, r, "wait").ready()
		name := strconv.FormatInt(major, 10) + ":" + strconv.FormatInt(minor, 10)
		x.expect(IO, "blkio.throttle.read_bps_device", name+" 1048576", "io.max", name+" rbps=1048576 wbps=max riops=max wiops=50")
		r.BlockIO = &specs.LinuxBlockIO{ThrottleReadBpsDevice: rate(0)}
		if err := x.Update(r); err != nil {
			t.Fatal(err)
		}
		x.expect(IO, "blkio.throttle.read_bps_device", "", "io.max", name+" rbps=max wbps=max riops=max wiops=50")
	})
}

// disk gives some whole disk.
func disk(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir("/sys/block")
	if err != nil || len(entries) == 0 {
		t.Fatalf("no disk: %v", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "vd") || strings.HasPrefix(e.Name(), "sd") || strings.HasPrefix(e.Name(), "nvme") {
			return "/dev/" + e.Name()
		}
	}
	return "/dev/" + entries[0].Name()
}
