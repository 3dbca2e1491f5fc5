package monitor

import (
	"bytes"
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
	lost    int  // bytes of output
	torn    bool // it ends in the middle of a line
	buf     [wire.MaxData]byte
}

// open opens the log in a directory, to go on writing where it ends.
func (l *logFile) open(dir string, max uint64) (err error) {
	if l.max = max; max == 0 {
		l.max = defaultLogMax
	}
	l.dir, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return l.reopen()
}

func (l *logFile) reopen() (err error) {
	const flags = unix.O_WRONLY | unix.O_APPEND | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	if l.fd, err = unix.Openat(l.dir, logName, flags, 0o600); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(l.fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return unix.EINVAL
	}
	l.size = uint64(st.Size)
	return nil
}

// write writes what was read at once.
func (l *logFile) write(kind wire.Type, data []byte) {
	if l.dir < 0 {
		return
	}
	now := time.Now().UTC()
	out := l.buf[:0]
	if l.lost > 0 {
		out = l.complain(out, now)
	}
	for len(data) > 0 {
		line, rest := data, data[len(data):]
		tag := byte('P')
		if end := bytes.IndexByte(data, '\n'); end >= 0 {
			line, rest, tag = data[:end], data[end+1:], 'F'
		}
		const head = len(stamp) + len(" stdout F ") + len("\n")
		if room := len(l.buf) - len(out) - head; room < len(line) {
			if len(out) > 0 {
				l.flush(out, len(data)-len(rest))
				out = l.buf[:0]
				continue
			}
			line, rest, tag = line[:room], data[room:], 'P'
		}
		out = appendLine(out, now, kind, tag, line)
		data = rest
	}
	l.flush(out, len(out))
}
