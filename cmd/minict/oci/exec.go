package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/cmd/minict/oci/self"
	containers "minict/runtime/oci"
)

// execFlags say which process exec starts, and how.
type execFlags struct {
	processFlags
	file, cwd, user, apparmor, label string
	env, gids, caps, cgroups         []string
	tty, noNewPrivs, ignorePaused    bool
	given                            func(string) bool
}

func (a *app) exec(f *flags) func([]string) error {
	var e execFlags
	e.given = f.given
	e.register(f)
	e.registerDetach(f)
	f.text(&e.file, "process", "p", "", "`file` with the whole process, as JSON")
	f.text(&e.cwd, "cwd", "", "", "working `directory` in the container")
	f.texts(&e.env, "env", "e", "set a variable, `NAME=VALUE`")
	f.bool(&e.tty, "tty", "t", "give it a terminal")
	f.text(&e.user, "user", "u", "", "`UID[:GID]` that it runs as")
	f.texts(&e.gids, "additional-gids", "g", "one more `group` id")
	f.texts(&e.caps, "cap", "c", "one more `capability`")
	f.text(&e.label, "process-label", "", "", "SELinux `label`")
	f.text(&e.apparmor, "apparmor", "", "", "AppArmor `profile`")
	f.bool(&e.noNewPrivs, "no-new-privs", "", "it never gets rights by executing a program")
	f.bool(&e.ignorePaused, "ignore-paused", "", "also in a paused container: it starts when that is resumed")
	f.texts(&e.cgroups, "cgroup", "", "`path` of a cgroup below the container's, perhaps behind controllers: memory,pids:PATH")
	return func(args []string) error {
		// What is executed is in there with others: see package self.
		if err := self.Protect(); err != nil {
			return err
		}
		const failed = 255
		err := a.execIn(&e, args[0], args[1:])
		var code status
		if err == nil || errors.As(err, &code) {
			return err
		}
		return failure{fmt.Errorf("exec failed: %w", err), failed}
	}
}

func (a *app) execIn(e *execFlags, id string, args []string) error {
	c, err := a.container(id)
	if err != nil {
		return err
	}
	p, err := e.process(c, args)
	if err != nil {
		return err
	}
	if err := e.checkTerminal(p.Terminal, e.detach || e.consoleSocket != ""); err != nil {
		return err
	}
	count, env, err := e.preserved()
	if err != nil {
		return err
	}
	p.Env = append(p.Env, env...)
	s, err := e.dial()
	defer s.close()
	if err != nil {
		return err
	}
	opt := containers.ExecOptions{PreserveFDs: count, IgnorePaused: e.ignorePaused, Subgroups: e.cgroups}
	if e.detach {
		opt.Streams, opt.Terminal = containers.Streams(a.Streams), s.sendTerminal
		pid, pidfd, err := c.Exec(p, opt)
		if err != nil {
			return err
		}
		defer unix.Close(pidfd)
		return e.tell(s, pid, pidfd)
	}
	return a.execForeground(e, c, p, s, opt)
}

func (a *app) execForeground(e *execFlags, c *containers.Container, p *specs.Process, s sockets, opt containers.ExecOptions) (err error) {
	fg := &foreground{Streams: a.Streams}
	if err := fg.catch(); err != nil {
		return err
	}
	defer fg.close()
	if opt.Streams, err = fg.streams(); err != nil {
		return err
	}
	opt.Terminal = fg.takeTerminal
	if s.console != nil {
		opt.Terminal = s.sendTerminal
	} else if p.Terminal {
		fg.size(p)
	}
	pid, pidfd, err := c.Exec(p, opt)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	if err := e.tell(s, pid, pidfd); err != nil {
		unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
		return err
	}
	code, err := fg.wait(pid, pidfd)
	if err != nil {
		return err
	}
	return code
}

// maxProcess is the size of the largest process.json, in bytes.
const maxProcess = 4 << 20

// process is what is to be run: read from a file, or the container's own with
// what the command line says otherwise.
func (e *execFlags) process(c *containers.Container, args []string) (*specs.Process, error) {
	if e.file != "" {
		data, err := containers.ReadBounded(e.file, maxProcess)
		if err != nil {
			return nil, err
		}
		p := new(specs.Process)
		if err := json.Unmarshal(data, p); err != nil {
			return nil, fmt.Errorf("read %s: %w", e.file, err)
		}
		if e.given("tty") {
			p.Terminal = e.tty
		}
		return p, nil
	}
	if len(args) == 0 {
		return nil, errors.New("a program is needed, or --process")
	}
	spec, err := c.Config()
	if err != nil {
		return nil, err
	}
	p := spec.Process
	p.Args, p.Terminal, p.ConsoleSize = args, e.tty, nil
	return p, e.change(p)
}

func (e *execFlags) change(p *specs.Process) error {
	for flag, field := range map[string]*string{"cwd": &p.Cwd, "apparmor": &p.ApparmorProfile, "process-label": &p.SelinuxLabel} {
		if e.given(flag) {
			*field = map[string]string{"cwd": e.cwd, "apparmor": e.apparmor, "process-label": e.label}[flag]
		}
	}
	if e.given("no-new-privs") {
		p.NoNewPrivileges = e.noNewPrivs
	}
	for _, v := range e.env {
		p.Env = setEnv(p.Env, v)
	}
	e.addCapabilities(p)
	return e.changeUser(p)
}

// setEnv sets a variable in the place that it had: of two with one name a
// program finds the first.
func setEnv(env []string, variable string) []string {
	name, _, _ := strings.Cut(variable, "=")
	for i, v := range env {
		if strings.HasPrefix(v, name+"=") {
			env[i] = variable
			return env
		}
	}
	return append(env, variable)
}

// addCapabilities adds to all sets but the inheritable (CVE-2022-29162).
func (e *execFlags) addCapabilities(p *specs.Process) {
	if len(e.caps) == 0 {
		return
	}
	if p.Capabilities == nil {
		p.Capabilities = new(specs.LinuxCapabilities)
	}
	sets := p.Capabilities
	for _, set := range []*[]string{&sets.Bounding, &sets.Effective, &sets.Permitted} {
		*set = append(*set, e.caps...)
	}
	if p.User.UID != 0 || e.user != "" {
		sets.Ambient = append(sets.Ambient, e.caps...)
	}
}

func (e *execFlags) changeUser(p *specs.Process) error {
	if e.given("user") {
		uid, gid, both := strings.Cut(e.user, ":")
		n, err := parseID(uid)
		if err != nil {
			return err
		}
		p.User.UID, p.User.Username = n, ""
		if both {
			if p.User.GID, err = parseID(gid); err != nil {
				return err
			}
		}
	}
	for _, g := range e.gids {
		gid, err := parseID(g)
		if err != nil {
			return err
		}
		p.User.AdditionalGids = append(p.User.AdditionalGids, gid)
	}
	return nil
}

// parseID reads a user's or a group's id: a number and nothing else, and none
// that somebody might take for a negative one (CVE-2024-40635).
func parseID(s string) (uint32, error) {
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is not an id", s)
		}
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not an id", s)
	}
	return uint32(n), nil
}
