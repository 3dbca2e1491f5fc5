package registry

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"minict/store"
)

// minRate is the slowest body that is waited for, in bytes per second.
const minRate = 1 << 10

// enough is how many bytes a try has to bring so that the next failure counts
// as the first again.
const enough = 1 << 20

var errStalled = errors.New("the transfer stalled")

// Blob is the body of a blob. It reads as one stream of exactly the size and
// digest in its descriptor: io.EOF comes only after both were found right,
// ErrCorrupt comes if they are not. A connection that breaks is made again and
// the stream goes on where it was.
type Blob struct {
	ctx    context.Context
	repo   *Repository
	want   store.Descriptor
	hash   hash.Hash
	offset int64 // bytes given to the reader, all of them in the hash
	body   io.ReadCloser
	cancel context.CancelCauseFunc
	tries  tries
	since  int64 // offset at the last failure
	ranges bool  // the registry does as a Range header says
	err    error
}

// Blob opens the blob that want describes. It asks the registry at once, so
// that a missing blob is ErrUnknown here; URLs in the descriptor are not
// looked at.
func (r *Repository) Blob(ctx context.Context, want store.Descriptor) (*Blob, error) {
	if err := store.ValidDigest(want.Digest); err != nil {
		return nil, fmt.Errorf("%w: blob %q: %w", ErrCorrupt, word(string(want.Digest)), err)
	}
	b := &Blob{ctx: ctx, repo: r, want: want, hash: want.Digest.Hash(), ranges: true}
	for b.body == nil {
		if err := b.open(); err != nil {
			if err := b.again(err); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

// Read implements io.Reader.
func (b *Blob) Read(p []byte) (int, error) {
	for b.err == nil {
		if b.offset == b.want.Size {
			b.err = b.finish()
			break
		}
		n, err := b.read(p[:min(int64(len(p)), b.want.Size-b.offset)])
		if n > 0 {
			b.hash.Write(p[:n])
			b.offset += int64(n)
			return n, nil
		}
		if err != nil {
			b.drop()
			b.err = b.again(err)
		}
	}
	return 0, b.err
}

// Close gives up the connection. It may be called before the end.
func (b *Blob) Close() error {
	b.drop()
	if b.err == nil {
		b.err = errors.New("read of a closed blob")
	}
	return nil
}

func (b *Blob) read(p []byte) (int, error) {
	if b.body == nil {
		if err := b.open(); err != nil {
			return 0, err
		}
	}
	n, err := b.body.Read(p)
	if err != nil && !errors.Is(err, errStalled) {
		err = io.ErrUnexpectedEOF // a reset, or an end where Size says that there is more
	}
	return n, err
}

// open asks for the blob from the offset on, always at its own URL: the
// signed one that a redirect led to may have expired.
func (b *Blob) open() error {
	ctx, cancel := context.WithCancelCause(b.ctx)
	resp, err := b.repo.get(ctx, "/blobs/"+string(b.want.Digest), "", b.offset)
	if err != nil {
		cancel(nil)
		return err
	}
	if err := b.repo.status(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		cancel(nil)
		return err
	}
	b.body, b.cancel = newStallReader(resp.Body, b.repo.cfg.StallTimeout, cancel), cancel
	if err := b.position(resp); err != nil {
		b.drop()
		return err
	}
	return nil
}

// position brings the body to the offset, or says why it is not there.
func (b *Blob) position(resp *http.Response) error {
	if resp.StatusCode == http.StatusPartialContent {
		header := resp.Header.Get("Content-Range")
		if b.offset == 0 || !b.isRest(header) {
			return fmt.Errorf("%w: asked for the bytes from %d on, the registry sent %q", ErrCorrupt, b.offset, word(header))
		}
		return nil
	}
	if resp.ContentLength >= 0 && resp.ContentLength != b.want.Size {
		return fmt.Errorf("%w: wrong size: %d bytes where the manifest promises %d", ErrCorrupt, resp.ContentLength, b.want.Size)
	}
	if b.offset == 0 {
		return nil
	}
	b.ranges = false
	_, err := io.CopyN(io.Discard, b.body, b.offset)
	if err != nil && !errors.Is(err, errStalled) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// isRest checks "bytes FIRST-LAST/SIZE" (RFC 9110, section 14.4), where SIZE
// may be "*".
func (b *Blob) isRest(header string) bool {
	span, size, ok := strings.Cut(strings.TrimPrefix(header, "bytes "), "/")
	first, last, ok2 := strings.Cut(span, "-")
	want := func(s string, n int64) bool { return s == strconv.FormatInt(n, 10) }
	return ok && ok2 && want(first, b.offset) && want(last, b.want.Size-1) && (size == "*" || want(size, b.want.Size))
}

// finish checks what came when all of it has come.
func (b *Blob) finish() error {
	var extra [1]byte
	if b.body != nil {
		if n, _ := b.body.Read(extra[:]); n > 0 {
			b.drop()
			return fmt.Errorf("blob %s: %w: wrong size: more than the %d bytes that the manifest promises", b.want.Digest, ErrCorrupt, b.want.Size)
		}
	}
	b.drop()
	got := store.NewDigest(b.want.Digest.Algorithm(), b.hash)
	if got != b.want.Digest {
		return fmt.Errorf("blob %s: %w: wrong digest: the registry sent %s", b.want.Digest, ErrCorrupt, got)
	}
	return io.EOF
}

// again is tries.again with the words of a blob.
func (b *Blob) again(err error) error {
	if b.ranges && b.offset-b.since >= enough {
		b.tries = tries{}
	}
	b.since = b.offset
	cause := b.tries.again(b.ctx, b.repo, err)
	if cause == nil {
		return nil
	}
	if errors.Is(cause, io.ErrUnexpectedEOF) {
		return fmt.Errorf("blob %s: %w: truncated after %d of %d bytes", b.want.Digest, ErrCorrupt, b.offset, b.want.Size)
	}
	return b.repo.explain(b.ctx, "blob "+string(b.want.Digest), cause)
}

func (b *Blob) drop() {
	if b.body != nil {
		b.cancel(nil)
		b.body.Close()
		b.body = nil
	}
}

// stallReader gives up a body that brings nothing, or next to nothing, for
// too long. Only the time inside Read counts: a slow reader is no stall.
type stallReader struct {
	io.ReadCloser
	limit  time.Duration
	timer  *time.Timer
	waited time.Duration // in Read, since the last count
	got    int64         // bytes in that time
	cancel context.CancelCauseFunc
	failed atomic.Bool
}

func newStallReader(body io.ReadCloser, limit time.Duration, cancel context.CancelCauseFunc) *stallReader {
	s := &stallReader{ReadCloser: body, limit: limit, cancel: cancel}
	s.timer = time.AfterFunc(limit, func() {
		s.failed.Store(true)
		cancel(errStalled)
	})
	s.timer.Stop()
	return s
}

func (s *stallReader) Read(p []byte) (int, error) {
	s.timer.Reset(s.limit)
	start := time.Now()
	n, err := s.ReadCloser.Read(p)
	s.timer.Stop()
	s.waited += time.Since(start)
	s.got += int64(n)
	if s.failed.Load() {
		return n, errStalled
	}
	if s.waited > s.limit {
		if s.got < int64(s.limit.Seconds()*minRate) {
			s.cancel(errStalled)
			return n, errStalled
		}
		s.waited, s.got = 0, 0
	}
	return n, err
}
