package cgroup

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestMetrics(t *testing.T) {
	everywhere(t, Memory|Pids|CPU|CPUSet, func(t *testing.T, l Layout) {
		r := memory(64 << 20)
		r.Memory.Swap = ptr(int64(96 << 20))
		r.Pids = &specs.LinuxPids{Limit: ptr(int64(33))}
		r.CPU = &specs.LinuxCPU{Cpus: "0", Quota: ptr(int64(2000)), Period: ptr(uint64(50000))}
		x := start(t, l, r, "eat", strconv.Itoa(8<<20)).ready()
		m, err := x.Metrics()
		if err != nil {
			t.Fatal(err)
		}
		if u := m.Memory.Usage; u.Limit != 64<<20 || u.Usage < 8<<20 || u.Max < 8<<20 || m.Memory.Swap.Limit != 96<<20 || len(m.Memory.Raw) == 0 {
			t.Errorf("memory %+v", m.Memory)
		}
		if m.Pids.Limit != 33 || m.Pids.Current == 0 {
			t.Errorf("pids %+v", m.Pids)
		}
		if !slices.Equal(m.CPUSet.CPUs, []uint16{0}) || len(m.CPUSet.Mems) == 0 {
			t.Errorf("cpuset %+v", m.CPUSet)
		}
		if m.CPU.Usage.Total == 0 || m.CPU.Throttling.Periods == 0 {
			t.Errorf("cpu %+v", m.CPU)
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{`"cpu":{"usage":{"total":`, `"throttling":{"periods":`, `"memory":{`, `"pids":{"current":`, `"limit":33}`} {
			if !strings.Contains(string(text), key) {
				t.Errorf("%s is not in %s", key, text)
			}
		}
	})
}

func TestMetricsWithoutLimits(t *testing.T) {
	everywhere(t, Memory, func(t *testing.T, l Layout) {
		m, err := start(t, l, nil, "wait").ready().Metrics()
		if err != nil || m.Memory.Usage.Limit != math.MaxUint64 || m.Pids.Limit != 0 {
			t.Errorf("%+v, %v", m, err)
		}
	})
}

func TestRanges(t *testing.T) {
	for in, want := range map[string][]uint16{"0-3,7\n": {0, 1, 2, 3, 7}, "5": {5}, "\n": nil, "": nil, "x-2,1": {1}, "3-1": nil} {
		if got := ranges(content(in)); !slices.Equal(got, want) {
			t.Errorf("ranges(%q) = %v, want %v", in, got, want)
		}
	}
}
