package layer

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// copyAll writes exactly size bytes of r to an empty file.
func copyAll(fd int, r io.Reader, size int64, buf []byte) error {
	return inChunks(r, size, buf, func(b []byte, at int64) error { return writeAt(fd, b, at) })
}

// inChunks hands out size bytes of r in chunks, each at its offset.
func inChunks(r io.Reader, size int64, buf []byte, put func([]byte, int64) error) error {
	for at := int64(0); at < size; {
		b := buf[:min(int64(len(buf)), size-at)]
		if _, err := io.ReadFull(r, b); err != nil {
			return fmt.Errorf("read: %w", noEOF(err))
		}
		if err := put(b, at); err != nil {
			return err
		}
		at += int64(len(b))
	}
	return nil
}

func writeAt(fd int, b []byte, at int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, at)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			b, at = b[n:], at+int64(n)
		}
	}
	return nil
}

// holeSize is the smallest run of zeros left out of a sparse file: a page, as
// file systems' blocks are no larger.
const holeSize = 4 << 10

var zeros [holeSize]byte

// copySparse is copyAll that writes no block of zeros: archive/tar fills the
// holes of a sparse file with them, and the tar may claim terabytes.
func copySparse(fd int, r io.Reader, size int64, buf []byte) error {
	if err := unix.Ftruncate(fd, size); err != nil {
		return err
	}
	return inChunks(r, size, buf, func(b []byte, at int64) error {
		for len(b) > 0 {
			n := min(holeSize, len(b))
			if !bytes.Equal(b[:n], zeros[:n]) {
				if err := writeAt(fd, b[:n], at); err != nil {
					return err
				}
			}
			b, at = b[n:], at+int64(n)
		}
		return nil
	})
}
