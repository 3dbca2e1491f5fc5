// Package leaks tells what a test has left on the host.
//
// It is meant for a private host (package host): there, every process, mount,
// link and socket that appears is the test's own.
package leaks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"minict/tests/host"

	"golang.org/x/sys/unix"
)

// Dirs are the directories of the minict under test whose files are looked at.
type Dirs struct {
	Root  string // --root
	State string // --state
	Temp  string // TMPDIR
}

// Snapshot is what there is at one moment: a line for each thing, with its
// kind in front.
type Snapshot struct {
	dirs  Dirs
	lines map[string]int // a line can be there more than once
	procs map[string]int // the pids behind the lines of running processes
	owned *owned         // of a snapshot that others are compared with
}

// kept are the files that stay when no container is left, as patterns below
// the root and the state directory. What matches a pattern stays with all
// that is below it.
var kept = struct{ root, state []string }{
	root:  []string{"base", "spare", "cache", "networks/bridge", "index.db", "index.lock", "blobs", "layers", "locks", "ingest/lock", "names/.lock"},
	state: []string{"bin", "root", "containers/.lock", "containers/.swept", "networks/.lock", "networks/.generation", "networks/bridge/cursor?"},
}

// emptied are directories that stay, but without what was in them.
var emptied = []string{
	"containers", "names", "ingest", "trash", "volumes",
	"networks", "networks/bridge", "networks/bridge/leases", "networks/bridge/names",
}

// Take makes the snapshot with which the host is compared later. It makes the
// state directory's directory of containers, to see which come and go.
func Take(dirs Dirs) (Snapshot, error) {
	owned, err := watchOwned(dirs.State)
	if err != nil {
		return Snapshot{}, err
	}
	s, err := look(dirs)
	s.owned = owned
	return s, err
}

// look makes a snapshot. A process that has ended and only waits for PID 1 to
// reap it is not there any more.
func look(dirs Dirs) (Snapshot, error) {
	s := Snapshot{dirs: dirs, lines: map[string]int{}, procs: map[string]int{}}
	for _, part := range []func() error{s.mounts, s.cgroups, s.processes, s.sockets, s.network, s.files} {
		if err := part(); err != nil {
			return s, err
		}
	}
	return s, nil
}

// Since lists what is there now and was not in the snapshot, after waiting for
// the new processes to end: as long as one runs it may still be clearing up. It
// also waits for the ends of cables to containers: the kernel frees a network
// namespace some time after the last process in it has ended. It waits for no
// longer than patience.
func (before Snapshot) Since(patience time.Duration) ([]string, error) {
	deadline := time.Now().Add(patience)
	for {
		now, fresh, err := before.fresh()
		if err != nil {
			return nil, err
		}
		if pid, running := now.firstProcess(fresh); running {
			if !ends(pid, deadline) {
				return fresh, nil
			}
			continue
		}
		if name, left := firstCable(fresh); !left || !disappears(name, deadline) {
			return fresh, nil
		}
	}
}

// Sweep ends the processes and removes the cgroups that are not in the
// snapshot, so that one test's leak is not the next one's.
func (before Snapshot) Sweep() error {
	now, fresh, err := before.fresh()
	if err != nil {
		return err
	}
	for _, line := range fresh {
		if pid, ok := now.procs[line]; ok {
			unix.Kill(pid, unix.SIGKILL)
			ends(pid, time.Now().Add(5*time.Second))
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(fresh))) // children before parents
	for _, line := range fresh {
		if dir, ok := strings.CutPrefix(line, "cgroup "); ok {
			unix.Rmdir(dir)
		}
	}
	return nil
}

// fresh looks at the host again and lists what is new, and ours.
func (before Snapshot) fresh() (now Snapshot, lines []string, err error) {
	if now, err = look(before.dirs); err != nil {
		return now, nil, err
	}
	if err := before.owned.update(); err != nil {
		return now, nil, err
	}
	for line, n := range now.lines {
		dir, cgroup := strings.CutPrefix(line, "cgroup ")
		if n > before.lines[line] && !(cgroup && before.owned.foreign(dir)) {
			lines = append(lines, line)
		}
	}
	sort.Strings(lines)
	return now, lines, nil
}

func (s Snapshot) firstProcess(lines []string) (pid int, found bool) {
	for _, line := range lines {
		if pid, found = s.procs[line]; found {
			return pid, true
		}
	}
	return 0, false
}

// ends waits until the process has ended, and says whether it did in time.
func ends(pid int, deadline time.Time) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return errors.Is(err, unix.ESRCH)
	}
	defer unix.Close(fd)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n == 1 {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}

func (s Snapshot) mounts() error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(strings.TrimSpace(string(table)), "\n") {
		fields := strings.Fields(line)
		// Without the mount's own number and its parent's.
		s.lines["mount "+strings.Join(fields[2:], " ")]++
	}
	return nil
}

// cgroups lists what is below the directories named minict of every
// hierarchy. These may stay, and in them usual, which keeps the device rules of
// the next container.
func (s Snapshot) cgroups() error {
	hierarchies, err := host.Cgroups()
	if err != nil {
		return err
	}
	for _, hierarchy := range hierarchies {
		top := filepath.Join(hierarchy.Dir, "minict")
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && d.IsDir() && path != top && path != filepath.Join(top, "usual") {
				s.lines["cgroup "+path]++
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s Snapshot) processes() error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "stat"))
		if err != nil {
			continue // ended in the meantime
		}
		// proc_pid_stat(5): pid (comm) state ppid …, with the start time as
		// the 20th field behind the name.
		after := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		name := string(stat[strings.IndexByte(string(stat), '(')+1 : strings.LastIndexByte(string(stat), ')')])
		state, parent, started := after[0], after[1], after[19]
		if state == "Z" && parent == "1" || state == "X" {
			continue
		}
		line := fmt.Sprintf("process %d (%s) parent %s started %s", pid, name, parent, started)
		if state == "Z" {
			s.lines[line+" zombie"]++
			continue
		}
		s.lines[line]++
		s.procs[line] = pid
	}
	return nil
}

func (s Snapshot) sockets() error {
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(table), "\n")[1:] {
		if fields := strings.Fields(line); len(fields) > 7 {
			s.lines["socket "+fields[7]]++
		}
	}
	return nil
}

func (s Snapshot) files() error {
	if err := s.tree(s.dirs.Root, kept.root, emptied); err != nil {
		return err
	}
	if err := s.tree(s.dirs.State, kept.state, emptied); err != nil {
		return err
	}
	return s.tree(s.dirs.Temp, nil, nil)
}

func (s Snapshot) tree(top string, kept, emptied []string) error {
	if top == "" {
		return nil
	}
	return filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || path == top {
			return err
		}
		name, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		if matches(name, kept) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !matches(name, emptied) {
			s.lines["file "+path]++
		}
		return nil
	})
}

func matches(name string, patterns []string) bool {
	for _, pattern := range patterns {
		if ok, err := filepath.Match(pattern, name); err == nil && ok {
			return true
		}
	}
	return false
}
