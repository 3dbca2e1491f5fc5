package oci

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/docker/go-units"
	"github.com/opencontainers/runtime-spec/specs-go"

	containers "minict/runtime/oci"
)

// limit is a flag of update that sets one number of the resources.
type limit struct {
	name, usage string
	set         func(r *specs.LinuxResources, n int64)
	bytes       bool // may have a unit
}

var limits = []limit{
	{name: "blkio-weight", usage: "share of block I/O, 10 to 1000", set: func(r *specs.LinuxResources, n int64) {
		r.BlockIO = &specs.LinuxBlockIO{Weight: pointer(uint16(n))}
	}},
	{name: "cpu-period", usage: "period of --cpu-quota, in microseconds", set: func(r *specs.LinuxResources, n int64) { cpu(r).Period = pointer(uint64(n)) }},
	{name: "cpu-quota", usage: "CPU time in each period, in microseconds", set: func(r *specs.LinuxResources, n int64) { cpu(r).Quota = &n }},
	{name: "cpu-burst", usage: "CPU time that may be saved up, in microseconds", set: func(r *specs.LinuxResources, n int64) { cpu(r).Burst = pointer(uint64(n)) }},
	{name: "cpu-share", usage: "share of CPU time, against other containers", set: func(r *specs.LinuxResources, n int64) { cpu(r).Shares = pointer(uint64(n)) }},
	{name: "cpu-rt-period", usage: "period of --cpu-rt-runtime, in microseconds", set: func(r *specs.LinuxResources, n int64) { cpu(r).RealtimePeriod = pointer(uint64(n)) }},
	{name: "cpu-rt-runtime", usage: "realtime CPU time in each period, in microseconds", set: func(r *specs.LinuxResources, n int64) { cpu(r).RealtimeRuntime = &n }},
	{name: "cpu-idle", usage: "1: only when nobody else wants to", set: func(r *specs.LinuxResources, n int64) { cpu(r).Idle = &n }},
	{name: "memory", bytes: true, usage: "memory limit, in bytes or with a unit", set: func(r *specs.LinuxResources, n int64) { memory(r).Limit = &n }},
	{name: "memory-reservation", bytes: true, usage: "memory that is left to it under pressure", set: func(r *specs.LinuxResources, n int64) { memory(r).Reservation = &n }},
	{name: "memory-swap", bytes: true, usage: "memory and swap together; -1 for any amount", set: func(r *specs.LinuxResources, n int64) { memory(r).Swap = &n }},
	{name: "pids-limit", usage: "processes and threads; -1 for any number", set: func(r *specs.LinuxResources, n int64) { r.Pids = &specs.LinuxPids{Limit: &n} }},
}

func pointer[T any](v T) *T { return &v }

func cpu(r *specs.LinuxResources) *specs.LinuxCPU {
	if r.CPU == nil {
		r.CPU = new(specs.LinuxCPU)
	}
	return r.CPU
}

func memory(r *specs.LinuxResources) *specs.LinuxMemory {
	if r.Memory == nil {
		r.Memory = new(specs.LinuxMemory)
	}
	return r.Memory
}

func (a *app) update(f *flags) func([]string) error {
	var file, cpus, mems, cache, bandwidth string
	f.text(&file, "resources", "r", "", "`file` with the resources as JSON, as in config.json; - is standard input")
	values := make(map[string]*string)
	for _, l := range limits {
		values[l.name] = new(string)
		f.text(values[l.name], l.name, "", "", l.usage)
	}
	f.text(&cpus, "cpuset-cpus", "", "", "CPUs to use")
	f.text(&mems, "cpuset-mems", "", "", "memory nodes to use")
	f.text(&cache, "l3-cache-schema", "", "", "schema of Intel RDT for the L3 cache")
	f.text(&bandwidth, "mem-bw-schema", "", "", "schema of Intel RDT for memory bandwidth")
	return func(args []string) error {
		c, err := a.container(args[0])
		if err != nil {
			return err
		}
		r := new(specs.LinuxResources)
		if file != "" {
			if err := a.readResources(file, r); err != nil {
				return err
			}
			return c.Update(r)
		}
		if err := setLimits(r, f, values); err != nil {
			return err
		}
		if f.given("cpuset-cpus") {
			cpu(r).Cpus = cpus
		}
		if f.given("cpuset-mems") {
			cpu(r).Mems = mems
		}
		if cache != "" || bandwidth != "" {
			return fmt.Errorf("update of Intel RDT is not supported")
		}
		return c.Update(r)
	}
}

func setLimits(r *specs.LinuxResources, f *flags, values map[string]*string) error {
	for _, l := range limits {
		if !f.given(l.name) {
			continue
		}
		s := *values[l.name]
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil && l.bytes {
			n, err = units.RAMInBytes(s)
		}
		if err != nil {
			return fmt.Errorf("--%s %q is not a number", l.name, s)
		}
		l.set(r, n)
	}
	return nil
}

// maxResources is the size of the largest file of resources, in bytes.
const maxResources = 1 << 20

func (a *app) readResources(file string, r *specs.LinuxResources) error {
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(io.LimitReader(a.In, maxResources))
	} else {
		data, err = containers.ReadBounded(file, maxResources)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, r); err != nil {
		return fmt.Errorf("read resources: %w", err)
	}
	return nil
}
