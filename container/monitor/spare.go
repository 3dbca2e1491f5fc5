package monitor

import (
	"strconv"

	"golang.org/x/sys/unix"

	"minict/runtime/launch"
	"minict/runtime/plan"
)

// A container's directory with the two of its overlay, upper and work, costs as
// much to make and to remove as all of the container's namespaces: a file system
// on a disk allocates and frees blocks for each. Many a container writes nothing.
// So one that is as good as new is kept as a spare for the next container,
// instead of being removed.

// spares is how many are kept: as many as may end at the same time before the
// next begins.
const spares = 4

// SpareName is the name that a spare may have, and how many names there are.
func SpareName(n int) (name string, ok bool) { return strconv.Itoa(n), n < spares }

// mark is what a volatile mount leaves in its work directory: the kernel mounts
// none again where it finds it, since what was written there may be lost. From
// the innermost on. Source: Documentation/filesystems/overlayfs.rst.
var mark = []struct {
	path  string
	flags int
}{
	{"/work/work/incompat/volatile/dirty", 0},
	{"/work/work/incompat/volatile", unix.AT_REMOVEDIR},
	{"/work/work/incompat", unix.AT_REMOVEDIR},
}

// prepare begins to ready the directory of a container that is being started to be
// a spare: its root file system is mounted. A disk takes its time to remove
// directories, which nobody has at the end, nor at the next start; so that is done
// aside. The mark can go: to be kept, the directory must not have been written to,
// and then nothing is lost. What the kernel makes in the work directory can't go
// yet, so another takes its place, "next", and what was made in that, the time
// before, goes now. What can't be done keep will see.
func prepare(path string) (*launch.Aside, error) {
	var b plan.Builder
	b.Step(plan.Step{Phase: plan.Child, Verb: "prepare", Object: path})
	at := plan.Int(unix.AT_FDCWD)
	for _, m := range mark {
		b.Call(unix.SYS_UNLINKAT, at, b.Str(path+m.path), plan.Int(m.flags)).Flag(plan.AnyError)
	}
	b.Call(unix.SYS_UNLINKAT, at, b.Str(path+"/next/work"), plan.Int(unix.AT_REMOVEDIR)).Flag(plan.AnyError)
	b.Call(unix.SYS_MKDIRAT, at, b.Str(path+"/next"), plan.Int(0o755)).Flag(plan.AnyError)
	return launch.GoAside(b.Plan(0, plan.NoSlot).Ready())
}

// keep makes a directory a spare, if it can serve once more.
func keep(path, spareDir string) bool {
	dir, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(dir)
	for _, name := range []string{logName, oldLogName} {
		unix.Unlinkat(dir, name, 0)
	}
	if !holds(dir, "upper", "work", "next") || !untouched(dir, "upper") || !unworked(dir) || !holdsIn(dir, "next") {
		return false
	}
	if unix.Renameat2(dir, "work", dir, "next", unix.RENAME_EXCHANGE) != nil {
		return false
	}
	for n := range spares {
		name, _ := SpareName(n)
		if unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, spareDir+"/"+name, unix.RENAME_NOREPLACE) == nil {
			return true
		}
	}
	return false
}

// holds says whether a directory has these entries, and no others.
func holds(dir int, want ...string) bool {
	if _, err := unix.Seek(dir, 0, unix.SEEK_SET); err != nil {
		return false
	}
	var buf [1024]byte // no less than these take, or it has others
	n, err := unix.Getdents(dir, buf[:])
	if err != nil {
		return false
	}
	_, _, names := unix.ParseDirent(buf[:n], -1, nil)
	if len(names) != len(want) {
		return false
	}
	for _, name := range names {
		found := false
		for _, w := range want {
			found = found || name == w
		}
		if !found {
			return false
		}
	}
	return true
}

// untouched says whether a directory is as it was made: empty, and root's, with
// the usual mode and nothing attached. It is what the container saw as its root
// directory, so it may have changed all of that.
func untouched(dir int, name string) bool {
	fd, err := openDir(dir, name)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode != unix.S_IFDIR|0o755 || st.Uid != 0 || st.Gid != 0 {
		return false
	}
	return plain(fd) && holds(fd)
}

// plain says whether a file has no extended attributes but the one that
// overlayfs gives each upper directory at its first mount.
func plain(fd int) bool {
	const ofOverlay = "trusted.overlay.uuid\x00"
	var buf [len(ofOverlay) + 1]byte // room for no other beside it
	n, err := unix.Flistxattr(fd, buf[:])
	return err == unix.ENOTSUP || err == nil && (n == 0 || string(buf[:n]) == ofOverlay)
}

// unworked says whether nothing is left in the work directory but the empty one
// that the kernel makes there.
func unworked(dir int) bool {
	work, err := openDir(dir, "work")
	if err != nil {
		return false
	}
	defer unix.Close(work)
	return holds(work) || holds(work, "work") && holdsIn(work, "work")
}

// holdsIn is holds for a directory in another.
func holdsIn(dir int, name string, want ...string) bool {
	fd, err := openDir(dir, name)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return holds(fd, want...)
}
