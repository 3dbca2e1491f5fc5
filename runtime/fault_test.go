package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/cgroup"
	"minict/runtime/launch"
	"minict/runtime/plan"
)

// Each operation of an ordinary container's plan fails once. Then the failure
// names the step that the operation belongs to, and nothing is left: no mount,
// no cgroup, no process.
func TestEachOperationFails(t *testing.T) {
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	group := fmt.Sprintf("/minict/runtime-fault-test-%d", os.Getpid())
	spec := ordinary(bundle(t), "true")
	limit := int64(64 << 20)
	spec.Linux.CgroupsPath = group
	spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
	spec.Process.NoNewPrivileges = true
	spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64}}
	compile := func() *plan.Plan {
		p, err := Compile(spec, host, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	ownMounts(t)
	before := hostMounts(t)
	if r, err := launchPlan(t, compile(), nil); err != nil || r.status != 0 {
		t.Fatalf("without a fault: %v, status %#x, %q", err, r.status, r.stderr)
	}
	failed, all := 0, places(compile())
	for _, k := range all {
		if fails(t, compile(), k, nil, nil) {
			failed++
		}
		if left := mountsSince(t, before); left != "" {
			t.Fatalf("operation %v left the mounts\n%s", k, left)
		}
		noGroup(t, host.Cgroup, group)
		noChild(t)
	}
	if failed < 100 {
		t.Errorf("%d operations failed: too few for an ordinary container", failed)
	}
	t.Logf("%d of %d operations failed", failed, len(all))
}

// The same for one more process in a container: whatever fails, it is gone and
// the container goes on.
func TestEachOperationOfExecFails(t *testing.T) {
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	group := fmt.Sprintf("/minict/runtime-exec-fault-test-%d", os.Getpid())
	spec := ordinary(bundle(t), "echo up; exec sleep 1000")
	ownUsers(t)(spec)
	spec.Linux.CgroupsPath = group
	target := sleeper(t, spec)
	spec.Process.Args = []string{"/bin/true"}
	spec.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{5}}
	spec.Process.NoNewPrivileges = true
	compile := func() *plan.Plan {
		p, err := CompileExec(spec, host, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	children, failed, all := childrenOf(t), 0, places(compile())
	for _, k := range all {
		if fails(t, compile(), k, map[string]int{InputTarget: target}, nil) {
			failed++
		}
		if after := childrenOf(t); after != children {
			t.Fatalf("operation %v: the children changed from %s to %s", k, children, after)
		}
	}
	r, err := execute(t, spec, target, nil, "list=$(ps); echo \"$list\" | wc -l; cat /proc/self/oom_score_adj")
	if err != nil || r.stdout != "4\n0\n" { // a title, the first process, a shell, ps
		t.Errorf("got %q %q, %v", r.stdout, r.stderr, err)
	}
	if failed < 50 {
		t.Errorf("%d of %d operations failed: too few", failed, len(all))
	}
}

// place is where an operation stands in a plan.
type place struct {
	phase plan.Phase
	at    int
}

// places are those of a plan's operations that can fail. What can't be undone
// is for the sweep.
func places(p *plan.Plan) (list []place) {
	for _, phase := range []plan.Phase{plan.Host, plan.Child} {
		for at, op := range p.Ops(phase) {
			if op.Call != plan.Jump && op.Call != unix.SYS_GETPID {
				list = append(list, place{phase, at})
			}
		}
	}
	return list
}

// fails carries a plan out in which one operation fails, checks that the
// failure names its step, and says whether there was one: there is none if the
// plan has an answer to any error there, or went another way.
func fails(t *testing.T, p *plan.Plan, k place, more map[string]int, pause launch.Pause) bool {
	t.Helper()
	broken := &p.Ops(k.phase)[k.at]
	op := *broken
	broken.Call, broken.Kinds = plan.Expect32, [6]plan.Kind{plan.KindData}
	broken.Args = [6]uint64{0, 1, 0, uint64(unix.EIO)} // 0 is not 1
	r, err := launchPaused(t, p, more, pause)
	var step *StepError
	switch {
	case err == nil && r.status == 0:
		return false
	case !errors.As(err, &step):
		t.Errorf("operation %v (%v): %v, status %#x, want a failed step", k, p.Steps[op.Step], err, r.status)
	case step.Errno != unix.EIO || step.Step != p.Steps[op.Step]:
		t.Errorf("operation %v: %v, want EIO of %v", k, step, p.Steps[op.Step])
	}
	return true
}

// ownMounts gives a test a table of mounts in which no other test mounts
// anything. Its thread ends with it.
func ownMounts(t *testing.T) {
	t.Helper()
	goruntime.LockOSThread()
	err := unix.Unshare(unix.CLONE_NEWNS)
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// noGroup checks that a cgroup is in no hierarchy.
func noGroup(t *testing.T, l cgroup.Layout, path string) {
	t.Helper()
	tops := []string{l.Unified}
	for _, h := range l.V1 {
		tops = append(tops, h.Mount)
	}
	for _, top := range tops {
		if _, err := os.Lstat(filepath.Join(top, path)); top != "" && err == nil {
			t.Errorf("%s%s is left", top, path)
		}
	}
}

// noChild checks that this process has no children.
func noChild(t *testing.T) {
	t.Helper()
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil); err != unix.ECHILD {
		t.Errorf("process %d is left: %v", pid, err)
	}
}
