package cgroup

import (
	"errors"
	"fmt"
)

// ErrUnavailable says that a resource was asked for that this machine has no
// controller for.
var ErrUnavailable = errors.New("not available in this machine's cgroups")

// write is one value for one file of a group: what all limits come down to.
type write struct {
	set   Set    // the controller that has the file
	file  string // in the group's directory
	value string
	// other is used instead when the file is not there: kernels differ.
	other *write
	// spare: when no file is there, that is no error.
	spare bool
	what  string // what it limits, for people: "memory"
	why   string
}

// writer turns OCI resources into writes.
type writer struct {
	layout   Layout
	optional Set
	current  current
	list     []write
	errs     []error
}

// current is what a change of limits has to know of the present ones; its
// zero value is that of a new group, which has none.
type current struct {
	memoryMax int64  // bytes, version 2; 0: none
	cpuMax    string // version 2: "max" or microseconds
}

// version says how the controller is mounted. Without it ok is false, and
// unless the wish is optional that is noted as an error.
func (w *writer) version(set Set, what string) (v2, ok bool) {
	_, v2, ok = w.layout.on(set)
	if !ok && w.optional&set == 0 {
		w.errs = append(w.errs, fmt.Errorf("%s: controller %v is %w", what, set, ErrUnavailable))
	}
	return v2, ok
}

// only1 notes that cgroup v2 has nothing for this wish.
func (w *writer) only1(what string) {
	w.errs = append(w.errs, fmt.Errorf("%s: only cgroup v1 has it: %w", what, ErrUnavailable))
}

func (w *writer) fail(format string, args ...any) {
	w.errs = append(w.errs, fmt.Errorf(format, args...))
}

// add notes a write; its spare and other may be set through the result, until
// the next one is added.
func (w *writer) add(set Set, file, value, what, why string) *write {
	w.list = append(w.list, write{
		set: set, file: file, value: value, what: what, why: why,
		spare: w.optional&set != 0,
	})
	return &w.list[len(w.list)-1]
}

// orElse names the file, and the value, for kernels that lack the first.
func (x *write) orElse(file, value string) {
	other := *x
	other.file, other.value = file, value
	x.other = &other
}
