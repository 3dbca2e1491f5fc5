package cgroup

import (
	"testing"

	"golang.org/x/sys/unix"

	"minict/runtime/launch"
	"minict/runtime/plan"
)

func BenchmarkProbe(b *testing.B) {
	for b.Loop() {
		if _, err := Probe(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	for name, l := range map[string]Layout{"v2": pure, "hybrid": hybrid} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var p plan.Builder
				if _, err := l.Plan(&p, "/minict/x", defaults(), Options{Optional: Pids | Devices}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCarryOut makes and removes a group with the default limits.
func BenchmarkCarryOut(b *testing.B) {
	l, err := Probe()
	if err != nil {
		b.Fatal(err)
	}
	free, err := unix.Dup(0) // what the plan opens has this number or a higher one
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var p plan.Builder
		if _, err := l.Plan(&p, "/minict-test-bench", defaults(), Options{Optional: Pids | Devices}); err != nil {
			b.Fatal(err)
		}
		prog, err := launch.New(p.Plan(0, plan.NoSlot).Ready(), nil, false)
		if err != nil {
			b.Fatal(err)
		}
		for _, phase := range []plan.Phase{plan.Host, plan.Undo} {
			if err := prog.Run(phase); err != nil {
				b.Fatal(err)
			}
		}
		prog.Close()
		if err := unix.CloseRange(uint(free), 1<<20, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoadFilter(b *testing.B) {
	f, err := newFilter(defaults().Devices)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		fd, err := f.load()
		if err != nil {
			b.Fatal(err)
		}
		unix.Close(fd)
	}
}
