package layer

import (
	"archive/tar"
	"bytes"
	stdgzip "compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := stdgzip.NewWriter(&buf)
	_, err := w.Write(data)
	must(t, err)
	must(t, w.Close())
	return buf.Bytes()
}

func zst(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	must(t, err)
	defer w.Close()
	return w.EncodeAll(data, nil)
}

// skippable is a zstd frame that says nothing (RFC 8878, 3.1.2).
func skippable(n byte) []byte { return []byte{0x50 | n, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'} }

func TestDecompress(t *testing.T) {
	plain := archive(t, file("x", strings.Repeat("hello", 1000)))
	two := append(bytes.Clone(plain), plain...)
	oci, docker := "application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"
	for _, c := range []struct {
		name, mediaType string
		blob, want      []byte
		err             error
	}{
		{"tar", oci, plain, plain, nil},
		{"gzip", oci + "+gzip", gz(t, plain), plain, nil},
		{"zstd", oci + "+zstd", zst(t, plain), plain, nil},
		{"Docker's gzip", docker + ".gzip", gz(t, plain), plain, nil},
		{"Docker's plain", docker, plain, plain, nil},
		{"Docker's plain, but packed", docker, gz(t, plain), plain, nil},
		{"unknown, gzip", "", gz(t, plain), plain, nil},
		{"unknown, zstd", "", zst(t, plain), plain, nil},
		{"unknown, tar", "", plain, plain, nil},
		{"upper case", strings.ToUpper(oci), plain, plain, nil},
		{"empty tar", oci, nil, []byte{}, nil},
		{"gzip in parts", oci + "+gzip", append(gz(t, plain), gz(t, plain)...), two, nil},
		{"zstd in parts", oci + "+zstd", append(zst(t, plain), zst(t, plain)...), two, nil},
		{"zstd with a frame to skip first", oci + "+zstd", append(skippable(7), zst(t, plain)...), plain, nil},
		{"gzip twice is unpacked once", oci + "+gzip", gz(t, gz(t, plain)), gz(t, plain), nil},

		{"tar called gzip", oci + "+gzip", plain, nil, ErrMediaType},
		{"gzip called tar", oci, gz(t, plain), nil, ErrMediaType},
		{"gzip called zstd", oci + "+zstd", gz(t, plain), nil, ErrMediaType},
		{"zstd called Docker's gzip", docker + ".gzip", zst(t, plain), nil, ErrMediaType},
		{"nothing called gzip", oci + "+gzip", nil, nil, ErrMediaType},
		{"encrypted", oci + "+gzip+encrypted", gz(t, plain), nil, errAny},
		{"JSON", "application/json", plain, nil, errAny},
		{"gzip cut", oci + "+gzip", gz(t, plain)[:100], nil, io.ErrUnexpectedEOF},
		{"gzip's header cut", oci + "+gzip", gz(t, plain)[:5], nil, io.ErrUnexpectedEOF},
		{"zstd cut", oci + "+zstd", zst(t, plain)[:50], nil, io.ErrUnexpectedEOF},
		{"gzip's sum wrong", oci + "+gzip", flip(gz(t, plain), -6), nil, errAny},
		{"zstd's content wrong", oci + "+zstd", flip(zst(t, plain), -2), nil, errAny},
		{"zstd wants 2 GiB", oci + "+zstd", windowOf(21), nil, ErrLimit},
		{"zstd wants 256 MiB", oci + "+zstd", windowOf(18), nil, ErrLimit},
	} {
		got, err := unpackBlob(c.blob, c.mediaType)
		switch {
		case c.err == nil && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.err == nil && !bytes.Equal(got, c.want):
			t.Errorf("%s: %d bytes, want %d", c.name, len(got), len(c.want))
		case c.err == errAny && err == nil, c.err != nil && c.err != errAny && !errors.Is(err, c.err):
			t.Errorf("%s: error %v, want %v", c.name, err, c.err)
		}
	}
}

func flip(b []byte, at int) []byte {
	b[len(b)+at] ^= 0x40
	return b
}

// windowOf is a zstd frame whose window is 2^(10+exponent) bytes, with one
// block that repeats a byte 128 KiB times.
func windowOf(exponent byte) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, exponent << 3}
	block := uint32(1 | 1<<1 | (128<<10)<<3) // last, RLE, size
	b = append(b, binary.LittleEndian.AppendUint32(nil, block)[:3]...)
	return append(b, 0)
}

func unpackBlob(blob []byte, mediaType string) ([]byte, error) {
	r, err := Decompress(bytes.NewReader(blob), mediaType)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestWidestWindow takes what the limit still allows.
func TestWidestWindow(t *testing.T) {
	got, err := unpackBlob(windowOf(17), "")
	must(t, err)
	if len(got) != 128<<10 {
		t.Errorf("%d bytes", len(got))
	}
}

// TestClosed: a decoder may be closed under a reader's hands.
func TestClosed(t *testing.T) {
	for name, blob := range map[string][]byte{"gzip": gz(t, make([]byte, 64<<20)), "zstd": zst(t, make([]byte, 64<<20)), "tar": make([]byte, 64<<20)} {
		r, err := Decompress(bytes.NewReader(blob), "")
		must(t, err)
		var started, ended sync.WaitGroup
		started.Add(1)
		ended.Go(func() {
			buf := make([]byte, 1000)
			_, err := io.ReadFull(r, buf)
			started.Done()
			for err == nil {
				_, err = r.Read(buf)
			}
			if err == io.EOF {
				t.Errorf("%s: read to the end", name)
			}
		})
		started.Wait()
		must(t, r.Close())
		must(t, r.Close())
		ended.Wait()
	}
}

// bombs are blobs of a few hundred KiB that grow to gigabytes: a tar of one
// file of zeros.
func bombs(t *testing.T) map[string][]byte {
	const size = 4 << 30
	var gzipped, zstded bytes.Buffer
	zw, err := zstd.NewWriter(&zstded, zstd.WithWindowSize(8<<20))
	must(t, err)
	gw, err := stdgzip.NewWriterLevel(&gzipped, stdgzip.BestSpeed)
	must(t, err)
	head := archive(t, file("bomb", "").with(func(h *tar.Header) { h.Format, h.ModTime = tar.FormatUSTAR, time.Unix(1, 0) }))
	// A size beyond octal digits: a bit set, then a binary number.
	copy(head[124:136], append([]byte{0x80, 0, 0, 0}, binary.BigEndian.AppendUint64(nil, size)...))
	fixChecksum(head)
	zeros := make([]byte, 1<<20)
	for _, w := range []io.WriteCloser{zw, gw} {
		_, err := w.Write(head[:512])
		must(t, err)
		for range size >> 20 {
			if gzipped.Len() > 600<<10 {
				break // cut short, but far beyond the limit
			}
			_, err := w.Write(zeros)
			must(t, err)
		}
		must(t, w.Close())
	}
	if gzipped.Len() > 1<<20 || zstded.Len() > 1<<20 {
		t.Fatalf("bombs of %d and %d bytes are none", gzipped.Len(), zstded.Len())
	}
	return map[string][]byte{"gzip": gzipped.Bytes(), "zstd": zstded.Bytes()}
}

// TestBombs wants an end at the limit, and no memory to speak of taken until
// then; also where all of it trails the end of a tar.
func TestBombs(t *testing.T) {
	for name, blob := range bombs(t) {
		for _, before := range [][]byte{nil, make([]byte, 1024)} {
			s := newSandbox(t)
			root, err := os.Open(s.root)
			must(t, err)
			defer root.Close()
			r, err := Decompress(bytes.NewReader(blob), "")
			must(t, err)
			defer r.Close()
			var start, end runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&start)
			in := io.MultiReader(bytes.NewReader(before), r)
			_, err = Unpack(context.Background(), in, Options{Root: root, MaxBytes: 64 << 20})
			runtime.ReadMemStats(&end)
			if !errors.Is(err, ErrLimit) {
				t.Errorf("%s: error %v", name, err)
			}
			if grown := int64(end.Sys) - int64(start.Sys); grown > 64<<20 {
				t.Errorf("%s: took %d MiB", name, grown>>20)
			}
		}
	}
}
