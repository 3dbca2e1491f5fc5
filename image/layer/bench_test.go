package layer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// BenchmarkUnpack unpacks a layer of many small files and one of a single
// large one, packed by gzip; beside it GNU tar does the same.
func BenchmarkUnpack(b *testing.B) {
	small := []ent{dirEnt("usr")}
	for i := range 20_000 {
		d := fmt.Sprintf("usr/d%d", i/50)
		if i%50 == 0 {
			small = append(small, dirEnt(d))
		}
		small = append(small, file(fmt.Sprintf("%s/f%d", d, i), strings.Repeat(fmt.Sprint("line ", i, "\n"), i%200)))
	}
	var text strings.Builder
	for i := range 6 << 20 {
		fmt.Fprintf(&text, "%x\n", i*i)
	}
	for name, ents := range map[string][]ent{"small": small, "large": {file("f", text.String())}} {
		plain := archive(b, ents...)
		blob := gz(b, plain)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			for b.Loop() {
				benchmark(b, func(dir string) { unpackTo(b, dir, blob) })
			}
		})
		b.Run(name+"-tar", func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			for b.Loop() {
				benchmark(b, func(dir string) {
					cmd := exec.Command("tar", "-C", dir, "-xzf", "-")
					cmd.Stdin = bytes.NewReader(blob)
					must(b, cmd.Run())
				})
			}
		})
	}
}

func benchmark(b *testing.B, f func(dir string)) {
	b.StopTimer()
	dir, err := os.MkdirTemp(b.TempDir(), "")
	must(b, err)
	b.StartTimer()
	f(dir)
	b.StopTimer()
	must(b, os.RemoveAll(dir))
	b.StartTimer()
}

func unpackTo(b *testing.B, dir string, blob []byte) {
	root, err := os.Open(dir)
	must(b, err)
	defer root.Close()
	r, err := Decompress(bytes.NewReader(blob), "")
	must(b, err)
	defer r.Close()
	_, err = Unpack(context.Background(), r, Options{Root: root})
	must(b, err)
}
