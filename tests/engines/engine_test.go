// Package engines has the engines that people use run their containers with
// minict: dockerd, Podman and containerd, as Debian has them.
//
// Each is started by hand on a private host (package host), with directories
// and a socket of its own. MINICT_BINARY names the binary; without it, it is
// the one that make builds.
package engines

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"minict/tests/fixture"
	"minict/tests/host"
)

// patience is how long a command may take: a test that gets there has failed.
const patience = 60 * time.Second

const imageName = "docker.io/library/busybox:1"

func TestMain(m *testing.M) {
	os.Exit(host.Run(m.Run))
}

// engine is an engine's command line, with minict behind it.
type engine struct {
	name string
	env  []string
	argv []string // how each command begins
	// create are the options of run that this machine needs.
	create []string
	remove []string
	// blind says that it does not see here, with whatever runtime, that a
	// container ended for want of memory.
	blind bool
	// parent is the cgroup in which the engine puts its containers, by id.
	parent, prefix string
}

// runtime gives the runtime's command: minict by the name that makes it one.
func runtime(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("MINICT_BINARY")
	if binary == "" {
		binary = "../../minict"
	}
	binary, err := filepath.Abs(binary)
	if err == nil {
		_, err = os.Stat(binary)
	}
	if err != nil {
		t.Fatalf("find the binary to test (make builds it): %v", err)
	}
	link := filepath.Join(t.TempDir(), "minict-oci")
	if err := os.Symlink(binary, link); err != nil {
		t.Fatal(err)
	}
	return link
}

// run runs a command of the engine to its end.
func (e *engine) run(args ...string) (stdout string, code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.argv[0], append(e.argv[1:len(e.argv):len(e.argv)], args...)...)
	cmd.Env = e.env
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return out.String() + said.String(), exit.ExitCode(), nil
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", e.name, strings.Join(args, " "), err, said.String())
	}
	return out.String(), 0, err
}

// ok runs a command that has to succeed, and gives what it prints, trimmed.
func (e *engine) ok(t *testing.T, args ...string) string {
	t.Helper()
	out, code, err := e.run(args...)
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 {
		t.Fatalf("%s %s: exit code %d: %s", e.name, strings.Join(args, " "), code, out)
	}
	return strings.TrimSpace(out)
}

// exits runs a command that has to end with the code.
func (e *engine) exits(t *testing.T, code int, args ...string) string {
	t.Helper()
	out, got, err := e.run(args...)
	if err != nil {
		t.Fatal(err)
	}
	if got != code {
		t.Errorf("%s %s: exit code %d, want %d: %s", e.name, strings.Join(args, " "), got, code, out)
	}
	return out
}

// on a terminal of 40 rows and 100 columns, by script(1).
func (e *engine) onTerminal(args ...string) *engine {
	line := "stty rows 40 cols 100; exec " + quote(append(e.argv, args...))
	return &engine{name: e.name, env: e.env, argv: []string{"script", "-qec", line, "/dev/null"}}
}

func quote(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// daemon starts a daemon, and ends it with the test.
func daemon(t *testing.T, env []string, ready func() error, args ...string) {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
			t.Errorf("%s does not end", args[0])
		}
		if t.Failed() {
			t.Logf("%s said: %s", args[0], tail(log.String()))
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := ready()
		if err == nil {
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v", args[0], err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not get ready: %v", args[0], err)
		}
	}
}

func tail(s string) string { return s[max(0, len(s)-8000):] }

func environment(more ...string) []string {
	return append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}, more...)
}

// rootfs gives a tar of the root file system.
func rootfs(t *testing.T) string {
	t.Helper()
	entries, err := fixture.Base()
	if err != nil {
		t.Fatal(err)
	}
	packed, err := fixture.Tar(entries)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rootfs.tar")
	if err := os.WriteFile(file, packed, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// archive gives an archive of an image of it.
func archive(t *testing.T) string {
	t.Helper()
	image, err := fixture.BaseImage()
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(imageName)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(file, tag, image); err != nil {
		t.Fatal(err)
	}
	return file
}

// nothingLeft fails if a cgroup of a container is still there, or runtime
// state below one of the directories. It removes the engine's own cgroups.
func nothingLeft(t *testing.T, parent string, states ...string) {
	t.Helper()
	mounts, err := host.Cgroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		left, err := os.ReadDir(filepath.Join(m.Dir, parent))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range left {
			if e.IsDir() && len(e.Name()) > 20 { // ids are long
				t.Errorf("cgroup %s/%s/%s is left", m.Dir, parent, e.Name())
			}
			_ = unix.Rmdir(filepath.Join(m.Dir, parent, e.Name())) // empty, or a file
		}
		_ = unix.Rmdir(filepath.Join(m.Dir, parent))
	}
	for _, dir := range states {
		left, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range left {
			if !strings.HasPrefix(e.Name(), ".") {
				t.Errorf("state %s is left in %s", e.Name(), dir)
			}
		}
	}
}

// limit reads a limit of a container's cgroup, by the name that it has in
// version 1 or 2.
func limit(t *testing.T, controller, group, v1, v2 string) string {
	t.Helper()
	mounts, err := host.Cgroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		file := v1
		if m.Unified {
			file = v2
		}
		data, err := os.ReadFile(filepath.Join(m.Dir, group, file))
		if err == nil && (m.Unified || strings.Contains(strings.Join(m.Options, ","), controller)) {
			return strings.TrimSpace(string(data))
		}
	}
	t.Fatalf("no %s cgroup %s", controller, group)
	return ""
}
