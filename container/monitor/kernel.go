package monitor

import (
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// readFile reads a small file of the kernel's: at most a page of it.
func readFile(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var buf [4096]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func writeFile(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}

// startTime is when a process began, in clock ticks since boot: with its id it
// names a process for good. It is 0 if that can't be told.
func startTime(pid int) uint64 {
	stat, err := readFile("/proc/" + itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The second field is the program's name, which may contain anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0
	}
	ticks, _ := strconv.ParseUint(fields[19], 10, 64)
	return ticks
}

// countOOM reads how often the kernel killed for want of memory in the
// container.
func (m *monitor) countOOM() uint64 {
	if m.start.OOMFile == "" {
		return 0
	}
	text, err := readFile(m.start.OOMFile)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if key == m.start.OOMKey {
			n, _ := strconv.ParseUint(value, 10, 64)
			return n
		}
	}
	return 0
}

// killCgroup kills all processes of a cgroup: at once where the kernel can
// (cgroup v2, Linux 5.14), else one after the other, frozen if the cgroup has
// the freezer, so that none can fork meanwhile.
func killCgroup(dir string) {
	if writeFile(dir+"/cgroup.kill", "1") == nil {
		return
	}
	writeFile(dir+"/freezer.state", "FROZEN")
	for range 100 { // a fork that is not frozen is caught by the next round
		if killAll(dir) == 0 {
			break
		}
		writeFile(dir+"/freezer.state", "THAWED")
		unix.Nanosleep(&unix.Timespec{Nsec: int64(time.Millisecond)}, nil)
	}
	writeFile(dir+"/freezer.state", "THAWED")
}

func killAll(dir string) (killed int) {
	list, err := readFile(dir + "/cgroup.procs")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(list) {
		pid, err := strconv.Atoi(strings.TrimSuffix(line, "\n"))
		if err != nil || pid <= 0 {
			continue // 0 is a process of another PID namespace
		}
		// The id may belong to somebody else by now: what the cgroup
		// still lists after the pidfd is open is what the pidfd means.
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if again, err := readFile(dir + "/cgroup.procs"); err == nil && strings.Contains("\n"+again, "\n"+line) {
			unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
			killed++
		}
		unix.Close(pidfd)
	}
	return killed
}

// signal sends a signal to a process. The kernel drops one that PID 1 of a
// namespace has no handler for, but an interrupt is to end the process then.
func (p *process) signal(signal unix.Signal, interrupt bool) {
	if interrupt && ends(signal) && deaf(p.pid, signal) {
		p.fatal = signal
		signal = unix.SIGKILL
	}
	unix.PidfdSendSignal(p.pidfd, signal, nil, 0)
}

// ends says whether the default action of a signal ends a process, signal(7).
func ends(signal unix.Signal) bool {
	switch signal {
	case unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH,
		unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		return false
	}
	return signal > 0
}

// deaf says whether a process is PID 1 of its namespace and neither catches
// nor ignores nor blocks a signal.
func deaf(pid int, signal unix.Signal) bool {
	status, err := readFile("/proc/" + itoa(pid) + "/status")
	if err != nil {
		return false
	}
	var first bool
	var masks uint64
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		switch key {
		case "NSpid": // the id in each namespace, the innermost last
			first = fields[len(fields)-1] == "1"
		case "SigBlk", "SigIgn", "SigCgt":
			mask, _ := strconv.ParseUint(fields[0], 16, 64)
			masks |= mask
		}
	}
	return first && masks&(1<<(signal-1)) == 0
}

// lowerOOMScore makes the kernel kill others rather than the monitor, where it
// may (CAP_SYS_RESOURCE). What the monitor starts has to have the score that
// the monitor was started with: lendOOMScore.
func (m *monitor) lowerOOMScore() {
	if m.oomScore != "" {
		writeFile(oomScoreFile, lowestOOMScore)
	}
}

func (m *monitor) lendOOMScore() {
	if m.oomScore != "" {
		writeFile(oomScoreFile, m.oomScore)
	}
}

const (
	oomScoreFile   = "/proc/self/oom_score_adj"
	lowestOOMScore = "-999"
)
