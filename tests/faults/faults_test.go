package faults

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// operation is a command into which faults are injected.
type operation struct {
	name    string
	prepare []string // a command that comes before each
	args    []string
	targets []role
	running bool // prepare leaves the container web running; its monitor can be the target
	runsOn  bool // web has to run on whatever happens to the command
	alone   bool // the command is the container's monitor
	image   string
	blank   bool // each time the first command ever
}

const busybox, small = "busybox:1", "small:1"

func operations() []operation {
	rootfs := []string{"--rootfs", shared.rootfs, "--"}
	image := []string{shared.registry.Ref(busybox), "--"}
	run := func(flags string, of []string, args ...string) []string {
		return append(append(strings.Fields("run --name web "+flags), of...), args...)
	}
	web := run("-d", rootfs, "sleep", "1000")
	everybody := []role{command, monitor, first}
	both := []role{command, monitor}
	alone := []role{command, first}
	return []operation{
		{name: "first run", args: run("--rm", rootfs, "true"), targets: alone, alone: true, blank: true},
		{name: "run --rm, root directory", args: run("--rm", rootfs, "true"), targets: alone, alone: true},
		{name: "run --rm, image", args: run("--rm -v /data -m 64M", image, "true"), targets: alone, alone: true, image: busybox},
		{name: "run, root directory", args: run("", rootfs, "true"), targets: alone, alone: true},
		{name: "run --rm, with an init", args: run("--rm --init", rootfs, "true"), targets: alone, alone: true},
		{name: "run -d, root directory", args: web, targets: everybody},
		{name: "run -d, image", args: run("-d -v /data", image, "sleep", "1000"), targets: both, image: busybox},
		{name: "run -d --rm, image", args: run("-d --rm", image, "sleep", "1000"), targets: both, image: busybox},
		{name: "start", prepare: append([]string{"create", "--name", "web"}, append(rootfs, "sleep", "1000")...), args: []string{"start", "web"}, targets: both},
		{name: "run -d, networks and a port", args: run("-d --network net --network bridge -p 127.0.0.1:8099:80", rootfs, "sleep", "1000"), targets: both},
		{name: "run --rm, networks and a port", args: run("--rm --network net -p 8099:80", rootfs, "true"), targets: []role{command}, alone: true},
		{name: "network connect", prepare: web, args: []string{"network", "connect", "net", "web"}, targets: both, running: true, runsOn: true},
		{name: "network disconnect", prepare: run("-d --network net -p 8099:80", rootfs, "sleep", "1000"), args: []string{"network", "disconnect", "net", "web"}, targets: []role{command}, running: true, runsOn: true},
		{name: "rm -f, networks and a port", prepare: run("-d --network net -p 8099:80", rootfs, "sleep", "1000"), args: []string{"rm", "-f", "web"}, targets: both, running: true},
		{name: "exec", prepare: web, args: []string{"exec", "web", "true"}, targets: everybody, running: true, runsOn: true},
		{name: "stop", prepare: web, args: []string{"stop", "web"}, targets: both, running: true},
		{name: "rm -f", prepare: run("-d -v /data", image, "sleep", "1000"), args: []string{"rm", "-f", "-v", "web"}, targets: both, running: true, image: busybox},
		{name: "pull", args: []string{"pull", shared.registry.Ref(small)}, targets: both},
		{name: "rmi", prepare: []string{"pull", shared.registry.Ref(small)}, args: []string{"rmi", shared.registry.Ref(small)}, targets: []role{command}},
	}
}

// aim tells how many faults of an operation and target a sample has.
const aim = 14

var errnos = []unix.Errno{unix.ENOSPC, unix.EIO, unix.EMFILE, unix.ENOMEM, unix.EPERM}

func TestKills(t *testing.T) {
	sweep(t, func(target role, calls int) (faults []fault) {
		for i, at := range chosen(calls) {
			for _, late := range []bool{false, true} {
				if shared.all || late == (i%2 == 1) {
					faults = append(faults, fault{target: target, at: at, late: late})
				}
			}
		}
		return faults
	})
}

func TestErrors(t *testing.T) {
	sweep(t, func(target role, calls int) (faults []fault) {
		if target == first {
			return nil // each of its steps fails in runtime's own tests
		}
		for i, at := range chosen(calls) {
			for j, errno := range errnos {
				if shared.all || j == i%len(errnos) {
					faults = append(faults, fault{target: target, at: at, errno: errno})
				}
			}
		}
		return faults
	})
}

// chosen are the numbers of the calls that faults are injected at, evenly
// spread.
func chosen(calls int) (at []int) {
	step := max(1, calls/aim)
	if shared.all {
		step = 1
	}
	for n := 1 + step/2; n <= calls; n += step {
		at = append(at, n)
	}
	return at
}

func sweep(t *testing.T, plan func(target role, calls int) []fault) {
	for _, o := range operations() {
		for _, target := range o.targets {
			if len(plan(target, 1)) == 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", o.name, target), func(t *testing.T) {
				w := newWorld(t, o.image, o.blank)
				whole, err := o.inject(w, fault{target: target})
				if err != nil || whole.code != 0 || whole.calls == 0 {
					t.Fatalf("without a fault: %+v, %v", whole, err)
				}
				if o.blank {
					w = newWorld(t, o.image, o.blank)
				}
				faults := plan(target, whole.calls)
				t.Logf("%d calls, %d faults", whole.calls, len(faults))
				for _, f := range faults {
					got, err := o.inject(w, f)
					if got.hit != "" {
						shared.tally.count(f)
					}
					if err != nil {
						shared.tally.leaks++
						t.Errorf("%v (%s): %v", f, got.hit, err)
						w.must(w.before.Sweep())
					}
					if err != nil || o.blank {
						w = newWorld(t, o.image, o.blank)
					}
				}
			})
		}
	}
}

// inject carries out an operation with a fault, and checks what it says and
// what it leaves.
func (o operation) inject(w *world, f fault) (traced, error) {
	if o.prepare != nil {
		if s, err := w.run(o.prepare...); err != nil || s.code != 0 {
			return traced{}, fmt.Errorf("prepare: %v %w", s, err)
		}
	}
	f.alone = o.alone
	attachTo := 0
	if o.running && f.target != command {
		var err error
		if attachTo, err = w.monitor(); err != nil {
			return traced{}, err
		}
	}
	cmd, outcome, err := w.command(o.args...)
	if err != nil {
		return traced{}, err
	}
	got, err := trace(cmd, f, attachTo, patience)
	if err != nil {
		return got, err
	}
	s, err := outcome(got.code)
	if err != nil {
		return got, err
	}
	err = errors.Join(judge(s, f, got), w.settle(o.runsOn && (f.target != monitor || f.errno != 0)))
	if err == nil && o.args[0] != "run" && o.image == "" && !o.running {
		err = w.stored(shared.registry.Ref(small))
	}
	return got, err
}

// judge looks at what a command said that met a fault and was not killed.
func judge(s said, f fault, got traced) error {
	if got.hung {
		return errors.New("the command did not end: " + s.stderr)
	}
	if f.target == command && f.errno == 0 && got.hit != "" {
		return nil
	}
	line, rest, _ := strings.Cut(s.stderr, "\n")
	switch {
	case s.code == 0 && rest == "":
		return nil
	case s.code != 0 && rest == "" && strings.HasPrefix(line, "minict: "):
		return nil
	case s.code == 137 && f.errno == 0 && s.stderr == "":
		return nil // the first process was killed, and that is what the user is told
	}
	return errors.New("not one line: " + s.String())
}
