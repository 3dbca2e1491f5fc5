package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const mountPoint = "/sys/fs/cgroup"

// ErrNone says that no cgroup file system is mounted.
var ErrNone = errors.New("no cgroup file system is mounted")

// Probe looks at how the machine has its control groups. With version 2 alone
// that takes three system calls and two small files.
func Probe() (Layout, error) {
	var l Layout
	var st unix.Statfs_t
	if err := unix.Statfs(mountPoint, &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		l.Unified = mountPoint
	} else if err := l.probeMounts(); err != nil {
		return Layout{}, err
	}
	if l.Unified == "" {
		return l, nil
	}
	return l, l.probeUnified()
}

func (l *Layout) probeMounts() error {
	data, err := readPath("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	l.readMounts(string(data))
	if l.Unified == "" && len(l.V1) == 0 {
		return ErrNone
	}
	return nil
}

func (l *Layout) probeUnified() error {
	list, err := readPath(l.Unified + "/cgroup.controllers")
	if err != nil {
		return err
	}
	l.Available = parseSet(string(list), " ")
	list, err = readPath(l.Unified + Usual + "/cgroup.subtree_control")
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) { // root's, to an ordinary user
		return err
	}
	l.Enabled = parseSet(string(list), " ")
	return nil
}

// readPath is os.ReadFile without the detour over the poller.
func readPath(name string) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	data, err := readAll(fd)
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: name, Err: err}
	}
	return data, nil
}

// readMounts reads proc_pid_mountinfo(5). Of several mounts of a hierarchy the
// first counts, which is the one made at boot.
func (l *Layout) readMounts(mountinfo string) {
	for line := range strings.Lines(mountinfo) {
		l.readMount(line)
	}
}

// readMount takes a line such as
//
//	35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
func (l *Layout) readMount(line string) {
	left, right, ok := strings.Cut(line, " - ")
	if !ok || !strings.HasPrefix(right, "cgroup") {
		return
	}
	mount, super := strings.Fields(left), strings.Fields(right)
	if len(mount) < 6 || len(super) < 3 {
		return
	}
	at := unescape(mount[4])
	switch super[0] {
	case "cgroup2":
		if l.Unified == "" {
			l.Unified = at
		}
	case "cgroup":
		h := Hierarchy{at, parseSet(super[2], ",")}
		if h.Controllers != 0 && !l.has(h.Controllers) {
			l.V1 = append(l.V1, h)
		}
	}
}

func (l *Layout) has(c Set) bool {
	for _, h := range l.V1 {
		if h.Controllers&c != 0 {
			return true
		}
	}
	return false
}

// unescape undoes the kernel's octal escapes: \040 is a space.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return '0' <= c && c <= '7' }
