package systemd

import (
	"math"

	"github.com/godbus/dbus/v5"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"minict/runtime/cgroup"
)

// Limits gives the limits that systemd has words for, as it sets those of its
// units again when it is reloaded. 0 is "not set", and negative is none, as in
// package cgroup; v2 says which version of cgroups systemd uses.
func Limits(r *specs.LinuxResources, v2 bool) []Property {
	if r == nil {
		return nil
	}
	l := &list{}
	if m := r.Memory; m != nil && v2 {
		l.bytes("MemoryMax", m.Limit)
		l.bytes("MemoryLow", m.Reservation)
		if m.Limit != nil && m.Swap != nil && *m.Limit > 0 && *m.Swap >= *m.Limit {
			l.add("MemorySwapMax", uint64(*m.Swap-*m.Limit))
		}
	} else if m != nil {
		l.bytes("MemoryLimit", m.Limit)
	}
	if c := r.CPU; c != nil {
		l.cpu(c, v2)
	}
	if p := r.Pids; p != nil && p.Limit != nil {
		l.add("TasksMax", unlimited(*p.Limit))
	}
	return l.properties
}

// list is a list of properties in the making.
type list struct{ properties []Property }

func (l *list) add(name string, value uint64) {
	l.properties = append(l.properties, Property{name, dbus.MakeVariant(value)})
}

func (l *list) bytes(name string, n *int64) {
	if n != nil && *n != 0 {
		l.add(name, unlimited(*n))
	}
}

func (l *list) cpu(c *specs.LinuxCPU, v2 bool) {
	switch {
	case c.Shares == nil || *c.Shares == 0:
	case v2:
		l.add("CPUWeight", cgroup.Weight(*c.Shares))
	default:
		l.add("CPUShares", *c.Shares)
	}
	if c.Quota == nil || *c.Quota == 0 {
		return
	}
	perSecond := uint64(math.MaxUint64)
	if *c.Quota > 0 {
		period := uint64(100_000) // microseconds, the kernel's own default
		if c.Period != nil && *c.Period != 0 {
			period = *c.Period
			l.add("CPUQuotaPeriodUSec", period)
		}
		// systemd counts in hundredths of a CPU.
		const step = 10_000
		perSecond = (uint64(*c.Quota)*1_000_000/period + step - 1) / step * step
	}
	l.add("CPUQuotaPerSecUSec", perSecond)
}

func unlimited(n int64) uint64 {
	if n < 0 {
		return math.MaxUint64
	}
	return uint64(n)
}
