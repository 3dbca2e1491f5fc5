package oci

import (
	"fmt"
	"os"
	"path/filepath"

	"minict/runtime/criu"
	containers "minict/runtime/oci"
)

// criuFlags are the flags of both checkpoint and restore.
type criuFlags struct {
	containers.CRIUOptions
	images, work, mode, emptyNamespace string
}

func (c *criuFlags) register(f *flags) {
	f.text(&c.images, "image-path", "", "checkpoint", "`directory` of CRIU's images (default checkpoint)")
	f.text(&c.work, "work-path", "", "", "`directory` of CRIU's log (default: that of the images)")
	f.bool(&c.TCPEstablished, "tcp-established", "", "also open TCP connections")
	f.bool(&c.ExtUnixSk, "ext-unix-sk", "", "also unix sockets to the outside")
	f.bool(&c.ShellJob, "shell-job", "", "also a container on the user's terminal")
	f.bool(&c.FileLocks, "file-locks", "", "also locks on files")
	f.bool(&c.LazyPages, "lazy-pages", "", "bring memory back when it is used")
	f.bool(&c.AutoDedup, "auto-dedup", "", "keep memory once that earlier images have too")
	f.text(&c.mode, "manage-cgroups-mode", "", "soft", "`mode`: soft (default), full, strict or ignore")
	f.text(&c.emptyNamespace, "empty-ns", "", "", "`namespace` that is left empty: network")
}

// options completes what the flags say.
func (c *criuFlags) options(program string) (opt containers.CRIUOptions, err error) {
	opt = c.CRIUOptions
	opt.Program = program
	if opt.CgroupMode, err = criu.ParseCgroupMode(c.mode); err != nil {
		return opt, fmt.Errorf("--manage-cgroups-mode: %w", err)
	}
	switch c.emptyNamespace {
	case "":
	case "network":
		opt.EmptyNetwork = true
	default:
		return opt, fmt.Errorf("--empty-ns %q is not network", c.emptyNamespace)
	}
	if opt.Images, err = filepath.Abs(c.images); err != nil || c.work == "" {
		return opt, err
	}
	opt.Work, err = filepath.Abs(c.work)
	return opt, err
}

// descriptor reads the number of a descriptor that the caller has opened for us.
func descriptor(flag string, n int) error {
	if n == 0 {
		return nil
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/self/fd/%d", n)); err != nil || n < 0 {
		return fmt.Errorf("--%s %d is not open", flag, n)
	}
	return nil
}
