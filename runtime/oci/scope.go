package oci

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime"
	"minict/runtime/cgroup"
	"minict/runtime/systemd"
)

// chooseCgroup decides where the container's cgroup is, and whether systemd
// makes it. An ordinary user has none where nobody has handed one to him.
func (r *Runtime) chooseCgroup(l *specs.Linux, id string, host runtime.Host) (group string, scope *systemd.Scope, err error) {
	if r.Systemd {
		s, err := systemd.Parse(l.CgroupsPath, id)
		if err != nil {
			return "", nil, fmt.Errorf("linux.cgroupsPath: %w", err)
		}
		return s.Group(), &s, nil
	}
	if group, err = cgroup.Path(l.CgroupsPath, id); err != nil {
		return "", nil, fmt.Errorf("linux.cgroupsPath: %w", err)
	}
	if !host.Rootless || mayMake(host.Cgroup, group) {
		return group, nil, nil
	}
	if limited(l.Resources) && !r.Rootless {
		return "", nil, errors.New("linux.resources: an ordinary user has no cgroup for limits (--rootless=true leaves them out)")
	}
	return "", nil, nil
}

// mayMake says whether this process may make the group in all hierarchies.
func mayMake(l cgroup.Layout, group string) bool {
	mounts := []string{l.Unified}
	for _, h := range l.V1 {
		mounts = append(mounts, h.Mount)
	}
	for _, mount := range mounts {
		if mount == "" {
			continue
		}
		dir := mount + group
		for unix.Access(dir, unix.F_OK) != nil && dir != mount {
			dir = path.Dir(dir)
		}
		if unix.Access(dir, unix.W_OK) != nil {
			return false
		}
	}
	return true
}

// limited says whether there are limits, beside what devices may be used: of
// these an ordinary user can use none that he may not use anyway.
func limited(r *specs.LinuxResources) bool {
	return r != nil && (r.Memory != nil || r.CPU != nil || r.Pids != nil || r.BlockIO != nil || r.Network != nil ||
		len(r.HugepageLimits)+len(r.Rdma)+len(r.Unified) > 0)
}

// engine are the rules for a cgroup that an engine looks after.
var engine = cgroup.Options{Engine: true}

// enterScope has systemd make the cgroup, around the process.
func (c *Container) enterScope(pid int, r *specs.LinuxResources) error {
	layout, err := c.layout()
	if err != nil {
		return err
	}
	err = c.withSystemd(func(ctx context.Context, m *systemd.Manager) error {
		return m.Start(ctx, *c.record.Scope, pid, systemd.Limits(r, len(layout.V1) == 0))
	})
	if err != nil {
		return err
	}
	return c.inCgroup(func(_ context.Context, g *cgroup.Cgroup) error { return g.Adopt(r, engine) })
}

func (c *Container) withSystemd(do func(context.Context, *systemd.Manager) error) error {
	m, err := systemd.Connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), mercy)
	defer cancel()
	return errors.Join(do(ctx, m), m.Close())
}

// removeCgroup removes the cgroup, and the unit that it belongs to.
func (c *Container) removeCgroup() error {
	if scope := c.record.Scope; scope != nil {
		err := c.withSystemd(func(ctx context.Context, m *systemd.Manager) error { return m.Stop(ctx, *scope) })
		if err != nil {
			return err
		}
	}
	return c.withCgroup(func(ctx context.Context, group *cgroup.Cgroup) error { return group.Remove(ctx) })
}

// Update changes limits; what r does not name stays as it is.
func (c *Container) Update(r *specs.LinuxResources) error {
	if err := c.must("update", specs.StateRunning, specs.StateCreated, statusPaused); err != nil {
		return err
	}
	layout, err := c.layout()
	if err != nil {
		return err
	}
	if scope := c.record.Scope; scope != nil {
		err := c.withSystemd(func(ctx context.Context, m *systemd.Manager) error {
			return m.Limit(ctx, *scope, systemd.Limits(r, len(layout.V1) == 0))
		})
		if err != nil {
			return err
		}
	}
	return c.inCgroup(func(_ context.Context, g *cgroup.Cgroup) error { return g.Update(r) })
}
