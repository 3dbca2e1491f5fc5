package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRace unpacks while somebody else keeps exchanging the layer's
// directories for links to outside (CVE-2025-47290). Whether the unpacking
// succeeds is luck; that nothing outside changes is not.
func TestRace(t *testing.T) {
	s := newSandbox(t)
	var ents []ent
	for _, d := range []string{"a", "b"} {
		for _, sub := range []string{d, d + "/dir", d + "/dir/dir"} {
			ents = append(ents, wide(dirEnt(sub)), wide(file(sub+"/canary", "evil")), wide(sym(sub+"/l", "x")),
				wide(dev(tar.TypeChar, sub+"/null", 1, 3)), hard(sub+"/h", sub+"/canary"), file(sub+"/.wh.inner", ""),
				wide(file(sub+"/canary", "more")), file(sub+"/.wh..wh..opq", ""), wide(dirEnt(sub)))
		}
	}
	ents = append(ents, file("a", "all gone"), file("b", "all gone"))
	data := archive(t, ents...)

	before := describeTree(t, s.outside, "")
	var root atomic.Pointer[string]
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swaps := 0
	swapper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				swaps += s.swap(root.Load())
			}
		}
	})
	done := 0
	for i := range 200 {
		dir := fmt.Sprintf("%s/root%d", s.top, i)
		must(t, os.Mkdir(dir, 0o700))
		root.Store(&dir)
		if unpackRaced(t, dir, data) == nil {
			done++
		}
		if after := describeTree(t, s.outside, ""); !maps.Equal(before, after) {
			t.Errorf("outside changed:\nbefore %v\nafter  %v", before, after)
			break
		}
	}
	close(stop)
	swapper.Wait()
	t.Logf("%d unpackings ended well, %d exchanges met them", done, swaps)
	if swaps < 100 || done == 200 {
		t.Error("the race was none")
	}
}

// swap puts links to outside where directories are, and back.
func (s *sandbox) swap(root *string) (swaps int) {
	if root == nil {
		return 0
	}
	link := s.top + "/link"
	for i, p := range []string{"/a", "/a/dir", "/b/dir/dir", "/b"} {
		target := s.outside
		if i > 0 {
			target += "/dir"
		}
		if unix.Symlink(target, link) != nil {
			continue
		}
		if unix.Renameat2(unix.AT_FDCWD, link, unix.AT_FDCWD, *root+p, unix.RENAME_EXCHANGE) == nil {
			swaps++
			unix.Renameat2(unix.AT_FDCWD, link, unix.AT_FDCWD, *root+p, unix.RENAME_EXCHANGE)
		}
		os.RemoveAll(link)
	}
	return swaps
}

func unpackRaced(t *testing.T, dir string, data []byte) error {
	root, err := os.Open(dir)
	must(t, err)
	defer root.Close()
	_, err = Unpack(context.Background(), bytes.NewReader(data), Options{Root: root, Parents: []string{}})
	return err
}
