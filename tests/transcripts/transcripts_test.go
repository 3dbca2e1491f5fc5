// Package transcripts runs the scripts in testdata: what is typed, and what
// minict answers. They specify the command line: help, messages, tables.
//
// A script has the minict under test on its PATH, with its own MINICT_ROOT and
// MINICT_STATE, and in the environment
//
//	ROOTFS    a busybox root file system of its own
//	REGISTRY  the address of a registry that has busybox:1
//
// Beside the commands of testscript there is
//
//	exits CODE PROGRAM [ARGUMENT...]
//
// which runs a program that has to exit with this code. With -update, files
// that cmp compares with are written anew.
package transcripts

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"minict/tests/fixture"
	"minict/tests/host"
	"minict/tests/leaks"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write the expected files anew")

func TestMain(m *testing.M) {
	flag.Parse()
	// The host that is compared before and after is one for all scripts.
	flag.Set("test.parallel", "1")
	os.Exit(host.Run(m.Run))
}

func TestTranscripts(t *testing.T) {
	binary, err := filepath.Abs("../../minict")
	if named := os.Getenv("MINICT_BINARY"); named != "" {
		binary, err = named, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("find the binary to test (make builds it): %v", err)
	}
	img, err := fixture.BaseImage()
	if err != nil {
		t.Fatal(err)
	}
	registry := fixture.StartRegistry()
	t.Cleanup(registry.Close)
	if err := registry.Push("busybox:1", img); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:             "testdata",
		UpdateScripts:   *update,
		ContinueOnError: true,
		Setup:           func(env *testscript.Env) error { return setup(env, binary, registry.Addr) },
		Cmds:            map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

func setup(env *testscript.Env, binary, registry string) error {
	dirs := leaks.Dirs{
		Root:  filepath.Join(env.WorkDir, ".root"),
		State: filepath.Join(env.WorkDir, ".state"),
		Temp:  env.Getenv("TMPDIR"),
	}
	rootfs := filepath.Join(env.WorkDir, "rootfs")
	env.Setenv("PATH", filepath.Dir(binary)+":/usr/sbin:/usr/bin:/sbin:/bin")
	env.Setenv("MINICT_ROOT", dirs.Root)
	env.Setenv("MINICT_STATE", dirs.State)
	env.Setenv("ROOTFS", rootfs)
	env.Setenv("REGISTRY", registry)
	if err := fixture.Rootfs(rootfs); err != nil {
		return err
	}
	before, err := leaks.Take(dirs)
	if err != nil {
		return err
	}
	env.Defer(func() {
		left, err := before.Since(20 * time.Second)
		sweep := before.Sweep()
		if err := errors.Join(err, sweep); err != nil {
			env.T().Fatal(err)
		}
		if len(left) > 0 {
			env.T().Fatal(fmt.Sprintf("left behind:\n  %s", strings.Join(left, "\n  ")))
		}
	})
	return nil
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGUMENT...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
