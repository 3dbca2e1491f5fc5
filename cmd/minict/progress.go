//go:build !split

package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"minict/image"
	"minict/image/pull"
	"minict/store"
)

// progress shows a pull: bars on a terminal, lines elsewhere.
type progress interface {
	pull.Progress
	end(ok bool)
}

func newProgress(to *os.File) progress {
	switch {
	case to == nil:
		return &lines{to: io.Discard}
	case isTerminal(to):
		return &bars{to: to}
	}
	return &lines{to: to}
}

// lines writes a line for each state that a layer enters.
type lines struct {
	mu sync.Mutex
	to io.Writer
}

func (l *lines) Begin(name image.Name, layers []store.Descriptor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.to, "%s: Pulling from %s\n", tagOf(name), name.Path)
	for _, d := range layers {
		fmt.Fprintf(l.to, "%s: Pulling fs layer\n", short(d.Digest))
	}
}

func (l *lines) Layer(blob store.Digest, s pull.State) {
	if s != pull.Exists && s != pull.Complete {
		return // of interest only while it lasts
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.to, "%s: %s\n", short(blob), s)
}

func (l *lines) Bytes(store.Digest, int64) {}
func (l *lines) end(bool)                  {}

// bars draws a bar for each layer.
type bars struct {
	to io.Writer

	mu     sync.Mutex
	pool   *mpb.Progress
	layers map[store.Digest]*bar
}

type bar struct {
	*mpb.Bar
	mu    sync.Mutex
	state pull.State
	size  int64
}

func (b *bar) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state.String()
}

func (b *bars) Begin(name image.Name, layers []store.Descriptor) {
	fmt.Fprintf(b.to, "%s: Pulling from %s\n", tagOf(name), name.Path)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pool = mpb.New(mpb.WithOutput(b.to), mpb.WithWidth(40))
	b.layers = make(map[store.Digest]*bar)
	for _, d := range layers {
		l := &bar{size: d.Size}
		l.Bar = b.pool.AddBar(d.Size,
			mpb.PrependDecorators(
				decor.Name(short(d.Digest)+": "),
				decor.Any(func(decor.Statistics) string { return l.text() }, decor.WC{W: 15, C: decor.DindentRight}),
			),
			mpb.AppendDecorators(decor.Counters(decor.SizeB1000(0), "% .1f / % .1f")),
		)
		b.layers[d.Digest] = l
	}
}

func (b *bars) layer(d store.Digest) *bar {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.layers[d]
}

func (b *bars) Layer(blob store.Digest, s pull.State) {
	l := b.layer(blob)
	if l == nil {
		return
	}
	l.mu.Lock()
	l.state = s
	l.mu.Unlock()
	if s == pull.Exists || s == pull.Complete {
		l.SetCurrent(l.size)
	}
}

// Bytes leaves the last byte to Layer: a bar that is full says Complete.
func (b *bars) Bytes(blob store.Digest, n int64) {
	if l := b.layer(blob); l != nil {
		l.SetCurrent(min(l.Current()+n, l.size-1))
	}
}

func (b *bars) end(ok bool) {
	if b.pool == nil {
		return
	}
	for _, l := range b.layers {
		if !ok {
			l.Abort(false)
		}
	}
	b.pool.Wait()
}

func tagOf(n image.Name) string {
	if n.Digest != "" {
		return string(n.Digest)
	}
	return n.Tag
}

// short is the digest's first twelve digits.
func short(d store.Digest) string { return d.Hex()[:12] }
