package runtime

import (
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"minict/runtime/launch"
	"minict/runtime/plan"
)

// peek has a process of a container look at the others that it sees, but for
// PID 1, and gives what it can find out and had better not.
func peek(t *testing.T, spec *specs.Spec, target int) string {
	t.Helper()
	r, err := execute(t, spec, target, nil, `for p in /proc/[0-9]*; do
		case $p in /proc/1|/proc/$$) continue;; esac
		echo a process
		for f in root cwd exe fd/0 fd/1 fd/2 fd/3 fd/4 fd/5 fd/6 fd/7 fd/8 fd/9 ns/mnt; do readlink $p/$f; done
		cat $p/environ $p/maps; head -c 1 $p/mem; (echo >$p/mem) && echo written
		done 2>/dev/null`)
	if err != nil {
		t.Fatal(err)
	}
	return r.stdout
}

var errPeeked = errors.New("looked at")

// While a container is set up in a pid namespace with others in it, they learn
// nothing of it: neither its descriptors, nor its memory, nor where it is
// (CVE-2016-9962). In a user namespace its root may trace, and still not this.
func TestSetUpIsGuarded(t *testing.T) {
	for name, change := range map[string]func(*specs.Spec){
		"plain": func(*specs.Spec) {},
		"users": func(s *specs.Spec) { ownUsers(t)(s); mayTrace(s) },
	} {
		infra := ordinary(bundle(t), "echo up; exec sleep 1000")
		change(infra)
		target := sleeper(t, infra)
		spec := ordinary(bundle(t), "true")
		change(spec)
		kinds := []specs.LinuxNamespaceType{specs.PIDNamespace}
		if name == "users" {
			kinds = append(kinds, specs.UserNamespace)
		}
		joining(pidOf(t, target), kinds...)(spec)
		host, err := Probe()
		if err != nil {
			t.Fatal(err)
		}
		compile := func() *plan.Plan {
			p, err := Compile(spec, host, Options{})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		for _, verb := range []string{"attach", "mount", "pivot_root", "set capabilities", "close", "exec"} {
			checkGuarded(t, name+", "+verb, pausedAt(t, compile(), verb), nil, infra, target)
		}
	}
}

// What joins a container to execute one more process in it appears there only
// without rights, and guarded still.
func TestExecIsGuarded(t *testing.T) {
	for name, change := range map[string]func(*specs.Spec){
		"plain": func(*specs.Spec) {},
		"users": func(s *specs.Spec) { ownUsers(t)(s); mayTrace(s) },
	} {
		spec := ordinary(bundle(t), "echo up; exec sleep 1000")
		change(spec)
		target := sleeper(t, spec)
		host, err := Probe()
		if err != nil {
			t.Fatal(err)
		}
		p, err := CompileExec(spec, host, Options{})
		if err != nil {
			t.Fatal(err)
		}
		checkGuarded(t, name, pausedAt(t, p, "exec"), map[string]int{InputTarget: target}, spec, target)
	}
}

func mayTrace(s *specs.Spec) {
	caps := []string{"CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
}

// peekAt is the number of the tests' own pause.
const peekAt = 100

// pausedAt makes the first operation of the first step with this verb a pause.
func pausedAt(t *testing.T, p *plan.Plan, verb string) *plan.Plan {
	t.Helper()
	ops := p.Ops(plan.Child)
	for i := range ops {
		if step := p.Steps[ops[i].Step]; step.Verb == verb {
			ops[i].Call, ops[i].Kinds, ops[i].Args = plan.Pause, [6]plan.Kind{}, [6]uint64{peekAt}
			return p
		}
	}
	t.Fatalf("no step %q", verb)
	return nil
}

func checkGuarded(t *testing.T, name string, p *plan.Plan, more map[string]int, spec *specs.Spec, target int) {
	t.Helper()
	var seen string
	_, err := launchPaused(t, p, more, func(number uint32, c *launch.Child) error {
		if number != peekAt {
			return fmt.Errorf("pause %d", number)
		}
		seen = peek(t, spec, target)
		return errPeeked
	})
	if !errors.Is(err, errPeeked) {
		t.Fatalf("%s: %v", name, err)
	}
	if want := "a process\n"; seen != want {
		t.Errorf("%s: got %q, want %q", name, seen, want)
	}
}
