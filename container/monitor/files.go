package monitor

import (
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"minict/container/wire"
	"minict/runtime/plan"
)

// Files that the monitor writes. Each is made under another name, so that it
// is whole when it can be seen. They are not synced: what a power loss takes
// from them, it has taken from the container too.
const (
	stateName = "state"
	exitName  = "exit"
	lockName  = "lock"
)

// writeState says in the run directory who is who.
func (m *monitor) writeState() error {
	out := append([]byte(nil), `{"pid":`...)
	out = strconv.AppendInt(out, int64(m.main.pid), 10)
	out = append(out, `,"startTime":`...)
	out = strconv.AppendUint(out, m.main.startTime, 10)
	out = append(out, `,"monitor":`...)
	out = strconv.AppendInt(out, int64(unix.Getpid()), 10)
	out = append(out, `,"started":"`...)
	out = time.Now().UTC().AppendFormat(out, time.RFC3339Nano)
	out = append(out, "\"}\n"...)
	return replace(m.runDir, stateName, out)
}

// writeExit says in the container's directory how it ended. When the disk is
// full that is lost: who looks sees a container that has ended somehow.
func (m *monitor) writeExit(e wire.Exited) {
	dir, err := unix.Open(m.start.ExitDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	status, signal := unix.WaitStatus(e.Status), 0
	code := status.ExitStatus()
	if status.Signaled() {
		signal = int(status.Signal())
		code = 128 + signal
	}
	out := append([]byte(nil), `{"status":`...)
	out = strconv.AppendInt(out, int64(code), 10)
	out = append(out, `,"signal":`...)
	out = strconv.AppendInt(out, int64(signal), 10)
	out = append(out, `,"oomKilled":`...)
	out = strconv.AppendBool(out, e.OOMKilled)
	out = append(out, `,"finished":"`...)
	out = time.Now().UTC().AppendFormat(out, time.RFC3339Nano)
	out = append(out, "\"}\n"...)
	replace(dir, exitName, out)
}

// replace makes data the content of the file name in a directory.
func replace(dir int, name string, data []byte) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC | unix.O_NOFOLLOW | unix.O_CLOEXEC
	temporary := "." + name
	fd, err := unix.Openat(dir, temporary, flags, 0o600)
	if err != nil {
		return err
	}
	n, err := unix.Write(fd, data)
	unix.Close(fd)
	if err == nil && n < len(data) {
		err = unix.ENOSPC
	}
	if err != nil {
		unix.Unlinkat(dir, temporary, 0)
		return err
	}
	return unix.Renameat(dir, temporary, dir, name)
}

// cleanUp removes what the container leaves behind: what it was told to, if it
// was to be removed now, and the run directory. The lock goes last. As long as
// it is held, everything else is known to be somebody's.
//
// The first path that can't be removed ends it, since what comes later must
// not go before. The run directory stays then: it is what tells the sweep that
// there is something to do.
func (m *monitor) cleanUp(now wire.Removal) {
	m.log.close()
	if m.preparing != nil {
		m.preparing.Wait(plan.NoSlot)
	}
	if m.start.Removal&now != 0 {
		for i, path := range m.start.Remove {
			if i == len(m.start.Remove)-1 && m.spareDir != "" && keep(path, m.spareDir) {
				break
			}
			if err := removePath(path); err != nil && err != unix.ENOENT {
				m.unfinished = true
				break
			}
		}
	}
	if m.runDir >= 0 && !m.unfinished {
		m.removeRunDir()
	}
	if m.listener >= 0 {
		unix.Close(m.listener)
		m.listener = -1
	}
	for _, fd := range []*int{&m.lock, &m.runDir} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

func (m *monitor) removeRunDir() {
	if empty(m.runDir, lockName) != nil {
		return
	}
	unix.Unlinkat(m.runDir, lockName, 0)
	// Who has seen the lock go may have made the directory theirs.
	unix.Rmdir(m.start.RunDir)
}
