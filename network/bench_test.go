package network

import (
	"fmt"
	"testing"
)

// BenchmarkAttach is what a container's start spends on a network. Namespaces
// are made outside the clock, and stay to the end: while the kernel takes some
// away, who makes links waits.
func BenchmarkAttach(b *testing.B) {
	for _, c := range []struct {
		name  string
		ports []Port
	}{{"plain", nil}, {"port", []Port{tcp(0, 80)}}} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b)
			fresh := func(i int) string { // a bridge takes 1,023 ports
				n := w.create(Options{Name: fmt.Sprintf("net%d", i)})
				w.attach("first", nil, n.Name) // which makes the bridge
				return n.Name
			}
			var network string
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				if i%500 == 0 {
					network = fresh(i)
				}
				r, g := w.container(fmt.Sprintf("c%d", i))
				r.Wishes, r.Ports = []Wish{{Network: network}}, c.ports
				b.StartTimer()
				var err error
				g.Attached, err = w.Attach(b.Context(), r)
				w.must(err)
			}
		})
	}
}

// BenchmarkRelease is what a container's end spends.
func BenchmarkRelease(b *testing.B) {
	w := newWorld(b)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		g := w.attach("c", nil, Default)
		b.StartTimer()
		w.must(w.Release(g.dir))
		b.StopTimer()
		g.die()
		b.StartTimer()
	}
}
