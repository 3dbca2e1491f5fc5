package oci

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxConfig is the size of the largest config.json, in bytes. Docker's have
// some 20 KiB, most of them the seccomp profile.
const maxConfig = 16 << 20

// Bundle is a directory with a container's configuration.
type Bundle struct {
	Dir  string // absolute
	Spec *specs.Spec

	raw []byte // that Spec was read from
}

// ReadBundle reads a bundle's configuration, once: whoever can write to the
// bundle may change it a moment later. The error is ErrConfig if it is none.
func ReadBundle(dir string) (*Bundle, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "config.json")
	raw, err := ReadBounded(name, maxConfig)
	if err != nil {
		return nil, err
	}
	spec, err := parseConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Bundle{dir, spec, raw}, nil
}

// ReadBounded reads a regular file of at most so many bytes. Nothing else is
// waited for or drained: neither a fifo nor a device.
func ReadBounded(name string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: more than %d bytes", name, limit)
	}
	return data, nil
}
