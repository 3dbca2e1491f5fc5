// Package oci is the command line of an OCI runtime: the words, flags, exit
// statuses and JSON of runc, which engines (containerd, Docker, Podman, CRI-O)
// know by heart. It imports package runtime and its parts, and nothing else of
// minict. docs/oci-cli.md tells how engines are pointed at it.
package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"minict/cmd/minict/oci/self"
	containers "minict/runtime/oci"
)

// Name is the second name of the binary: called by it, it is a runtime and
// nothing else.
const Name = self.Name

// Arguments gives what comes behind the name of the runtime on a command line,
// which is that of minict-oci, or begins with minict oci.
func Arguments(argv []string) ([]string, bool) {
	switch {
	case len(argv) > 0 && filepath.Base(argv[0]) == Name:
		return argv[1:], true
	case len(argv) > 1 && argv[1] == "oci":
		return argv[2:], true
	}
	return nil, false
}

// Streams are the standard streams of the command.
type Streams struct{ In, Out, Err *os.File }

// app is one command being carried out.
type app struct {
	Streams
	version string
	log     logger

	root     string
	criu     string
	systemd  bool
	rootless string
}

// status is an exit status that is no error of ours.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// failure is an error with an exit status of its own.
type failure struct {
	error
	code int
}

func (f failure) Unwrap() error { return f.error }

// Main carries out a command and gives its exit status.
func Main(version string, args []string, s Streams) int {
	runtime.LockOSThread() // what it starts dies with the thread that it was started by
	a := &app{Streams: s, version: version}
	a.log = logger{to: s.Err}
	defer a.log.close()
	err := a.run(args)
	var code status
	var f failure
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	a.log.error(err)
	if errors.As(err, &f) {
		return f.code
	}
	return 1
}

func (a *app) run(args []string) error {
	global := newFlags("")
	var showVersion bool
	var logFile, logFormat string
	global.text(&a.root, "root", "", "", "`directory` of the containers' states (default "+defaultRoot()+")")
	global.text(&logFile, "log", "", "", "`file` that errors are written to, beside standard error")
	global.text(&logFormat, "log-format", "", "text", "text or json")
	global.bool(&a.log.debug, "debug", "", "tell more in the log")
	global.bool(&a.systemd, "systemd-cgroup", "", "have systemd make the cgroups: cgroupsPath is slice:prefix:name")
	global.text(&a.rootless, "rootless", "", "auto", "true: leave out limits that an ordinary user has no cgroup for; false or auto: refuse them")
	global.text(&a.criu, "criu", "", "criu", "`path` of the program for checkpoint and restore")
	global.bool(&showVersion, "version", "v", "print the version")
	rest, err := global.parse(args, true)
	if opened := a.log.open(logFile, logFormat); opened != nil {
		return opened
	}
	switch {
	case errors.Is(err, errHelp), err == nil && !showVersion && len(rest) == 0:
		a.help(global)
		return nil
	case err != nil:
		return err
	case showVersion:
		a.printVersion()
		return nil
	}
	if rest[0] == "help" || rest[0] == "h" {
		return a.helpFor(rest[1:], global)
	}
	c := find(rest[0])
	if c == nil {
		return failure{fmt.Errorf("unknown command %q: see %s --help", rest[0], Name), 3}
	}
	return a.command(c, rest[1:])
}

// command carries out one of the commands.
func (a *app) command(c *command, args []string) error {
	f := newFlags(c.name)
	run := c.prepare(a, f)
	rest, err := f.parse(args, c.program)
	if errors.Is(err, errHelp) {
		a.commandHelp(c, f)
		return nil
	}
	if err != nil {
		return err
	}
	if len(rest) < c.min || c.max >= 0 && len(rest) > c.max {
		return fmt.Errorf("%s: usage: %s %s %s", c.name, Name, c.name, c.args)
	}
	return run(rest)
}

// runtime is the directory of containers.
func (a *app) runtime() (*containers.Runtime, error) {
	root := a.root
	if root == "" {
		root = defaultRoot()
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	rootless := false
	switch a.rootless {
	case "true":
		rootless = true
	case "auto", "false":
	default:
		return nil, fmt.Errorf("--rootless %q is none of true, false and auto", a.rootless)
	}
	return &containers.Runtime{Root: root, Systemd: a.systemd, Rootless: rootless, Warn: a.log.warn, Note: a.log.note}, nil
}

// container finds a container.
func (a *app) container(id string) (*containers.Container, error) {
	r, err := a.runtime()
	if err != nil {
		return nil, err
	}
	return r.Load(id)
}

// defaultRoot is where a reboot forgets it, and the user may write.
func defaultRoot() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" || os.Geteuid() == 0 && !inUserNamespace() {
		dir = "/run"
	}
	return filepath.Join(dir, Name)
}

// inUserNamespace says whether this root is not the machine's.
func inUserNamespace() bool {
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(ids)), " ") != "0 0 4294967295"
}
