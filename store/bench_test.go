package store

import (
	"fmt"
	"testing"
)

// The start of a container does Open, one View with one ByName, and reads one
// config: this is to stay below 150 µs.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d images", n), func(b *testing.B) {
			s := newStore(b)
			for i := range n {
				if err := pull(b.Context(), s, fmt.Sprint("docker.io/library/", i), "1", "2", "3", fmt.Sprint(i)); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				s, err := Open(s.Root())
				if err != nil {
					b.Fatal(err)
				}
				img, err := byName(s, "docker.io/library/0")
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Blob(img.ID); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPublish(b *testing.B) {
	s := newStore(b)
	for i := 0; b.Loop(); i++ {
		if err := pull(b.Context(), s, fmt.Sprint(i), "l"); err != nil {
			b.Fatal(err)
		}
	}
}
