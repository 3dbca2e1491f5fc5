package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ErrBelowUsage says that a memory limit is less than what is in use, which
// checkBeforeUpdate asks not to set.
var ErrBelowUsage = errors.New("the new memory limit is below what is in use")

// Update changes limits; what r does not name stays as it is. A hierarchy
// that the group is not in yet is joined by all processes. When it fails,
// some limits may have been changed.
func (c *Cgroup) Update(r *specs.LinuxResources) error {
	if err := c.update(r); err != nil {
		return fmt.Errorf("update cgroup %s: %w", c.path, err)
	}
	return nil
}

// Adopt does for a group that exists, and has processes, what Plan does for a
// new one: it was made by systemd.
func (c *Cgroup) Adopt(r *specs.LinuxResources, opt Options) error {
	if err := c.apply(r, opt); err != nil {
		return fmt.Errorf("limit cgroup %s: %w", c.path, err)
	}
	return nil
}

func (c *Cgroup) update(r *specs.LinuxResources) error {
	if r == nil {
		return nil
	}
	if err := c.checkUsage(r.Memory); err != nil {
		return err
	}
	return c.apply(r, Options{})
}

func (c *Cgroup) apply(r *specs.LinuxResources, opt Options) error {
	list, err := c.layout.writes(r, opt.Optional, c.current())
	if err != nil {
		return err
	}
	filter, err := c.layout.deviceFilter(r, opt)
	if err != nil {
		return err
	}
	need := needs(list)
	if opt.Engine {
		for _, h := range c.layout.V1 {
			need |= h.Controllers
		}
	}
	if filter != nil {
		need |= Devices
	}
	if err := c.extend(need); err != nil {
		return err
	}
	if err := c.writeAll(list); err != nil {
		return err
	}
	return c.refilter(filter)
}

// current reads what a partial change has to know.
func (c *Cgroup) current() current {
	var now current
	r := &reader{}
	if d, ok := c.find(Memory); ok && d.v2 {
		now.memoryMax = int64(r.file(d, "memory.max").number())
	}
	if d, ok := c.find(CPU); ok && d.v2 {
		now.cpuMax, _, _ = strings.Cut(string(r.file(d, "cpu.max")), " ")
	}
	return now
}

// checkUsage is what version 1 does by itself.
func (c *Cgroup) checkUsage(m *specs.LinuxMemory) error {
	if m == nil || m.CheckBeforeUpdate == nil || !*m.CheckBeforeUpdate || m.Limit == nil || *m.Limit <= 0 {
		return nil
	}
	d, ok := c.find(Memory)
	if !ok {
		return nil
	}
	r := &reader{}
	if usage := r.memory(d).Usage; usage > uint64(*m.Limit) {
		return fmt.Errorf("%w: %d > %d", ErrBelowUsage, usage, *m.Limit)
	}
	return r.err
}

// writeAll writes all values. Which of two that bound each other comes first
// depends on whether they grow or shrink (memory and memsw, quota, period and
// burst): so those that the kernel refuses are written again after the rest.
func (c *Cgroup) writeAll(list []write) error {
	var refused []write
	for _, w := range list {
		if err := c.write(w); errors.Is(err, unix.EINVAL) {
			refused = append(refused, w)
		} else if err != nil {
			return err
		}
	}
	for _, w := range slices.Backward(refused) {
		if err := c.write(w); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cgroup) write(w write) error {
	d, ok := c.find(w.set)
	if w.set == 0 {
		d, ok = c.unified()
	}
	if !ok {
		return fmt.Errorf("%s: %w", w.file, ErrUnavailable)
	}
	err := writeFile(d.f, w.file, w.value)
	switch gone := errors.Is(err, fs.ErrNotExist); {
	case gone && w.other != nil:
		return c.write(*w.other)
	case gone && w.spare:
		return nil
	case err != nil:
		return fmt.Errorf("limit %s to %s: %w", w.what, strconv.Quote(w.value), err)
	}
	return nil
}
