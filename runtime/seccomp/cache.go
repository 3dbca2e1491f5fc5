package seccomp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/internal/atomicfile"
)

// compilerVersion must change whenever the same profile gives another filter,
// so that no start takes what an older minict kept.
const compilerVersion = "1"

// dockerVersion is the version of github.com/moby/profiles/seccomp, whose
// default profile is part of the program. A test holds it against go.mod.
const dockerVersion = "v0.3.0"

// maxKept is how many filters a cache keeps. A machine has few: the default
// one for each set of capabilities and kernel, and the users' own.
const maxKept = 128

// A Cache keeps compiled filters in files, so that a start reads one instead of
// compiling it: a filter depends on its profile, the architecture and the
// kernel's version, which hardly change. A cache that can't be used, be it for
// its owner or its content, costs the compilation and nothing else.
type Cache struct {
	// Dir is the directory, made when needed. Others than the user who runs
	// this process must not be able to write there.
	Dir string
	// Arch is the kernel's architecture by Go's name.
	Arch string
}

// Default returns the filter of Docker's default profile for a container with
// the capabilities in its bounding set, as bytes to give seccomp(2), and the
// flags to give with it.
func (c Cache) Default(caps []string) ([]byte, uint32, error) {
	k, err := c.hostKey("default", caps)
	if err != nil {
		return nil, 0, err
	}
	k.text(dockerVersion)
	return c.filter(k, func() (*specs.LinuxSeccomp, error) { return Default(caps, c.Arch) })
}

// Load returns the filter of a profile in Docker's form, like Default.
func (c Cache) Load(data []byte, caps []string) ([]byte, uint32, error) {
	k, err := c.hostKey("file", caps)
	if err != nil {
		return nil, 0, err
	}
	k.text(string(data))
	return c.filter(k, func() (*specs.LinuxSeccomp, error) { return Load(data, caps, c.Arch) })
}

// Compile returns the filter of a profile in the OCI's form, like Default.
func (c Cache) Compile(p *specs.LinuxSeccomp) ([]byte, uint32, error) {
	if p == nil {
		return nil, 0, errors.New("seccomp profile: there is none")
	}
	k := c.key("profile")
	k.profile(p)
	return c.filter(k, func() (*specs.LinuxSeccomp, error) { return p, nil })
}

// Bytes returns the program as it lies in memory, which is the form that
// struct sock_fprog points to. It shares the memory.
func Bytes(prog []unix.SockFilter) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(prog))), len(prog)*unix.SizeofSockFilter)
}

func (c Cache) filter(k *key, profile func() (*specs.LinuxSeccomp, error)) ([]byte, uint32, error) {
	sum := k.sum()
	name := hex.EncodeToString(sum[:])
	if prog, flags, err := c.read(name, sum); err == nil {
		return prog, flags, nil
	}
	p, err := profile()
	if err != nil {
		return nil, 0, err
	}
	prog, flags, err := Compile(p, c.Arch)
	if err != nil {
		return nil, 0, err
	}
	// The filter is there; that it can't be kept is no reason not to start.
	_ = c.write(name, encode(sum, flags, Bytes(prog)))
	return Bytes(prog), flags, nil
}

// A kept filter is a head, the program, and the SHA-256 of both. The head is
// the magic word, the key, and as little-endian words the flags and the
// program's size in bytes.
const (
	headSize = len(magic) + sha256.Size + 4 + 4
	// maxFile is the size of a file with the largest filter.
	maxFile = headSize + maxProgram*unix.SizeofSockFilter + sha256.Size
)

const magic = "minicbpf"

func encode(key [sha256.Size]byte, flags uint32, prog []byte) []byte {
	b := make([]byte, 0, headSize+len(prog)+sha256.Size)
	b = append(b, magic...)
	b = append(b, key[:]...)
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(prog)))
	b = append(b, prog...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

var errCorrupt = errors.New("not a whole filter")

// decodeFile returns the program in a kept filter; it shares b's memory.
func decodeFile(b []byte, key [sha256.Size]byte) (prog []byte, flags uint32, err error) {
	if len(b) < headSize+unix.SizeofSockFilter+sha256.Size {
		return nil, 0, errCorrupt
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	prog = body[headSize:]
	flags = binary.LittleEndian.Uint32(body[headSize-8:])
	size := binary.LittleEndian.Uint32(body[headSize-4:])
	want := sha256.Sum256(body)
	if string(body[:len(magic)]) != magic || !bytes.Equal(body[len(magic):headSize-8], key[:]) ||
		!bytes.Equal(sum, want[:]) || uint64(size) != uint64(len(prog)) || size%unix.SizeofSockFilter != 0 {
		return nil, 0, errCorrupt
	}
	return prog, flags, nil
}

// read returns a kept filter. The directory and the file must belong to the
// user of this process and be closed to others' changes.
func (c Cache) read(name string, key [sha256.Size]byte) ([]byte, uint32, error) {
	dir, err := unix.Open(c.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, err
	}
	defer unix.Close(dir)
	if _, err := ours(dir, unix.S_IFDIR); err != nil {
		return nil, 0, err
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, err
	}
	defer unix.Close(fd)
	size, err := ours(fd, unix.S_IFREG)
	if err != nil {
		return nil, 0, err
	}
	if size > int64(maxFile) {
		return nil, 0, errCorrupt
	}
	b := make([]byte, size)
	for n := 0; n < len(b); {
		m, err := unix.Pread(fd, b[n:], int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil || m == 0 {
			return nil, 0, errCorrupt
		}
		n += m
	}
	return decodeFile(b, key)
}

// ours checks the kind and the owner of an open file and returns its size.
func ours(fd int, kind uint32) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	if st.Mode&unix.S_IFMT != kind || int(st.Uid) != unix.Geteuid() || st.Mode&0o022 != 0 {
		return 0, errors.New("not a safe place for filters")
	}
	return st.Size, nil
}

func (c Cache) write(name string, data []byte) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	dir, err := os.Open(c.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if _, err := ours(int(dir.Fd()), unix.S_IFDIR); err != nil {
		return err
	}
	if names, err := dir.Readdirnames(maxKept); err == nil && len(names) == maxKept {
		c.empty(dir, names)
	}
	return atomicfile.WriteVolatile(filepath.Join(c.Dir, name), data)
}

// empty removes all that the cache holds: what is still of use comes back, and
// what a killed process left half written goes too.
func (c Cache) empty(dir *os.File, names []string) {
	more, err := dir.Readdirnames(-1)
	if err != nil && err != io.EOF {
		return
	}
	for _, name := range append(names, more...) {
		// A file that stays is found by the next write.
		_ = unix.Unlinkat(int(dir.Fd()), name, 0)
	}
}

// A key gathers what a filter depends on. Every text and list begins with its
// length, so that no two contents look the same.
type key struct{ buf []byte }

func (c Cache) key(kind string) *key {
	k := &key{buf: make([]byte, 0, 8192)}
	k.text(kind)
	k.text(compilerVersion)
	k.text(c.Arch)
	return k
}

// hostKey begins a key for what depends on capabilities and the kernel.
func (c Cache) hostKey(kind string, caps []string) (*key, error) {
	release, err := kernelRelease()
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	k := c.key(kind)
	k.text(release)
	caps = slices.Clone(caps)
	slices.Sort(caps)
	k.number(uint64(len(caps)))
	for _, name := range caps {
		k.text(name)
	}
	return k, nil
}

func (k *key) sum() [sha256.Size]byte { return sha256.Sum256(k.buf) }

func (k *key) number(n uint64) { k.buf = binary.LittleEndian.AppendUint64(k.buf, n) }

func (k *key) text(s string) {
	k.number(uint64(len(s)))
	k.buf = append(k.buf, s...)
}

func (k *key) errno(n *uint) {
	if n == nil {
		k.number(0)
	} else {
		k.number(1)
		k.number(uint64(*n))
	}
}

// profile adds all of a profile. A test makes sure that no field is forgotten.
func (k *key) profile(p *specs.LinuxSeccomp) {
	k.text(string(p.DefaultAction))
	k.errno(p.DefaultErrnoRet)
	k.number(uint64(len(p.Architectures)))
	for _, a := range p.Architectures {
		k.text(string(a))
	}
	// No flags and an empty list of flags differ.
	if p.Flags == nil {
		k.number(0)
	} else {
		k.number(uint64(len(p.Flags)) + 1)
	}
	for _, f := range p.Flags {
		k.text(string(f))
	}
	k.text(p.ListenerPath)
	k.text(p.ListenerMetadata)
	k.number(uint64(len(p.Syscalls)))
	for _, s := range p.Syscalls {
		k.number(uint64(len(s.Names)))
		for _, n := range s.Names {
			k.text(n)
		}
		k.text(string(s.Action))
		k.errno(s.ErrnoRet)
		k.number(uint64(len(s.Args)))
		for _, a := range s.Args {
			k.number(uint64(a.Index))
			k.number(a.Value)
			k.number(a.ValueTwo)
			k.text(string(a.Op))
		}
	}
}
