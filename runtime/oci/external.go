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

var mountEscapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

func readMounts(process string) ([]mountEntry, error) {
	path := "/proc/" + process + "/mountinfo"
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
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
		list = append(list, mountEntry{id, mountEscapes.Replace(f[3]), mountEscapes.Replace(f[4])})
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

// toRestore says where on the host these names are found.
func toRestore(list []runtime.Shown) ([]criu.Pair, error) {
	host, err := readMounts("self")
	if err != nil {
		return nil, err
	}
	var pairs []criu.Pair
	for _, s := range list {
		if s.Source == "" {
			continue
		}
		pairs = append(pairs, criu.Pair{Key: s.Destination, Value: s.Source})
		if !s.Recursive {
			continue
		}
		source := s.Source
		if real, err := filepath.EvalSymlinks(source); err == nil { // or CRIU tells that it is not there
			source = real
		}
		for _, m := range host {
			if m.at != source && below(m.at, source) {
				pairs = append(pairs, criu.Pair{Key: s.Destination + strings.TrimPrefix(m.at, source), Value: m.at})
			}
		}
	}
	slices.SortStableFunc(pairs, func(a, b criu.Pair) int { return strings.Compare(a.Key, b.Key) })
	return slices.CompactFunc(pairs, func(a, b criu.Pair) bool { return a.Key == b.Key }), nil
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
