package layer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// ErrMediaType says that a blob is not what its descriptor calls it.
var ErrMediaType = errors.New("media type does not match the content")

// maxWindow bounds the memory that a zstd frame may ask for: 128 MiB is what
// the zstd program itself takes without being told (zstd(1), --long).
const maxWindow = 128 << 20

// compression is how a tar is packed.
type compression string

const (
	none    compression = "tar"
	gzipped compression = "gzip"
	zstded  compression = "zstd"
	sniffed compression = "" // as the first bytes tell
)

// mediaTypes are the layers that OCI and Docker define. Docker's plain one is
// used by registries' tools for packed layers too, so it promises nothing.
var mediaTypes = map[string]compression{
	"":                                       sniffed,
	"application/vnd.oci.image.layer.v1.tar": none,
	"application/vnd.oci.image.layer.v1.tar+gzip":                  gzipped,
	"application/vnd.oci.image.layer.v1.tar+zstd":                  zstded,
	"application/vnd.oci.image.layer.nondistributable.v1.tar":      none,
	"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": gzipped,
	"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": zstded,
	"application/vnd.docker.image.rootfs.diff.tar":                 sniffed,
	"application/vnd.docker.image.rootfs.diff.tar.gzip":            gzipped,
	"application/vnd.docker.image.rootfs.diff.tar.zstd":            zstded,
	"application/vnd.docker.image.rootfs.foreign.diff.tar":         sniffed,
	"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":    gzipped,
}

// Decompress gives the plain tar of a layer's blob. The blob's first bytes
// say how it is packed; mediaType must agree, or be "". It needs at most
// twice maxWindow of memory, whatever the blob says. Close does not close r,
// and may be called while a Read is under way: it then waits for it.
func Decompress(r io.Reader, mediaType string) (io.ReadCloser, error) {
	want, ok := mediaTypes[strings.ToLower(mediaType)]
	if !ok {
		return nil, fmt.Errorf("decompress layer: unknown media type %q", mediaType)
	}
	br := bufio.NewReaderSize(r, 128<<10)
	got, err := sniff(br)
	if err != nil {
		return nil, fmt.Errorf("decompress layer: %w", err)
	}
	if want != sniffed && want != got {
		return nil, fmt.Errorf("decompress layer: %w: %s is %s", ErrMediaType, mediaType, got)
	}
	var d decoder
	switch got {
	case gzipped:
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("decompress layer: %w", noEOF(err))
		}
		d = decoder{r: z, done: func() { z.Close() }}
	case zstded:
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(maxWindow),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("decompress layer: %w", err)
		}
		d = decoder{r: z, done: z.Close}
	default:
		d = decoder{r: br, done: func() {}}
	}
	return &d, nil
}

// sniff tells the compression by the magic number. A zstd stream may begin
// with a skippable frame (RFC 8878, 3.1.2).
func sniff(br *bufio.Reader) (compression, error) {
	b, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return "", err
	}
	switch {
	case bytes.HasPrefix(b, []byte{0x1f, 0x8b}):
		return gzipped, nil
	case bytes.Equal(b, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstded, nil
	case len(b) == 4 && b[0]&0xf0 == 0x50 && bytes.Equal(b[1:], []byte{0x2a, 0x4d, 0x18}):
		return zstded, nil
	}
	return none, nil
}

// decoder is an unpacking reader that stays shut.
type decoder struct {
	mu   sync.Mutex
	r    io.Reader
	done func()
}

func (d *decoder) Read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.r == nil {
		return 0, errors.New("read layer: closed")
	}
	n, err := d.r.Read(p)
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		err = fmt.Errorf("%w: %w", ErrLimit, err)
	}
	return n, fmt.Errorf("decompress layer: %w", err)
}

func (d *decoder) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.r != nil {
		d.r = nil
		d.done()
	}
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
