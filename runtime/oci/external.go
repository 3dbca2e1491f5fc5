package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"minict/runtime"
	"minict/runtime/criu"
)

// mountEntry is a line of a table of mounts, proc_pid_mountinfo(5).
type mountEntry struct {
	id   int
	root string // in its file system
	at   string
}

func readMounts(process string) ([]mountEntry, error) {
	path := "/proc/" + process + "/mountinfo"
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	escapes := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var list []mountEntry
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 5 {
			return nil, fmt.Errorf("%s: %q is not a mount", path, line)
		}
		id, err := strconv.Atoi(f[0])
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not a mount", path, line)
		}
		list = append(list, mountEntry{id, escapes.Replace(f[3]), escapes.Replace(f[4])})
	}
	return list, nil
}

func inode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Ino, nil
}

// toDump names the mounts of a process that are not its container's own: CRIU
// neither dumps nor restores them, and has to be told of them both times, by a
// name, which is the destination in the configuration. A mount belongs to the
// last of the list that it is in.
func toDump(list []runtime.Shown, pid int, mounts []mountEntry) ([]criu.Pair, error) {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the root directory of process %d: %w", pid, err)
	}
	defer unix.Close(root)
	places := make([]string, len(list))
	for i, s := range list {
		places[i] = resolve(root, s.Destination)
	}
	var pairs []criu.Pair
	for _, m := range mounts {
		owner := -1
		for i, place := range places {
			if below(m.at, place) && (owner < 0 || len(place) >= len(places[owner])) {
				owner = i
			}
		}
		if owner < 0 || list[owner].Source == "" || list[owner].File && (m.root == "/" || m.at != places[owner]) {
			continue
		}
		pairs = append(pairs, criu.Pair{Key: m.at, Value: list[owner].Destination + strings.TrimPrefix(m.at, places[owner])})
	}
	return pairs, nil
}

// toRestore says where these names are found, when each of the list that is the
// host's is bound at its place.
func toRestore(list []runtime.Shown, place func(int) string) ([]criu.Pair, error) {
	host, err := readMounts("self")
	if err != nil {
		return nil, err
	}
	var pairs []criu.Pair
	for i, s := range list {
		if s.Source == "" {
			continue
		}
		pairs = append(pairs, criu.Pair{Key: s.Destination, Value: place(i)})
		source, err := filepath.EvalSymlinks(s.Source)
		if err != nil || !s.Recursive { // CRIU tells that it is not there, if it misses it
			continue
		}
		for _, m := range host {
			if m.at != source && below(m.at, source) {
				rest := strings.TrimPrefix(m.at, strings.TrimSuffix(source, "/"))
				pairs = append(pairs, criu.Pair{Key: s.Destination + rest, Value: place(i) + rest})
			}
		}
	}
	slices.SortStableFunc(pairs, func(a, b criu.Pair) int { return strings.Compare(a.Key, b.Key) })
	return slices.CompactFunc(pairs, func(a, b criu.Pair) bool { return a.Key == b.Key }), nil
}

// bindShown binds them there, with the attributes that they have in the
// container: CRIU leaves those of a mount as they are that has the same
// attributes as an earlier one of the same file system.
func bindShown(list []runtime.Shown, place func(int) string) error {
	for i, s := range list {
		if s.Source == "" {
			continue
		}
		info, err := os.Stat(s.Source)
		if err != nil {
			continue // see toRestore
		}
		if err = makePlace(place(i), info.IsDir()); err == nil {
			err = bind(s, place(i))
		}
		if err != nil {
			return fmt.Errorf("bind %s: %w", s.Source, err)
		}
	}
	return nil
}

func makePlace(path string, dir bool) error {
	if dir {
		return os.Mkdir(path, 0o700)
	}
	return os.WriteFile(path, nil, 0o600)
}

func bind(s runtime.Shown, place string) error {
	const empty = unix.AT_EMPTY_PATH
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if s.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, s.Source, flags)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(tree)
	if err := unix.MountSetattr(tree, "", empty, &s.Attr); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	if err := unix.MountSetattr(tree, "", empty|unix.AT_RECURSIVE, &s.All); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	return os.NewSyscallError("move_mount", unix.MoveMount(tree, "", unix.AT_FDCWD, place, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

func below(path, top string) bool {
	return path == top || strings.HasPrefix(path, strings.TrimSuffix(top, "/")+"/")
}

// resolve follows the links of a path in a root directory; what is not there is
// left as it is.
func resolve(root int, path string) string {
	fd, err := unix.Openat2(root, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return path
	}
	defer unix.Close(fd)
	// In a mount namespace that is not ours a path begins at its root.
	real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return path
	}
	return real
}
