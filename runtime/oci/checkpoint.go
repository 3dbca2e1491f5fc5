package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime"
	"minict/runtime/cgroup"
	"minict/runtime/criu"
)

// CheckpointOptions are what the command line says of a checkpoint.
type CheckpointOptions struct {
	CRIUOptions
	Parent       string // directory of earlier images, relative to these
	PreDump      bool   // the memory alone; the container runs on
	LeaveRunning bool
	PageServer   criu.PageServer
	StatusFD     int // told when the pages can be fetched; 0: none

	TCPSkipInFlight, LinkRemap bool
}

// Checkpoint has CRIU write a container that runs to a directory. Unless it is
// left running, it is gone then, and its files are removed like by Delete.
// When that fails it runs on.
func (c *Container) Checkpoint(opt CheckpointOptions) error {
	pidfd, status, release, err := c.hold()
	if err != nil {
		return err
	}
	defer release()
	if status != specs.StateRunning && status != statusPaused {
		return fmt.Errorf("cannot checkpoint a container that is %s", status)
	}
	cmd, err := c.dumpCommand(&opt)
	if err != nil {
		return err
	}
	kind := criu.Dump
	if opt.PreDump {
		kind = criu.PreDump
	}
	if _, err := cmd.Do(kind); err != nil {
		return errors.Join(err, c.goOn(pidfd, status))
	}
	if opt.PreDump || opt.LeaveRunning {
		return nil
	}
	if err := c.destroy(); err != nil {
		return err
	}
	return c.r.remove(c.ID)
}

// goOn thaws what CRIU has frozen if it could not do that itself.
func (c *Container) goOn(pidfd int, before Status) error {
	now, err := c.status(pidfd)
	if err != nil || now == before || now != statusPaused {
		return err
	}
	return c.Resume()
}

// dumpCommand is CRIU as it dumps this container.
func (c *Container) dumpCommand(opt *CheckpointOptions) (*criu.Command, error) {
	spec, err := c.Config()
	if err != nil {
		return nil, err
	}
	if err := checkMounts(spec); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opt.Images, 0o700); err != nil {
		return nil, err
	}
	if err := opt.checkParent(); err != nil {
		return nil, err
	}
	cmd, err := opt.command(c.record.Annotations, dumpLog, nil)
	if err != nil {
		return nil, err
	}
	cmd.Pid, cmd.Root = c.first.pid, c.record.Rootfs
	cmd.LeaveRunning, cmd.TCPSkipInFlight, cmd.LinkRemap = opt.LeaveRunning, opt.TCPSkipInFlight, opt.LinkRemap
	cmd.ParentImages, cmd.TrackMem = opt.Parent, opt.PreDump || opt.Parent != ""
	cmd.PageServer, cmd.StatusFD = opt.PageServer, opt.StatusFD
	err = c.withCgroup(func(_ context.Context, g *cgroup.Cgroup) error {
		cmd.FreezeCgroup = g.Freezer()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return cmd, c.dumpOutside(cmd, spec, opt)
}

// dumpOutside names what comes from outside: CRIU is not to dump it.
func (c *Container) dumpOutside(cmd *criu.Command, spec *specs.Spec, opt *CheckpointOptions) error {
	mounts, err := readMounts(fmt.Sprint(c.first.pid))
	if err != nil {
		return err
	}
	list, err := runtime.ShownMounts(spec, c.record.Bundle)
	if err != nil {
		return err
	}
	if cmd.Mounts, err = toDump(list, c.first.pid, mounts); err != nil {
		return err
	}
	names, err := streams(c.first.pid, mounts, opt.ShellJob)
	if err != nil {
		return err
	}
	for _, name := range names {
		if outside(name) {
			cmd.External = append(cmd.External, name)
		}
	}
	if err := writeStreams(opt.Images, names); err != nil {
		return err
	}
	return c.dumpNamespaces(cmd, spec)
}

// dumpNamespaces names the namespaces that CRIU is not to dump.
func (c *Container) dumpNamespaces(cmd *criu.Command, spec *specs.Spec) error {
	for _, ns := range spec.Linux.Namespaces {
		kind := externalKind(ns.Type)
		if kind == "" || ns.Path == "" {
			continue
		}
		ino, err := inode(fmt.Sprintf("/proc/%d/ns/%s", c.first.pid, kind))
		if err != nil {
			return err
		}
		cmd.External = append(cmd.External, fmt.Sprintf("%s[%d]:%s", kind, ino, namespaceKey(kind)))
	}
	return nil
}

// checkParent looks at the earlier images before CRIU does: it dumps everything
// again if they are not there.
func (o *CheckpointOptions) checkParent() error {
	if o.Parent == "" {
		return nil
	}
	if filepath.IsAbs(o.Parent) {
		return fmt.Errorf("the parent path %s has to be relative to the images in %s", o.Parent, o.Images)
	}
	if err := isDirectory(filepath.Join(o.Images, o.Parent)); err != nil {
		return fmt.Errorf("parent path: %w", err)
	}
	return nil
}

func isDirectory(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		return &os.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}
	}
	return err
}
