package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/cgroup"
	"minict/runtime/criu"
	"minict/runtime/launch"
	"minict/runtime/plan"
)

// furnish makes the root filesystem the mount that CRIU wants it to be, on its
// own place, and binds what the container is shown of the host. Nobody sees that
// but CRIU, with which it goes; the container's directory has the places.
func (b *restoration) furnish() error {
	root := b.c.record.Rootfs
	if err := unix.Mount(root, root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return &os.PathError{Op: "bind", Path: root, Err: err}
	}
	if err := unix.Mount("", root, "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return &os.PathError{Op: "make private", Path: root, Err: err}
	}
	if err := unix.Mount("tmpfs", b.c.dir, "tmpfs", 0, "mode=700"); err != nil {
		return &os.PathError{Op: "mount tmpfs on", Path: b.c.dir, Err: err}
	}
	if err := os.Mkdir(b.yard(), 0o700); err != nil {
		return err
	}
	return bindShown(b.shown, b.place)
}

// yard is where CRIU mounts cgroups.
func (b *restoration) yard() string { return filepath.Join(b.c.dir, "cgroups") }

func (b *restoration) place(i int) string { return filepath.Join(b.c.dir, strconv.Itoa(i)) }

// inherit hands CRIU the standard streams that came from outside, and the
// namespaces that are somebody else's.
func (b *restoration) inherit(cmd *criu.Command) error {
	names, err := readStreams(b.opt.Images)
	if err != nil {
		return err
	}
	give := func(key string, f *os.File) {
		cmd.Inherit = append(cmd.Inherit, criu.Inherit{Key: key, FD: criu.FirstFile + len(cmd.Files)})
		cmd.Files = append(cmd.Files, f)
	}
	streams := []*os.File{b.opt.In, b.opt.Out, b.opt.Err}
	for i, name := range names[:min(len(names), len(streams))] {
		if strings.HasPrefix(name, "tty[") && !b.opt.ShellJob {
			return errTerminal
		}
		if outside(name) && !slices.Contains(names[:i], name) {
			give(name, streams[i])
		}
	}
	for _, ns := range b.spec.Linux.Namespaces {
		if ns.Path == "" {
			continue
		}
		if kind := joinedKind(ns.Type); kind != "" {
			cmd.Join = append(cmd.Join, criu.Pair{Key: kind, Value: ns.Path})
		}
		if kind := externalKind(ns.Type); kind != "" {
			f, err := os.Open(ns.Path)
			if err != nil {
				return fmt.Errorf("%s namespace: %w", ns.Type, err)
			}
			b.files = append(b.files, f)
			give(namespaceKey(kind), f)
		}
	}
	return nil
}

// cgroupRoots say that the cgroups are restored where this container's are, and
// not where those of the dumped one were.
func (b *restoration) cgroupRoots() []criu.CgroupRoot {
	group, layout := b.c.record.Cgroup, b.host.Cgroup
	if group == "" {
		return nil
	}
	var list []criu.CgroupRoot
	for _, h := range layout.V1 {
		for _, name := range strings.Fields(h.Controllers.String()) {
			if name == "io" {
				name = "blkio"
			}
			list = append(list, criu.CgroupRoot{Controller: name, Path: group})
		}
	}
	if layout.Unified != "" {
		list = append(list, criu.CgroupRoot{Path: group})
	}
	return list
}

// limitedByImages says that the limits are those of the images, and not of the
// configuration.
func (b *restoration) limitedByImages() bool {
	return b.opt.CgroupMode == criu.Full || b.opt.CgroupMode == criu.Strict
}

// limits are those of the configuration that CRIU does not restore: the device
// rules are a filter of version 2, of which it knows nothing.
func (b *restoration) limits() *specs.LinuxResources {
	all := b.spec.Linux.Resources
	if all == nil || !b.limitedByImages() {
		return all
	}
	return &specs.LinuxResources{Devices: all.Devices}
}

// unlimited is what CRIU may use: it tries out devices of the host.
func unlimited() *specs.LinuxResources {
	return &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}}
}

// enterCgroup makes the container's cgroup around CRIU, so that whatever becomes
// of it, all that it has restored can be found. The limits are not for CRIU: they
// come when it is through. In the mode strict CRIU makes the cgroup, and there
// must be none.
func (b *restoration) enterCgroup(pid int) error {
	c := b.c
	if c.record.Cgroup == "" {
		return nil
	}
	if b.opt.CgroupMode == criu.Strict {
		return b.leaveCgroup()
	}
	if c.record.Scope != nil {
		if err := c.enterScope(pid, unlimited()); err != nil {
			return err
		}
		b.entered = true
		return c.markRestoring()
	}
	if err := b.makeCgroup(); err != nil {
		return err
	}
	b.entered = true
	if err := c.markRestoring(); err != nil {
		return err
	}
	return c.inCgroup(func(_ context.Context, g *cgroup.Cgroup) error { return g.Add(pid) })
}

// leaveCgroup leaves the cgroup to CRIU.
func (b *restoration) leaveCgroup() error {
	group, err := b.c.cgroup()
	if err == nil {
		return errors.Join(fmt.Errorf("the cgroup mode is strict, and cgroup %s exists", b.c.record.Cgroup), group.Close())
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b.entered = true
	return b.c.markRestoring()
}

func (c *Container) markRestoring() error {
	return os.WriteFile(filepath.Join(c.dir, restoringFile), nil, 0o600)
}

func (b *restoration) makeCgroup() error {
	var builder plan.Builder
	if _, err := b.host.Cgroup.Plan(&builder, b.c.record.Cgroup, unlimited(), engine); err != nil {
		return err
	}
	if err := builder.Err(); err != nil {
		return err
	}
	p := builder.Plan(0, plan.NoSlot)
	prog, err := launch.New(p.Ready(), nil, false)
	if err != nil {
		return err
	}
	defer prog.Close()
	if err := prog.Run(plan.Host); err != nil {
		return undone(p, prog, err)
	}
	return nil
}

// notified does what is to be done while CRIU waits: action scripts, criu(8).
func (b *restoration) notified(script string, pid int, fd *os.File) error {
	switch script {
	case "setup-namespaces":
		return b.namespaces(pid)
	case "orphan-pts-master":
		if fd != nil && b.opt.Terminal != nil {
			return b.opt.Terminal(fd)
		}
	case "post-restore":
		return b.processes(pid)
	}
	if fd != nil {
		return fd.Close()
	}
	return nil
}

// namespaces is called when there is a first process, in its namespaces, and
// nothing in them: what createRuntime does for a new container.
func (b *restoration) namespaces(pid int) (err error) {
	if b.pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
		b.pidfd = -1
		return os.NewSyscallError("pidfd_open", err)
	}
	b.pid = pid
	return b.c.createRuntime(&launch.Child{Pid: pid, Pidfd: b.pidfd, Sent: -1}, b.spec, b.host)
}

// processes is called when all is restored, and nothing runs yet.
func (b *restoration) processes(pid int) error {
	if b.pidfd < 0 {
		return fmt.Errorf("CRIU restored process %d and did not tell before", pid)
	}
	if b.c.record.Cgroup != "" {
		err := b.c.inCgroup(func(_ context.Context, g *cgroup.Cgroup) error { return g.Adopt(b.limits(), engine) })
		if err != nil {
			return err
		}
	}
	if b.opt.Created == nil {
		return nil
	}
	return b.opt.Created(pid, b.pidfd)
}
