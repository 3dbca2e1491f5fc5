package runtime

import "testing"

// BenchmarkCompile is what a start pays for its plan.
func BenchmarkCompile(b *testing.B) {
	spec, host := ordinary("/rootfs", "true"), Host{LastCap: 40}
	for b.Loop() {
		p, err := Compile(spec, host, Options{Engine: true, Gate: true})
		if err != nil {
			b.Fatal(err)
		}
		p.Encode()
	}
}
