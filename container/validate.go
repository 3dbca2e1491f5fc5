package container

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
)

// isName says whether s is a name for a container or a volume:
// [a-zA-Z0-9][a-zA-Z0-9_.-]+, at most 128 long.
func isName(s string) bool {
	if len(s) < 2 || len(s) > 128 || !isAlnum(s[0]) {
		return false
	}
	return only(s, "_.-")
}

// isHostname says whether s can be a host's name in a hosts file and for
// sethostname(2), which takes 64 bytes.
func isHostname(s string) bool {
	return s != "" && len(s) <= 64 && isAlnum(s[0]) && only(s, "_.-")
}

// only says whether s consists of ASCII letters, digits and extra.
func only(s, extra string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && strings.IndexByte(extra, s[i]) < 0 {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func checkEnv(entry string) error {
	name, value, _ := strings.Cut(entry, "=")
	if name == "" || strings.ContainsAny(name, "\n\x00") {
		return invalidf("invalid environment variable %q: no name", entry)
	}
	if strings.IndexByte(value, 0) >= 0 {
		return invalidf("invalid environment variable %q: a zero byte", name)
	}
	// Programs write it into a line of a file (CVE-2022-4318).
	if name == "HOME" && strings.ContainsAny(value, "\n:") {
		return invalidf("invalid environment variable HOME: %q is no directory", value)
	}
	return nil
}

// procMounts are the only places below /proc that may be mounted over: a
// mount anywhere else would hide the files by which the kernel is told about
// a process's rights (CVE-2019-16884, CVE-2023-28642).
var procMounts = []string{
	"/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps",
	"/proc/uptime", "/proc/loadavg", "/proc/slabinfo",
}

// check checks a mount and puts its target into its shortest form.
func (m *Mount) check() error {
	if m.Target == "" || m.Target[0] != '/' {
		return invalidf("invalid mount target %q: want an absolute path", m.Target)
	}
	if strings.IndexByte(m.Target+m.Source, 0) >= 0 {
		return invalidf("invalid mount target %q: a zero byte", m.Target)
	}
	m.Target = path.Clean(m.Target)
	switch {
	case m.Target == "/":
		return invalidf("invalid mount target: / is the root file system itself")
	case (m.Target == "/proc" || strings.HasPrefix(m.Target, "/proc/")) && !slices.Contains(procMounts, m.Target):
		return invalidf("invalid mount target %s: nothing may hide /proc", m.Target)
	case m.Propagation != "" && !propagations[m.Propagation]:
		return invalidf("invalid mount propagation %q", m.Propagation)
	case m.Propagation != "" && m.Type != MountBind:
		return invalidf("mount propagation is for bind mounts, not for %s", m.Target)
	}
	switch m.Type {
	case MountBind:
		if m.Source == "" || m.Source[0] != '/' {
			return invalidf("invalid mount source %q: want an absolute path", m.Source)
		}
		m.Source = path.Clean(m.Source)
	case MountVolume:
		if m.Source != "" && !isName(m.Source) {
			return invalidf("invalid volume name %q: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed; a path begins with / or .", m.Source)
		}
		m.Anonymous = m.Source == "" || m.Anonymous
	case MountTmpfs:
		if m.Source != "" {
			return invalidf("a tmpfs has no source: %s", m.Source)
		}
		for _, opt := range m.Options {
			if !isTmpfsOption(opt) {
				return invalidf("invalid tmpfs option %q", opt)
			}
		}
	default:
		return invalidf("invalid mount type %q: want bind, volume or tmpfs", m.Type)
	}
	return nil
}

var propagations = map[string]bool{
	"private": true, "rprivate": true, "slave": true, "rslave": true, "shared": true, "rshared": true,
}

// isTmpfsOption says whether an option is one of tmpfs(5) that a container
// may ask for.
func isTmpfsOption(opt string) bool {
	key, value, assigned := strings.Cut(opt, "=")
	switch key {
	case "ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev",
		"atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime",
		"strictatime", "nostrictatime", "sync", "async", "dirsync":
		return !assigned
	case "size", "mode", "uid", "gid", "nr_inodes", "nr_blocks":
		return value != "" && only(value, "%")
	}
	return false
}

// rlimits are the names of setrlimit(2) in lower case, without RLIMIT_.
var rlimits = []string{
	"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue",
	"nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
}

func (u Ulimit) check() error {
	if !slices.Contains(rlimits, u.Name) {
		return invalidf("invalid ulimit %q: want one of %s", u.Name, strings.Join(rlimits, ", "))
	}
	if u.Hard != -1 && (u.Soft == -1 || u.Soft > u.Hard) {
		return invalidf("invalid ulimit %s: soft limit %d is above hard limit %d", u.Name, u.Soft, u.Hard)
	}
	return nil
}

// checkCapability gives a capability's name in the kernel's form, CAP_CHOWN.
func checkCapability(name string) (string, error) {
	upper := strings.ToUpper(name)
	if upper == allCapabilities {
		return upper, nil
	}
	bare := strings.ToLower(strings.TrimPrefix(upper, "CAP_"))
	for _, c := range capability.ListKnown() {
		if c.String() == bare {
			return "CAP_" + strings.ToUpper(bare), nil
		}
	}
	return "", invalidf("unknown capability %q", name)
}

const allCapabilities = "ALL"

func (r Resources) check(cpus int) error {
	switch {
	case r.Memory < 0 || r.MemoryReservation < 0 || r.MemorySwap < -1:
		return invalidf("invalid memory limit: negative")
	case r.Memory > 0 && r.Memory < MinMemory, r.MemoryReservation > 0 && r.MemoryReservation < MinMemory:
		return invalidf("invalid memory limit: minimum memory limit allowed is 6MB")
	case r.MemorySwap != 0 && r.Memory == 0 && r.MemorySwap != -1:
		return invalidf("invalid memory-swap limit: it needs a memory limit beside it")
	case r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return invalidf("invalid memory-swap limit: it includes memory, so it can't be below the memory limit")
	case r.Memory > 0 && r.MemoryReservation > r.Memory:
		return invalidf("invalid memory reservation: it is above the memory limit")
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(cpus)*1e9 || r.NanoCPUs > 0 && r.NanoCPUs < 1e7:
		return invalidf("invalid cpus: range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", cpus, cpus)
	case r.CPUShares < 0 || r.CPUShares == 1 || r.CPUShares > 262144:
		return invalidf("invalid cpu-shares %d: want 2 to 262144", r.CPUShares)
	case r.PidsLimit < -1:
		return invalidf("invalid pids-limit %d: want a positive number, or -1 for none", r.PidsLimit)
	}
	for _, set := range []string{r.CpusetCpus, r.CpusetMems} {
		if _, err := parseSet(set); err != nil {
			return err
		}
	}
	return nil
}

// maxCPU bounds a CPU's number: the kernel's NR_CPUS is at most 8192.
const maxCPU = 8191

// parseSet reads a list such as 0-2,7; cpuset(7), "List format".
func parseSet(s string) ([]int, error) {
	if s == "" {
		return nil, nil
	}
	var set []int
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || a > b || b > maxCPU {
			return nil, invalidf("invalid cpuset %q: want a list such as 0-2,7", s)
		}
		for n := a; n <= b; n++ {
			set = append(set, int(n))
		}
	}
	return set, nil
}
