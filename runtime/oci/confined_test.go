package oci

import (
	"reflect"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// What is executed is held by the same labels as the container's first process,
// unless it names its own.
func TestConfined(t *testing.T) {
	first := &specs.Process{
		ApparmorProfile: "a", SelinuxLabel: "b", Scheduler: &specs.Scheduler{Policy: specs.SchedIdle},
		IOPriority: &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_IDLE}, ExecCPUAffinity: &specs.CPUAffinity{Final: "1"},
		Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}},
	}
	p := &specs.Process{Cwd: "/"}
	want := &specs.Process{
		Cwd: "/", ApparmorProfile: "a", SelinuxLabel: "b", Scheduler: first.Scheduler,
		IOPriority: first.IOPriority, ExecCPUAffinity: first.ExecCPUAffinity,
	}
	if got := confined(p, first); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	own := &specs.Process{ApparmorProfile: "x", SelinuxLabel: "y", ExecCPUAffinity: &specs.CPUAffinity{Final: "0"}, Scheduler: &specs.Scheduler{}, IOPriority: &specs.LinuxIOPriority{}}
	if got := confined(own, first); !reflect.DeepEqual(got, own) {
		t.Errorf("got %+v", got)
	}
}
