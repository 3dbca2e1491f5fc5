package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"minict/tests/leaks"

	"golang.org/x/sys/unix"
)

// patience is how long one command may take.
const patience = 10 * time.Second

// world is one minict with a store and a state of its own.
type world struct {
	t   *testing.T
	top string
	leaks.Dirs
	env    []string
	before leaks.Snapshot
}

// newWorld makes a world in which an image is there, if one is named, and a
// container has run, unless it has to be as it is before the first command.
func newWorld(t *testing.T, image string, blank bool) *world {
	t.Helper()
	top := t.TempDir()
	w := &world{t: t, top: top, Dirs: leaks.Dirs{
		Root: filepath.Join(top, "root"), State: filepath.Join(top, "state"), Temp: filepath.Join(top, "tmp"),
	}}
	w.env = []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + top, "TMPDIR=" + w.Temp,
		"MINICT_ROOT=" + w.Root, "MINICT_STATE=" + w.State,
	}
	w.must(os.Mkdir(w.Temp, 0o700))
	if !blank {
		for _, args := range [][]string{
			{"network", "create", "net"},
			{"run", "--rm", "--network", "net", "--network", "bridge", "--rootfs", shared.rootfs, "true"},
			{"ps"},
		} {
			_, err := w.ok(args...)
			w.must(err)
		}
	}
	if image != "" {
		_, err := w.ok("pull", "-q", shared.registry.Ref(image))
		w.must(err)
	}
	var err error
	w.before, err = leaks.Take(w.Dirs)
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// said is what a command said, and its exit code.
type said struct {
	args           []string
	stdout, stderr string
	code           int
}

func (s said) String() string {
	return fmt.Sprintf("minict %s: exit code %d\nstdout: %q\nstderr: %q", strings.Join(s.args, " "), s.code, s.stdout, s.stderr)
}

// command is a command whose output goes to files: they can be read after its
// end, whoever else has them open.
func (w *world) command(args ...string) (cmd *exec.Cmd, outcome func(code int) (said, error), err error) {
	cmd = exec.Command(shared.binary, args...)
	cmd.Env, cmd.Dir = w.env, w.top
	var outputs [2]*os.File
	for i := range outputs {
		if outputs[i], err = os.Create(filepath.Join(w.top, fmt.Sprintf("output%d", i))); err != nil {
			return nil, nil, err
		}
	}
	cmd.Stdout, cmd.Stderr = outputs[0], outputs[1]
	return cmd, func(code int) (said, error) {
		s := said{args: args, code: code}
		for i, to := range []*string{&s.stdout, &s.stderr} {
			text, err := os.ReadFile(outputs[i].Name())
			if err := errors.Join(err, outputs[i].Close()); err != nil {
				return s, err
			}
			*to = string(text)
		}
		return s, nil
	}, nil
}

// run runs a command without a fault.
func (w *world) run(args ...string) (said, error) {
	cmd, outcome, err := w.command(args...)
	if err != nil {
		return said{}, err
	}
	if err := cmd.Start(); err != nil {
		return said{}, err
	}
	late := time.AfterFunc(patience, func() { cmd.Process.Signal(unix.SIGQUIT) }) // it tells where it is
	err = cmd.Wait()
	if !late.Stop() {
		s, _ := outcome(cmd.ProcessState.ExitCode())
		return said{}, fmt.Errorf("minict %s does not end: %s", strings.Join(args, " "), s.stderr)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return said{}, err
	}
	return outcome(cmd.ProcessState.ExitCode())
}

// ok runs a command that has to succeed without a word on standard error.
func (w *world) ok(args ...string) (string, error) {
	s, err := w.run(args...)
	if err == nil && (s.code != 0 || s.stderr != "") {
		err = errors.New(s.String())
	}
	return s.stdout, err
}

// settle brings the world to rest after a fault, as a user would: the next
// command sweeps; each container that is listed can be inspected, stopped and
// removed; and then nothing is left. The container web has to run on if
// runsOn.
func (w *world) settle(runsOn bool) error {
	quiet := 0
	for range 50 {
		ids, err := w.ok("ps", "-aq", "--no-trunc")
		if err != nil {
			return err
		}
		if runsOn {
			if _, err := w.ok("exec", "web", "true"); err != nil {
				return fmt.Errorf("web was to run on: %w", err)
			}
			runsOn = false
		}
		for _, id := range strings.Fields(ids) {
			if err := w.dissolve(id); err != nil {
				return err
			}
		}
		// What was begun may go on for a while without the command: a
		// monitor that was handed its plan starts its container.
		left, err := w.before.Since(150 * time.Millisecond)
		if err != nil || len(left) == 0 {
			return err
		}
		if ids == "" {
			quiet++
		}
		if quiet == 4 {
			return fmt.Errorf("left behind:\n  %s", strings.Join(left, "\n  "))
		}
	}
	return errors.New("a container is listed again and again")
}

// dissolve ends and removes a container that is listed. One with --rm may have
// gone by itself, and one that was just being started may run since.
func (w *world) dissolve(id string) error {
	for _, args := range [][]string{{"inspect", id}, {"stop", "-t", "0", id}, {"rm", "-v", id}} {
		s, err := w.run(args...)
		if err != nil {
			return err
		}
		if s.code != 0 && (strings.Contains(s.stderr, "o such container") || strings.Contains(s.stderr, "is running")) {
			return nil
		}
		if s.code != 0 || s.stderr != "" {
			return errors.New("a container that is listed: " + s.String())
		}
	}
	return nil
}

// monitor is the process id of web's monitor.
func (w *world) monitor() (int, error) {
	states, err := filepath.Glob(filepath.Join(w.State, "containers", "*", "state"))
	if err != nil || len(states) != 1 {
		return 0, fmt.Errorf("one state file is to be there: %v %v", states, err)
	}
	text, err := os.ReadFile(states[0])
	if err != nil {
		return 0, err
	}
	var state struct{ Monitor int }
	err = json.Unmarshal(text, &state)
	return state.Monitor, err
}

// stored checks that the store is empty, or, if an image is listed, that it is
// whole; then it is removed, and the store has to be empty.
func (w *world) stored(ref string) error {
	ids, err := w.ok("images", "-aq")
	if err != nil {
		return err
	}
	if ids != "" {
		if err := w.whole(ref); err != nil {
			return err
		}
		if _, err := w.ok("rmi", ref); err != nil {
			return err
		}
	}
	var left []string
	for _, pattern := range []string{"blobs/*/*", "layers/*/*", "ingest/*", "trash/*"} {
		found, err := filepath.Glob(filepath.Join(w.Root, pattern))
		if err != nil {
			return err
		}
		left = append(left, found...)
	}
	left = slices.DeleteFunc(left, func(path string) bool { return filepath.Base(path) == "lock" })
	if len(left) > 0 {
		return fmt.Errorf("left in the store (image listed: %v):\n  %s", ids != "", strings.Join(left, "\n  "))
	}
	return nil
}

// whole checks an image by its files: a container of it has them all.
func (w *world) whole(ref string) error {
	layers, err := filepath.Glob(filepath.Join(w.Root, "layers", "*", "*"))
	if err != nil {
		return err
	}
	files := map[string]bool{}
	for _, layer := range layers {
		for _, name := range []string{"a/file", "a/again", "link", "gone", "a/more"} {
			if _, err := os.Lstat(filepath.Join(layer, name)); err == nil {
				files[name] = true
			}
		}
	}
	if len(layers) != 2 || len(files) != 5 {
		return fmt.Errorf("image %s is listed, but has %d layers with %v", ref, len(layers), files)
	}
	_, err = w.ok("create", "--name", "probe", "--pull", "never", ref, "x")
	if err == nil {
		_, err = w.ok("rm", "probe")
	}
	return err
}
