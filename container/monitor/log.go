package monitor

import (
	"bytes"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"minict/container/wire"
)

const (
	defaultLogMax = 16 << 20
	logName       = "log"
	oldLogName    = "log.1"
	// stamp is RFC 3339 with all nine digits, so that lines sort.
	stamp = "2006-01-02T15:04:05.000000000Z"
)

// logFile takes a container's output line by line, in the form of Kubernetes'
// container runtimes: time, stream, F for a full line or P for a part of one,
// and the text. An error must not stop the container: what can't be written is
// left out, and the log says so as soon as it can again.
type logFile struct {
	fd, dir int
	size    uint64
	max     uint64
	lost    int    // bytes of output that could not be written
	torn    bool   // the file ends in the middle of a line
	out     []byte // the lines being made, in buf
	held    int    // bytes of output in them
	buf     [wire.MaxData]byte
}

// open says in which directory the log is. It goes on where it ends, and is
// made only when there is something to write: many a container is silent.
func (l *logFile) open(dir string, max uint64) (err error) {
	if l.max = max; max == 0 {
		l.max = defaultLogMax
	}
	l.dir, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return err
}

func (l *logFile) reopen() (err error) {
	const flags = unix.O_WRONLY | unix.O_APPEND | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Openat(l.dir, logName, flags, 0o600)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = unix.EINVAL
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	l.fd, l.size = fd, uint64(st.Size)
	return nil
}

// write takes what was read at once.
func (l *logFile) write(kind wire.Type, data []byte) {
	if l.dir < 0 {
		return
	}
	now := time.Now().UTC()
	l.begin(now)
	for len(data) > 0 {
		line, rest, tag := data, data[len(data):], byte('P')
		if end := bytes.IndexByte(data, '\n'); end >= 0 {
			line, rest, tag = data[:end], data[end+1:], 'F'
		}
		room := cap(l.out) - len(l.out) - lineHead
		if room < len(line) && l.held > 0 {
			l.flush()
			l.begin(now)
			continue
		}
		if room < len(line) {
			line, rest, tag = line[:room], data[room:], 'P'
		}
		l.line(now, kind, tag, line)
		l.held += len(data) - len(rest)
		data = rest
	}
	l.flush()
}

// lineHead is the size of a line without its text.
const lineHead = len(stamp) + len(" stdout F ") + len("\n")

func (l *logFile) line(now time.Time, kind wire.Type, tag byte, text []byte) {
	name := " stdout "
	if kind == wire.TypeStderr {
		name = " stderr "
	}
	l.out = now.AppendFormat(l.out, stamp)
	l.out = append(l.out, name...)
	l.out = append(l.out, tag, ' ')
	l.out = append(l.out, text...)
	l.out = append(l.out, '\n')
}

// begin begins a piece that is written at once, with a word about what could
// not be written before it.
func (l *logFile) begin(now time.Time) {
	l.out, l.held = l.buf[:0], 0
	if l.torn {
		l.out = append(l.out, '\n')
	}
	if l.lost > 0 {
		l.line(now, wire.TypeStderr, 'F', []byte("minict: "+strconv.Itoa(l.lost)+" bytes of output are missing here"))
	}
}

// flush writes whole lines. A full file makes place for a new one before.
func (l *logFile) flush() {
	if l.fd >= 0 && l.size >= l.max {
		l.rotate()
	}
	if l.fd < 0 && l.reopen() != nil {
		l.lost += l.held
		return
	}
	n, err := unix.Write(l.fd, l.out)
	if n > 0 {
		l.size += uint64(n)
		l.torn = l.out[n-1] != '\n'
	}
	if err != nil || n < len(l.out) {
		l.lost += l.held
		return
	}
	l.lost = 0
}

func (l *logFile) rotate() {
	if unix.Renameat(l.dir, logName, l.dir, oldLogName) != nil {
		return
	}
	unix.Close(l.fd)
	l.fd = -1
}

func (l *logFile) close() {
	if l.fd >= 0 {
		unix.Close(l.fd)
	}
	if l.dir >= 0 {
		unix.Close(l.dir)
	}
	l.fd, l.dir = -1, -1
}
