// Package criu has CRIU write processes to files, and bring them back: "criu
// swrk", which takes one request by a socket, tells on the way how far it is,
// and ends with its answer (criu.org/RPC; images/rpc.proto of CRIU has the
// messages, whose numbers are those in message.go).
//
// The messages are written by hand. CRIU's own Go library has types for them,
// but they come with the runtime of Protocol Buffers, whose initialization would
// cost each command of minict a third of a millisecond; a test compares the two.
package criu

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"minict/internal/thread"
)

// Command is CRIU, to be run for one request.
type Command struct {
	Program string // its name or path
	Images  string // directory of the images
	Work    string // directory of the log
	Stdin   *os.File
	// Files are what CRIU has from descriptor FirstFile on.
	Files []*os.File
	// Furnish is called in a mount namespace that CRIU has for itself, before
	// it is started; without it CRIU runs in the caller's.
	Furnish func() error
	// Started is called before CRIU is asked for anything.
	Started func(pid int) error
	// Notified is called when CRIU tells how far it is: with the name of an
	// action script (criu(8)), perhaps the first process, and perhaps a
	// descriptor, which it may keep.
	Notified func(script string, pid int, fd *os.File) error
	Options
}

// FirstFile is the number of the first of Command.Files: after the socket.
const FirstFile = 4

// Error is what CRIU could not do.
type Error struct {
	Kind Kind
	Text string // in its words
	Log  string // path of its log, "" if it has not come so far as to write one
}

func (e *Error) Error() string {
	verb := map[Kind]string{Dump: "dump", PreDump: "pre-dump", Restore: "restore"}[e.Kind]
	if e.Log == "" {
		return fmt.Sprintf("CRIU could not %s: %s", verb, e.Text)
	}
	return fmt.Sprintf("CRIU could not %s: %s (its log is %s)", verb, e.Text, e.Log)
}

// Do runs CRIU and gives the process that it has restored.
//
// CRIU is neither killed with this process nor by what its terminal sends: it
// undoes what it has begun when it finds nobody at the socket any more.
func (c *Command) Do(kind Kind) (pid int, err error) {
	path, err := exec.LookPath(c.Program)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return 0, fmt.Errorf("checkpoint and restore need CRIU: %w", err)
	}
	s := session{Command: c, kind: kind}
	defer s.close()
	if err := s.start(path); err != nil {
		return 0, fmt.Errorf("start CRIU: %w", err)
	}
	if c.Started != nil {
		err = c.Started(s.cmd.Process.Pid)
	}
	var r response
	if err == nil {
		r, err = s.converse()
	}
	s.socket.Close()
	ended := s.cmd.Wait()
	if err != nil {
		return 0, err
	}
	if !r.well {
		return 0, s.failed(r, ended)
	}
	return r.pid, nil
}

// session is one run of CRIU.
type session struct {
	*Command
	kind         Kind
	cmd          *exec.Cmd
	socket       *os.File
	images, work *os.File
	said         *os.File // what it writes before it has a log
}

func (s *session) close() {
	for _, f := range []*os.File{s.socket, s.images, s.work, s.said} {
		if f != nil {
			f.Close()
		}
	}
}

// start starts CRIU from a thread of its own, which is in the mount namespace
// that CRIU gets, and ends with it.
func (s *session) start(path string) error {
	if s.Furnish == nil {
		return s.startHere(path)
	}
	return thread.Run(func() error {
		if err := unshareMounts(); err != nil {
			return err
		}
		if err := s.Furnish(); err != nil {
			return err
		}
		return s.startHere(path)
	})
}

// unshareMounts gives the thread mounts of its own, that still hear of the
// host's.
func unshareMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return &os.PathError{Op: "make slave", Path: "/", Err: err}
	}
	return nil
}

func (s *session) startHere(path string) (err error) {
	// CRIU mounts in its working directory, so that has to be opened in its
	// mount namespace.
	if s.images, err = os.Open(s.Images); err != nil {
		return err
	}
	if s.work, err = os.Open(s.Work); err != nil {
		return err
	}
	// One of an earlier run must not be taken for that of this one.
	if err := os.Remove(filepath.Join(s.Work, s.Log)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	said, err := unix.MemfdCreate("criu", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	s.said = os.NewFile(uintptr(said), "criu")
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	s.socket = os.NewFile(uintptr(pair[0]), "CRIU")
	theirs := os.NewFile(uintptr(pair[1]), "CRIU")
	defer theirs.Close()
	const socket = FirstFile - 1
	s.cmd = exec.Command(path, "swrk", fmt.Sprint(socket))
	s.cmd.Dir, s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = s.Work, s.Stdin, s.said, s.said
	s.cmd.ExtraFiles = append([]*os.File{theirs}, s.Files...)
	// A restored job of the terminal's gets the session that CRIU is in.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: !s.ShellJob || s.kind != Restore}
	// When we are gone it shall find out by an error, and tidy up.
	signal.Ignore(unix.SIGPIPE)
	defer signal.Reset(unix.SIGPIPE)
	return s.cmd.Start()
}

// converse sends the request and answers what CRIU tells, until it has answered.
func (s *session) converse() (response, error) {
	if err := s.send(s.request(s.kind, int(s.images.Fd()), int(s.work.Fd()))); err != nil {
		return response{}, err
	}
	var failed error
	for {
		r, fd, err := s.receive()
		if err != nil {
			return r, err
		}
		if r.kind != notify {
			if fd != nil {
				fd.Close()
			}
			return r, failed
		}
		if err := s.notified(r, fd); err != nil && failed == nil {
			failed = err
		}
		if err := s.send(answer(failed == nil)); err != nil {
			return r, errors.Join(failed, err)
		}
	}
}

func (s *session) notified(r response, fd *os.File) error {
	if s.Notified != nil {
		return s.Notified(r.script, r.first, fd)
	}
	if fd != nil {
		return fd.Close()
	}
	return nil
}

func (s *session) send(m message) error {
	err := retry(func() error {
		return unix.Sendto(int(s.socket.Fd()), m, unix.MSG_NOSIGNAL, nil)
	})
	if err == unix.EPIPE || err == unix.ECONNRESET {
		return nil // it has ended: that is found out by what it does not answer
	}
	return os.NewSyscallError("send to CRIU", err)
}

// maxResponse is the size of the largest answer: an error of many lines.
const maxResponse = 1 << 16

// receive takes one message. The end of CRIU is an answer too.
func (s *session) receive() (r response, fd *os.File, err error) {
	data, control := make([]byte, maxResponse), make([]byte, unix.CmsgSpace(4))
	var n, oobn int
	err = retry(func() (err error) {
		n, oobn, _, _, err = unix.Recvmsg(int(s.socket.Fd()), data, control, unix.MSG_CMSG_CLOEXEC)
		return err
	})
	if err == unix.ECONNRESET || err == nil && n == 0 {
		return response{}, nil, nil
	}
	if err != nil {
		return r, nil, os.NewSyscallError("receive from CRIU", err)
	}
	if messages, err := unix.ParseSocketControlMessage(control[:oobn]); err == nil && len(messages) == 1 {
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			fd = os.NewFile(uintptr(fds[0]), "/dev/ptmx")
		}
	}
	if r, err = readResponse(data[:n]); err != nil && fd != nil {
		fd.Close()
	}
	return r, fd, err
}

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// failed makes the error of an answer that is none, or a bad one: in the words of
// CRIU's log, or of what it wrote where it wrote before it had one. Its answer
// has the first error too, which may be about something that it only tried out.
func (s *session) failed(r response, ended error) error {
	e := &Error{Kind: s.kind}
	path := filepath.Join(s.Work, s.Log)
	if log, err := os.Open(path); err == nil {
		defer log.Close()
		e.Log, e.Text = path, errorsOf(log)
	}
	if e.Text == "" {
		e.Text = s.early()
	}
	switch {
	case e.Text != "":
	case r.text != "":
		e.Text = r.text
	case r.errno != 0:
		e.Text = unix.Errno(r.errno).Error()
	case ended != nil:
		e.Text = ended.Error()
	default:
		e.Text = "it does not say why"
	}
	e.Text = strings.Join(strings.Fields(e.Text), " ")
	return e
}

// early is what CRIU wrote before it had a log: its errors, or the last line.
func (s *session) early() string {
	said := io.NewSectionReader(s.said, 0, maxLog)
	if text := errorsOf(said); text != "" {
		return text
	}
	data, err := io.ReadAll(io.NewSectionReader(s.said, 0, maxLog))
	if err != nil {
		return ""
	}
	data = bytes.TrimSpace(data)
	return string(data[bytes.LastIndexByte(data, '\n')+1:])
}

// maxLog is how much of a log is looked at.
const maxLog = 16 << 20

// errorsOf finds the errors in a log: the first one after CRIU has looked at the
// machine, which may go with errors that don't matter, and begins with what it is
// asked for; or all if it did not come so far.
func errorsOf(log io.Reader) string {
	begins := []string{"Dumping processes (pid:", "Pre-dumping processes (pid:", "Reading image tree"}
	data, err := io.ReadAll(io.LimitReader(log, maxLog))
	if err != nil {
		return ""
	}
	var found []string
	begun := false
	for line := range bytes.Lines(data) {
		begin := func(words string) bool { return bytes.Contains(line, []byte(words)) }
		if !begun && slices.ContainsFunc(begins, begin) {
			begun, found = true, nil
		}
		_, text, ok := bytes.Cut(line, []byte("Error ("))
		if !ok {
			continue
		}
		if _, said, ok := bytes.Cut(text, []byte("): ")); ok { // behind file and line
			text = said
		}
		if found = append(found, string(bytes.TrimSpace(text))); begun {
			break
		}
	}
	return strings.Join(found, "; ")
}
