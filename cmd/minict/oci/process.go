package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/cmd/minict/oci/self"
	"minict/runtime"
	containers "minict/runtime/oci"
)

// processFlags are the flags of all commands that start a process.
type processFlags struct {
	pidFile, consoleSocket, pidfdSocket string
	preserve                            int
	detach                              bool
}

func (p *processFlags) register(f *flags) {
	f.text(&p.pidFile, "pid-file", "", "", "`file` that the process id is written to")
	f.text(&p.consoleSocket, "console-socket", "", "", "`socket` that takes the master side of the terminal")
	f.text(&p.pidfdSocket, "pidfd-socket", "", "", "`socket` that takes a pidfd of the process")
	f.number(&p.preserve, "preserve-fds", "", "hand on so `many` descriptors beyond 0, 1, 2 and those of $LISTEN_FDS")
}

func (p *processFlags) registerDetach(f *flags) {
	f.bool(&p.detach, "detach", "d", "return as soon as the program runs")
}

// sockets are where an engine waits for descriptors; nil without.
type sockets struct{ console, pidfd *os.File }

func (p *processFlags) dial() (s sockets, err error) {
	if p.consoleSocket != "" {
		if s.console, err = containers.Dial(p.consoleSocket); err != nil {
			return s, err
		}
	}
	if p.pidfdSocket != "" {
		s.pidfd, err = containers.Dial(p.pidfdSocket)
	}
	return s, err
}

func (s sockets) close() {
	for _, f := range []*os.File{s.console, s.pidfd} {
		if f != nil {
			f.Close()
		}
	}
}

// sendTerminal hands a terminal to the engine.
func (s sockets) sendTerminal(master *os.File) error {
	defer master.Close()
	return containers.Send(s.console, master.Name(), int(master.Fd()))
}

// tell tells the engine which process it is.
func (p *processFlags) tell(s sockets, pid, pidfd int) error {
	if s.pidfd != nil {
		if err := containers.Send(s.pidfd, "pidfd", pidfd); err != nil {
			return err
		}
	}
	if p.pidFile == "" {
		return nil
	}
	return writePidFile(p.pidFile, pid)
}

// writePidFile writes the file so that nobody ever reads half of a number.
func writePidFile(path string, pid int) error {
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(temporary, []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		os.Remove(temporary)
		return err
	}
	return nil
}

// checkTerminal refuses what can't be: a terminal without anybody who has its
// master side, and a socket for a terminal that nobody opens.
func (p *processFlags) checkTerminal(terminal, detached bool) error {
	switch {
	case terminal && detached && p.consoleSocket == "":
		return errors.New("cannot allocate a terminal without --console-socket: nobody would have its other side")
	case p.consoleSocket != "" && (!terminal || !detached):
		return errors.New("cannot use --console-socket without a detached process that has a terminal")
	}
	return nil
}

// preserved counts the descriptors that are handed on, those of systemd's
// socket activation (sd_listen_fds(3)) among them, and tells the process of
// these.
func (p *processFlags) preserved() (count int, env []string, err error) {
	if p.preserve < 0 {
		return 0, nil, fmt.Errorf("--preserve-fds %d is negative", p.preserve)
	}
	listen := 0
	if s := os.Getenv("LISTEN_FDS"); s != "" {
		if listen, err = strconv.Atoi(s); err != nil || listen < 0 {
			return 0, nil, fmt.Errorf("LISTEN_FDS=%q is not a number of descriptors", s)
		}
	}
	count = p.preserve + listen
	const first = 3
	for fd := first; fd < first+count; fd++ {
		// What this program has opened itself closes by execve.
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			return 0, nil, fmt.Errorf("descriptor %d is to be preserved, and is not open", fd)
		}
	}
	if listen > 0 {
		env = []string{"LISTEN_FDS=" + strconv.Itoa(listen), "LISTEN_PID=1"}
	}
	return count, env, nil
}

// createFlags are those of the commands that create a container.
type createFlags struct {
	processFlags
	bundle                string
	noPivot, noNewKeyring bool
}

func (c *createFlags) register(f *flags) {
	f.text(&c.bundle, "bundle", "b", "", "`directory` of the bundle (default: the current one)")
	c.processFlags.register(f)
	f.bool(&c.noPivot, "no-pivot", "", "do not use pivot_root: for a root file system on a RAM disk")
	f.bool(&c.noNewKeyring, "no-new-keyring", "", "keep the caller's session keyring")
}

// options reads the bundle, and keeps the program out of the container's reach.
// When that is by executing itself once more, this is where it does: nothing has
// been done yet that others would see.
func (c *createFlags) options(s containers.Streams, detached bool) (opt containers.CreateOptions, err error) {
	opt = containers.CreateOptions{Streams: s, NoPivot: c.noPivot, NoNewKeyring: c.noNewKeyring}
	if opt.Bundle, err = containers.ReadBundle(c.bundle); err != nil {
		return opt, err
	}
	var env []string
	if opt.PreserveFDs, env, err = c.preserved(); err != nil {
		return opt, err
	}
	if opt.Spec.Process != nil {
		opt.Spec.Process.Env = append(opt.Spec.Process.Env, env...)
	}
	if err := c.checkTerminal(hasTerminal(opt.Spec), detached); err != nil {
		return opt, err
	}
	if runtime.FitsAirlock(opt.Spec) {
		if opt.Airlock, err = runtime.NewAirlock(); err == nil {
			return opt, nil
		}
	}
	return opt, self.Protect()
}

func hasTerminal(spec *specs.Spec) bool { return spec.Process != nil && spec.Process.Terminal }
