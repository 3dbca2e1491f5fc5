package seccomp

import (
	"runtime"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// What is told to be known is known.
func TestFeatures(t *testing.T) {
	for _, action := range Actions {
		if _, err := parseAction(action, nil); err != nil {
			t.Error(err)
		}
	}
	for _, op := range Operators {
		if err := checkCondition(specs.LinuxSeccompArg{Op: op}); err != nil {
			t.Error(err)
		}
	}
	if _, err := parseFlags(&specs.LinuxSeccomp{Flags: Flags}, true); err != nil {
		t.Error(err)
	}
	archs := Archs(runtime.GOARCH)
	if len(archs) == 0 || slices.ContainsFunc(archs, func(a specs.Arch) bool { return !knownArch(a) }) {
		t.Errorf("architectures %v", archs)
	}
	// All of them are older than what minict needs, but for the last.
	if supported := Supported(); len(supported) < len(Flags)-1 {
		t.Errorf("only %v are supported", supported)
	}
}
