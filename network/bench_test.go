package network

import (
	"testing"
)

// BenchmarkAttach is what a container's start spends on a network, and
// BenchmarkRelease what its end does. The namespaces are made, and taken
// away, outside the clock.
func BenchmarkAttach(b *testing.B) {
	for _, c := range []struct {
		name  string
		ports []Port
	}{{"plain", nil}, {"port", []Port{tcp(8080, 80)}}} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b)
			w.attach("first", nil, Default) // which makes the bridge
			for b.Loop() {
				b.StopTimer()
				r, g := w.container("bench")
				r.Wishes, r.Ports = []Wish{{Network: Default}}, c.ports
				b.StartTimer()
				var err error
				g.Attached, err = w.Attach(b.Context(), r)
				b.StopTimer()
				w.must(err)
				g.end()
				b.StartTimer()
			}
		})
	}
}
