package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ociName is the container's, and its cgroup's: these are the machine's.
var ociName = fmt.Sprintf("faults-%x", time.Now().UnixNano())

// ociOperation is a command of the OCI runtime into which faults are injected.
type ociOperation struct {
	name    string
	prepare [][]string // commands that come before
	args    []string
	targets []role
}

// The process that sets the container up is the command's child, which the
// tracer calls a monitor.
func ociOperations(bundle, hooked string) []ociOperation {
	create := []string{"create", "--bundle", bundle, ociName}
	sleeping := []string{"run", "--detach", "--bundle", bundle, ociName}
	both := []role{command, monitor}
	alone := []role{command}
	return []ociOperation{
		{name: "create", args: create, targets: both},
		{name: "create with hooks", args: []string{"create", "--bundle", hooked, ociName}, targets: alone},
		{name: "start", prepare: [][]string{create}, args: []string{"start", ociName}, targets: alone},
		{name: "run", args: sleeping, targets: both},
		{name: "exec", prepare: [][]string{sleeping}, args: []string{"exec", ociName, "true"}, targets: both},
		{name: "kill", prepare: [][]string{sleeping}, args: []string{"kill", ociName, "KILL"}, targets: alone},
		{name: "delete", prepare: [][]string{sleeping}, args: []string{"delete", "--force", ociName}, targets: alone},
	}
}

// Whatever is killed, or fails, at whatever point: delete --force clears it, or
// the next create of that name does, and nothing else is left.
func TestOCI(t *testing.T) {
	for _, kills := range []bool{true, false} {
		for _, o := range ociOperations("", "") {
			for _, target := range o.targets {
				if !kills && target != command {
					continue // each step of the set-up fails in runtime's own tests
				}
				t.Run(fmt.Sprintf("%s/%s/kills %v", o.name, target, kills), func(t *testing.T) {
					w := newWorld(t, "", true)
					o := w.operation(o.name)
					whole, err := o.inject(w, fault{target: target}, 0)
					if err != nil || whole.code != 0 || whole.calls == 0 {
						t.Fatalf("without a fault: %+v, %v", whole, err)
					}
					for i, at := range chosen(whole.calls) {
						f := fault{target: target, at: at, late: i%2 == 1}
						if !kills {
							f = fault{target: target, at: at, errno: errnos[i%len(errnos)]}
						}
						got, err := o.inject(w, f, i)
						if got.hit != "" {
							shared.tally.count(f)
						}
						if err != nil {
							shared.tally.leaks++
							t.Errorf("%v (%s): %v", f, got.hit, err)
							w.must(w.before.Sweep())
							w.must(os.RemoveAll(w.containers()))
							w = newWorld(t, "", true)
							o = w.operation(o.name)
						}
					}
				})
			}
		}
	}
}

func (w *world) containers() string { return filepath.Join(w.State, "containers") }

// oci puts the runtime's name and root before a command.
func (w *world) oci(args ...string) []string {
	return append([]string{"oci", "--root", w.containers()}, args...)
}

// operation gives an operation with bundles of this world.
func (w *world) operation(name string) ociOperation {
	plain := w.bundle("plain", nil)
	hook := []specs.Hook{{Path: "/bin/true"}}
	hooked := w.bundle("hooked", &specs.Hooks{CreateRuntime: hook, CreateContainer: hook, Poststop: hook})
	for _, o := range ociOperations(plain, hooked) {
		if o.name == name {
			return o
		}
	}
	panic("no operation " + name)
}

// bundle is an ordinary container that sleeps.
func (w *world) bundle(name string, hooks *specs.Hooks) string {
	w.t.Helper()
	dir := filepath.Join(w.top, name)
	s := specs.Spec{
		Version: specs.Version, Hostname: "box", Hooks: hooks,
		Root:    &specs.Root{Path: shared.rootfs},
		Process: &specs.Process{Args: []string{"/bin/sleep", "1000"}, Env: []string{"PATH=/bin"}, Cwd: "/"},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace},
		}},
	}
	data, err := json.Marshal(s)
	w.must(err)
	w.must(os.MkdirAll(dir, 0o755))
	w.must(os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644))
	return dir
}

// inject carries out a command with a fault, and looks at what it says and what
// is left when that has been cleared: by delete, or by a create and a delete.
func (o ociOperation) inject(w *world, f fault, number int) (traced, error) {
	for _, args := range o.prepare {
		if _, err := w.ok(w.oci(args...)...); err != nil {
			return traced{}, fmt.Errorf("prepare: %w", err)
		}
	}
	cmd, outcome, err := w.command(w.oci(o.args...)...)
	if err != nil {
		return traced{}, err
	}
	got, err := trace(cmd, f, 0, patience)
	if err != nil {
		return got, err
	}
	s, err := outcome(got.code)
	if err != nil {
		return got, err
	}
	return got, errors.Join(judgeOCI(s, f, got), w.clear(number%3 == 0))
}

// judgeOCI looks at what a command said that met a fault and was not killed.
func judgeOCI(s said, f fault, got traced) error {
	line, rest, _ := strings.Cut(s.stderr, "\n")
	switch {
	case got.hung:
		return errors.New("the command did not end: " + s.stderr)
	case f.target == command && f.errno == 0 && got.hit != "":
		return nil // it is dead
	case s.code == 0 && s.stderr == "", s.code != 0 && rest == "" && strings.HasPrefix(line, "minict-oci: "):
		return nil
	case s.code == 137 && s.stderr == "":
		return nil // what was killed is exec's program, and that is what the user is told
	}
	return errors.New("not one line: " + s.String())
}

// clear clears what there is of the container.
func (w *world) clear(again bool) error {
	if again {
		s, err := w.run(w.oci("create", "--bundle", filepath.Join(w.top, "plain"), ociName)...)
		if err != nil || s.code != 0 && !strings.Contains(s.stderr, "already exists") {
			return errors.Join(err, fmt.Errorf("create once more: %v", s))
		}
	}
	if _, err := w.ok(w.oci("delete", "--force", ociName)...); err != nil {
		return err
	}
	if list, err := w.ok(w.oci("list", "-q")...); err != nil || list != "" {
		return fmt.Errorf("listed: %q, %w", list, err)
	}
	left, err := w.before.Since(patience)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("left behind:\n  %s", strings.Join(left, "\n  "))
	}
	return err
}
