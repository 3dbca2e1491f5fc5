package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"minict/store"
)

func TestLimits(t *testing.T) {
	long := func(n int) string { return strings.Repeat("d/", n/2-1) + strings.Repeat("x", 2+n%2) }
	one := archive(t, file("x", "y"))
	mega := sparseTar(t, 1<<20)
	many := []ent{dirEnt("a"), dirEnt("b"), dirEnt("c")}
	sparse := func(size int64) []byte { return sparseTar(t, size) }
	for name, c := range map[string]struct {
		data []byte
		o    Options
		ok   bool
	}{
		"bytes, at most":        {one, Options{MaxBytes: int64(len(one))}, true},
		"bytes":                 {one, Options{MaxBytes: int64(len(one)) - 1}, false},
		"bytes after the end":   {append(archive(t), make([]byte, 1<<20)...), Options{MaxBytes: 1 << 20}, false},
		"sparse":                {sparse(1 << 40), Options{}, false},
		"sparse, at most":       {sparse(1 << 20), Options{MaxBytes: 1 << 20}, true},
		"sparse, together":      {append(mega[:len(mega)-1024], mega...), Options{MaxBytes: 3 << 19}, false},
		"entries, at most":      {archive(t, many...), Options{MaxEntries: 3}, true},
		"entries":               {archive(t, many...), Options{MaxEntries: 2}, false},
		"component, at most":    {archive(t, file(strings.Repeat("x", 255), "")), Options{}, true},
		"component":             {archive(t, file(strings.Repeat("x", 256), "")), Options{}, false},
		"component in a parent": {archive(t, file(strings.Repeat("x", 256)+"/y", "")), Options{}, false},
		"path":                  {archive(t, file(strings.Repeat(strings.Repeat("x", 99)+"/", 41)+"x", "")), Options{}, false},
		"depth, at most":        {archive(t, file(long(2000), "")), Options{Parents: []string{}}, true},
		"depth":                 {archive(t, file(long(2002), "")), Options{Parents: []string{}}, false},
		"depth by links":        {archive(t, file(long(1900), ""), sym("l", long(1900)[:1800]), file("l/"+long(300), "")), Options{Parents: []string{}}, false},
		"link":                  {archive(t, sym("l", strings.Repeat("x", 4096))), Options{}, false},
		"hard link":             {archive(t, hard("l", strings.Repeat("x/", 2048)+"x")), Options{}, false},
		"xattr":                 {archive(t, file("x", "").xattr("user.x", strings.Repeat("x", 64<<10+1))), Options{}, false},
		"xattr's name":          {archive(t, file("x", "").xattr("user."+strings.Repeat("x", 251), "")), Options{}, false},
		"PAX record":            {hugeRecord(t), Options{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newSandbox(t).unpack(c.data, c.o)
			if c.ok {
				must(t, err)
			} else if !errors.Is(err, ErrLimit) {
				t.Errorf("error %v, want ErrLimit", err)
			}
		})
	}
}

// sparseTar claims a file of size bytes with nothing in it (GNU format 0.1).
func sparseTar(t testing.TB, size int64) []byte {
	t.Helper()
	records := map[string]string{
		"GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,0", "GNU.sparse.name": "f", "GNU.sparse.size": fmt.Sprint(size),
	}
	var body bytes.Buffer
	for _, k := range []string{"GNU.sparse.size", "GNU.sparse.numblocks", "GNU.sparse.map", "GNU.sparse.name"} {
		body.WriteString(paxRecord(k, records[k]))
	}
	return rawPAX(t, body.Bytes(), file("f", ""))
}

func paxRecord(k, v string) string {
	n := len(k) + len(v) + 3
	for len(fmt.Sprintf("%d %s=%s\n", n, k, v)) != n {
		n++
	}
	return fmt.Sprintf("%d %s=%s\n", n, k, v)
}

// rawPAX puts a PAX header that archive/tar would not write before an entry.
func rawPAX(t testing.TB, records []byte, e ent) []byte {
	t.Helper()
	x := file("x", string(records))
	x.ModTime, x.Format = x.ModTime.Truncate(1e9), tar.FormatUSTAR
	e.ModTime, e.Format = x.ModTime, tar.FormatUSTAR
	data := archive(t, x, e)
	data[156] = tar.TypeXHeader
	fixChecksum(data)
	return data
}

func hugeRecord(t testing.TB) []byte {
	return rawPAX(t, []byte(paxRecord("comment", strings.Repeat("x", 2<<20))), file("f", ""))
}

// TestDigest: all bytes of the stream count, those after the tar's end too.
func TestDigest(t *testing.T) {
	base := archive(t, file("x", "hello"))
	for name, data := range map[string][]byte{
		"plain":       base,
		"garbage":     append(bytes.Clone(base), bytes.Repeat([]byte("garbage"), 100_000)...),
		"second tar":  append(bytes.Clone(base), archive(t, file("../y", ""), file("y", ""))...),
		"no end":      base[:len(base)-1024],
		"empty":       {},
		"only an end": archive(t),
	} {
		s := newSandbox(t)
		res, err := s.unpack(data, Options{})
		must(t, err)
		if res.DiffID != store.DigestOf(data) {
			t.Errorf("%s: digest %s", name, res.DiffID)
		}
		s.shapes(map[string]string{"y": "-"})
	}
}

// TestTruncated cuts a tar at every place that is not between two entries.
func TestTruncated(t *testing.T) {
	data := archive(t, file("x", "hello").xattr("user.a", "b"), dirEnt("d"), sym("l", "x"))
	whole := map[int]bool{0: true}
	for at := len(data) - 512; at < len(data); at++ { // the second block of zeros is not missed
		whole[at] = true
	}
	tr := tar.NewReader(bytes.NewReader(data))
	for at := 0; ; {
		h, err := tr.Next()
		if err != nil {
			break
		}
		if h.Format == tar.FormatPAX {
			at += 1024 // the extended header and its records
		}
		at += 512 + int(h.Size+511)/512*512
		whole[at] = true
	}
	for at := 0; at < len(data)-512; at += 101 {
		for _, cut := range []int{at, at / 512 * 512} {
			_, err := newSandbox(t).unpack(data[:cut], Options{})
			if whole[cut] != (err == nil) || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("cut at %d of %d: error %v", cut, len(data), err)
			}
		}
	}
}

// TestReaderFails hands through what the reader says.
func TestReaderFails(t *testing.T) {
	s := newSandbox(t)
	data := archive(t, file("x", strings.Repeat("y", 3*chunkSize)))
	root, err := os.Open(s.root)
	must(t, err)
	defer root.Close()
	broken := errors.New("broken")
	for _, n := range []int{0, 100, 512, chunkSize + 7, len(data)} {
		r := io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken))
		if _, err := Unpack(context.Background(), r, Options{Root: root}); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: error %v", n, err)
		}
	}
	for _, r := range []io.Reader{iotest.OneByteReader(bytes.NewReader(data)), iotest.DataErrReader(bytes.NewReader(data))} {
		res, err := Unpack(context.Background(), r, Options{Root: root})
		must(t, err)
		if res.DiffID != store.DigestOf(data) {
			t.Errorf("digest %s", res.DiffID)
		}
	}
}

// stuck is a reader whose stream stops coming, as a registry's may.
type stuck struct {
	data    *bytes.Reader
	waiting chan struct{} // closed when Read blocks
	release chan struct{}
}

func (s *stuck) Read(p []byte) (int, error) {
	if s.data.Len() > 0 {
		return s.data.Read(p)
	}
	close(s.waiting)
	<-s.release
	return 0, io.EOF
}

// TestCancelWhileReading returns though the reader does not.
func TestCancelWhileReading(t *testing.T) {
	s := newSandbox(t)
	root, err := os.Open(s.root)
	must(t, err)
	defer root.Close()
	r := &stuck{bytes.NewReader(archive(t, file("x", "y"))[:1024]), make(chan struct{}), make(chan struct{})}
	defer close(r.release)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-r.waiting; cancel() }()
	if _, err := Unpack(ctx, r, Options{Root: root}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// endless is a tar that never ends. It calls enough once, after a while.
type endless struct {
	entry, rest []byte
	reads       int
	enough      func()
}

func (e *endless) Read(p []byte) (int, error) {
	if e.reads++; e.reads == 1000 {
		e.enough()
	}
	if len(e.rest) == 0 {
		e.rest = e.entry
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func TestCancelWhileUnpacking(t *testing.T) {
	header := rawPAX(t, []byte(paxRecord("comment", "x")), file("f", ""))[:1024]
	for name, entry := range map[string][]byte{
		"entries": archive(t, dirEnt("d"))[:1536],
		"headers": header, // and never the entry that they are for
		"the end": make([]byte, 512),
	} {
		s := newSandbox(t)
		root, err := os.Open(s.root)
		must(t, err)
		defer root.Close()
		fds := openFiles(t)
		ctx, cancel := context.WithCancel(context.Background())
		_, err = Unpack(ctx, &endless{entry: entry, enough: cancel}, Options{Root: root})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v", name, err)
		}
		if now := openFiles(t); now != fds {
			t.Errorf("%s: %d descriptors open before, %d after", name, fds, now)
		}
	}
}
