package oci

import (
	"errors"
	"fmt"
	"os/exec"
)

// criuFlags are the flags of checkpoint and of restore, some of both.
var criuFlags = []struct {
	name, usage          string
	bool                 bool
	checkpoint, restores bool
}{
	{"image-path", "`directory` of CRIU's images", false, true, true},
	{"work-path", "`directory` of CRIU's log", false, true, true},
	{"parent-path", "`directory` of the images of an earlier --pre-dump", false, true, false},
	{"leave-running", "let the container run on", true, true, false},
	{"tcp-established", "also open TCP connections", true, true, true},
	{"ext-unix-sk", "also sockets to the outside", true, true, true},
	{"shell-job", "also a container on the user's terminal", true, true, true},
	{"lazy-pages", "bring memory back when it is used", true, true, true},
	{"status-fd", "`descriptor` that is told when --lazy-pages is ready", false, true, false},
	{"page-server", "`address:port` of CRIU's page server", false, true, false},
	{"file-locks", "also locks on files", true, true, true},
	{"pre-dump", "write the memory alone, and let the container run on", true, true, false},
	{"manage-cgroups-mode", "`mode`: soft, full or strict", false, true, true},
	{"empty-ns", "`namespace` to leave empty", false, true, true},
	{"auto-dedup", "keep equal pages once", true, true, true},
	{"detach", "return as soon as the program runs", true, false, true},
	{"no-subreaper", "do not become the parent of processes that lose theirs", true, false, true},
	{"lsm-profile", "`TYPE:NAME` of the security module's profile", false, false, true},
	{"lsm-mount-context", "`context` of the mounts", false, false, true},
}

func (a *app) checkpoint(f *flags) func([]string) error {
	for _, c := range criuFlags {
		if c.checkpoint {
			f.ignored(c.name, c.usage, c.bool)
		}
	}
	return a.withCRIU
}

func (a *app) restore(f *flags) func([]string) error {
	var c createFlags
	c.register(f)
	for _, flag := range criuFlags {
		if flag.restores {
			f.ignored(flag.name, flag.usage, flag.bool)
		}
	}
	return a.withCRIU
}

// ignored registers a flag that engines give and nobody reads.
func (f *flags) ignored(name, usage string, isBool bool) {
	if isBool {
		f.bool(new(bool), name, "", usage)
		return
	}
	f.text(new(string), name, "", "", usage)
}

// withCRIU is what checkpoint and restore do so far: they say that they can't.
func (a *app) withCRIU([]string) error {
	if _, err := exec.LookPath(a.criu); err != nil {
		return fmt.Errorf("checkpoint and restore need CRIU: %w", err)
	}
	return errors.New("checkpoint and restore are not supported, with CRIU either")
}
