// Package layer turns the tar of an image's layer into a directory.
//
// The tar is hostile. Each entry is written by *at() system calls relative to
// a descriptor of its parent directory, and that descriptor was resolved by
// the kernel beneath the layer's root without following any symbolic link
// (openat2(2), RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS). No name of the
// archive is ever joined to a path of the host. docs/layers.md tells the rest.
//
// The directory has the form that overlayfs stacks: a whiteout is a character
// device 0:0, an opaque directory carries an extended attribute.
//
// # Self-contained layers
//
// A layer's directory may be shared by all images that have the layer if it
// follows from the tar alone. It does not when
//
//   - an entry's parent directory has no entry of its own before it in the
//     tar: the merged file system would show the attributes of a directory
//     that nobody described, instead of those the lower layers gave it, or
//     the parent is a symbolic link of a lower layer;
//   - a hard link's target is not in the tar before it: the file must be
//     copied up from a lower layer;
//   - the root is marked opaque: overlayfs ignores the mark on a root, so each
//     name of the lower layers needs its own whiteout.
//
// What lies under a directory already marked opaque is decided by the tar
// alone, since nothing below shows through. Everything else does not look at
// lower layers at all. So a layer is self-contained or not whatever its
// parents are, and a layer that is gives the same directory with and without
// Options.Parents.
package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"minict/store"
)

var (
	// ErrNeedsParents says that the layer is not self-contained and that
	// Options.Parents was nil. Apply it again, to an empty directory, with
	// the directories of the layers below it.
	ErrNeedsParents = errors.New("layer needs the layers below it")
	// ErrLimit says that the layer is larger, longer or deeper than allowed.
	ErrLimit = errors.New("limit exceeded")
	// ErrBreakout says that an entry would be written outside the layer.
	ErrBreakout = errors.New("path leads outside the layer")
)

// Limits that hold when Options names none, and those that always hold.
const (
	DefaultMaxBytes   = 64 << 30
	DefaultMaxEntries = 10_000_000

	maxPath      = unix.PathMax - 1 // bytes of an entry's name, of a link's target
	maxComponent = 255              // bytes between two slashes (NAME_MAX)
	maxDepth     = 1000             // directories above an entry
	maxXattr     = 64 << 10         // bytes of a value (XATTR_SIZE_MAX)
	maxLinks     = 40               // symbolic links on the way to one entry, as the kernel allows
)

// Options says where a layer goes and how large it may be.
type Options struct {
	// Root is an empty directory that nobody else can reach (mode 0700 or
	// below such a directory). Unpack does not close it.
	Root *os.File
	// MaxBytes bounds the tar's length and, apart, the sum of its files'
	// sizes (sparse files are larger than what the tar holds of them).
	// MaxEntries bounds the number of entries. 0 means the default.
	MaxBytes, MaxEntries int64
	// Parents are the directories of the layers below, the top first. nil
	// means that they are not known, an empty slice that there are none.
	Parents []string
}

// Result says what a tar was.
type Result struct {
	DiffID        store.Digest // of the whole tar, with what trails its end
	Size          int64        // bytes of file content written, a replaced file's too
	SelfContained bool
}

// Unpack applies the plain tar r to the directory Options.Root. Errors name
// the entry; ErrNeedsParents, ErrLimit and ErrBreakout can be told apart, and
// a tar cut short is io.ErrUnexpectedEOF. After an error the directory holds
// a part of the layer and must be removed. Nothing is synced.
//
// r is read in a goroutine. It has ended when Unpack returns, except when ctx
// was cancelled in the middle of a Read of r: then it ends with that Read.
func Unpack(ctx context.Context, r io.Reader, o Options) (Result, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = DefaultMaxEntries
	}
	u, err := newUnpacker(o)
	if err != nil {
		return Result{}, err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	s := newStream(reading, r, o.MaxBytes)
	err = u.run(ctx, s)
	if err == nil {
		_, err = io.Copy(io.Discard, s)
	}
	if e := u.close(err == nil); err == nil {
		err = e
	}
	if err != nil {
		stop()
		s.wait(ctx)
		return Result{}, err
	}
	return Result{DiffID: s.digest(), Size: u.size, SelfContained: u.self}, nil
}

// unpacker is one run of Unpack.
type unpacker struct {
	o     Options
	dirs  *dirs
	below *below

	size, entries int64
	self          bool   // nothing of the lower layers was looked at
	opaque        bool   // some directory is
	whiteouts     bool   // there are some
	rootOpaque    bool   // finish covers each name of the lower layers
	acl           bool   // some directory has a default ACL that its children would inherit
	buf           []byte // for file content

	lastName string // the parent of the entry before, as the tar spells it
	last     *dir
}

func newUnpacker(o Options) (*unpacker, error) {
	fd, err := unix.Openat(int(o.Root.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: o.Root.Name(), Err: err}
	}
	u := &unpacker{o: o, self: true, buf: make([]byte, chunkSize)}
	u.dirs, err = newDirs(fd)
	if err != nil {
		return nil, fmt.Errorf("stat %s: %w", o.Root.Name(), err)
	}
	u.below = &below{paths: o.Parents}
	u.acl = hasXattr(fd, aclDefault)
	return u, nil
}

// close lets go of all descriptors; when the layer is whole it first gives
// each open directory the time that the tar says.
func (u *unpacker) close(whole bool) error {
	err := u.dirs.close(whole)
	u.below.close()
	return err
}

func (u *unpacker) run(ctx context.Context, r io.Reader) error {
	blocks := &blockReader{r: r}
	tr := tar.NewReader(blocks)
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			if err = blocks.atEnd(); err == nil {
				return u.finish()
			}
		}
		if errors.Is(err, tar.ErrFieldTooLong) {
			err = fmt.Errorf("%w: %w", ErrLimit, err)
		}
		if err != nil {
			return fmt.Errorf("read tar: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		blocks.entry(hdr)
		if u.entries++; u.entries > u.o.MaxEntries {
			return fmt.Errorf("unpack %q: %w: more than %d entries", hdr.Name, ErrLimit, u.o.MaxEntries)
		}
		if err := u.entry(hdr, tr); err != nil {
			return fmt.Errorf("unpack %q: %w", hdr.Name, err)
		}
	}
}

// finish does what only the whole tar tells.
func (u *unpacker) finish() error {
	if !u.rootOpaque {
		return nil
	}
	return u.coverRoot()
}
