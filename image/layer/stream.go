package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"minict/store"
)

const (
	chunkSize  = 256 << 10
	chunkCount = 12
)

// stream reads ahead: one goroutine reads (and so decompresses), a second one
// hashes, and whoever calls Read writes files meanwhile. The chunks that go
// round bound the memory.
type stream struct {
	ctx   context.Context
	full  chan chunk
	free  chan []byte
	ended chan struct{} // both goroutines are done; guards sum

	cur  []byte // what is unread of held
	held []byte
	err  error
	sum  hash.Hash
}

type chunk struct {
	buf []byte
	err error // what ended the stream after buf
}

func newStream(ctx context.Context, r io.Reader, max int64) *stream {
	s := &stream{
		ctx:   ctx,
		full:  make(chan chunk, chunkCount),
		free:  make(chan []byte, chunkCount),
		ended: make(chan struct{}),
		sum:   sha256.New(),
	}
	for range chunkCount {
		s.free <- nil // made when first used: most layers are small
	}
	read := make(chan chunk, chunkCount)
	go s.pump(r, max, read)
	go s.hash(read)
	return s
}

// pump reads r to its end, at most max bytes.
func (s *stream) pump(r io.Reader, max int64, out chan<- chunk) {
	defer close(out)
	for total := int64(0); ; {
		var buf []byte
		select {
		case buf = <-s.free:
		case <-s.ctx.Done():
			return
		}
		if buf == nil {
			buf = make([]byte, chunkSize)
		}
		n, err := fill(s.ctx, r, buf[:chunkSize])
		if total += int64(n); total > max {
			n, err = 0, fmt.Errorf("%w: more than %d bytes", ErrLimit, max)
		}
		out <- chunk{buf[:n], err} // never blocks: there are no more chunks than places
		if err != nil {
			return
		}
	}
}

// fill is io.ReadFull that ends early when ctx does, and gives an error of
// the reader as it is.
func fill(ctx context.Context, r io.Reader, buf []byte) (n int, err error) {
	for empty := 0; n < len(buf) && err == nil; {
		var m int
		m, err = r.Read(buf[n:])
		n += m
		if empty++; m > 0 {
			empty = 0
		} else if empty > 100 && err == nil {
			err = io.ErrNoProgress
		}
		if err == nil {
			err = ctx.Err()
		}
	}
	return n, err
}

func (s *stream) hash(in <-chan chunk) {
	defer close(s.ended)
	for c := range in {
		s.sum.Write(c.buf)
		s.full <- c
	}
}

// Read gives what was read and hashed. It returns as soon as ctx ends.
func (s *stream) Read(p []byte) (int, error) {
	for len(s.cur) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		if s.held != nil {
			s.free <- s.held
			s.held = nil
		}
		select {
		case c := <-s.full:
			s.cur, s.held, s.err = c.buf, c.buf, c.err
		case <-s.ctx.Done():
			s.err = s.ctx.Err()
		}
	}
	n := copy(p, s.cur)
	s.cur = s.cur[n:]
	return n, nil
}

// wait returns when the goroutines are done, or at once if the caller of
// Unpack has gone: then they end by themselves.
func (s *stream) wait(ctx context.Context) {
	select {
	case <-s.ended:
	case <-ctx.Done():
	}
}

// digest is that of all bytes of a stream that was read to its end.
func (s *stream) digest() store.Digest {
	<-s.ended
	return store.NewDigest(store.SHA256, s.sum)
}

const blockSize = 512 // of a tar, tar(5)

// blockReader tells whether a tar that has no more entries was cut short:
// archive/tar forgives missing padding and headers that no entry follows.
type blockReader struct {
	r    io.Reader
	n    int64 // bytes read
	end  int64 // where the last entry ends
	last [blockSize]byte
}

func (b *blockReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	if n >= blockSize {
		copy(b.last[:], p[n-blockSize:n])
	} else {
		copy(b.last[:], b.last[n:])
		copy(b.last[blockSize-n:], p[:n])
	}
	return n, err
}

// entry notes the entry whose headers have just been read. How much of a
// sparse file the tar holds is not known; nothing is expected of it.
func (b *blockReader) entry(hdr *tar.Header) {
	switch {
	case isSparse(hdr):
		b.end = -1
	case hdr.Typeflag == tar.TypeReg, hdr.Typeflag == tar.TypeCont:
		b.end = b.n + (hdr.Size+blockSize-1)/blockSize*blockSize
	default:
		b.end = b.n
	}
}

// atEnd accepts a tar that ends with a block of zeros, or, as GNU tar does,
// right after an entry.
func (b *blockReader) atEnd() error {
	whole := b.n%blockSize == 0
	if whole && (b.n == b.end || b.end < 0 || b.last == [blockSize]byte{}) {
		return nil
	}
	return io.ErrUnexpectedEOF
}
