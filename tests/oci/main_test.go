// Package oci tests minict as an OCI runtime, from outside, with the command
// line that engines use.
//
// Each test makes a harness, with a state directory (--root) of its own, and at
// the end compares the host with what it was: see package leaks for what counts
// as left behind. The tests run one after the other, on a private host: see
// package host.
//
// MINICT_BINARY names the binary; without it, it is the one that make builds.
package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"minict/tests/fixture"
	"minict/tests/host"

	"golang.org/x/sys/unix"
)

// shared is what all tests use and none changes.
var shared struct {
	binary  string // minict
	runtime string // a link to it, by the runtime's name
	rootfs  string // busybox
}

// helper is a variable that makes this binary a program for a test.
const helper = "MINICT_TEST_PROGRAM"

var programs = map[string]func() error{"criu": runFakeCRIU, "connect": connect, "lock": lock, "speak": speak}

func TestMain(m *testing.M) {
	if program := programs[os.Getenv(helper)]; program != nil {
		if err := program(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(host.Run(func() int {
		lock, err := alone()
		if err != nil {
			fmt.Fprintln(os.Stderr, "tests of the OCI runtime:", err)
			return 1
		}
		defer lock.Close()
		dir, err := os.MkdirTemp("", "minict-oci-tests-")
		if err == nil {
			defer os.RemoveAll(dir)
			err = share(dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "tests of the OCI runtime:", err)
			return 1
		}
		return m.Run()
	}))
}

// alone waits until nobody else runs these tests: cgroups are the machine's, and
// so are the containers' names in them.
func alone() (*os.File, error) {
	path := filepath.Join(os.TempDir(), "minict-oci-tests.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return f, unix.Flock(int(f.Fd()), unix.LOCK_EX)
}

func share(dir string) (err error) {
	shared.binary = os.Getenv("MINICT_BINARY")
	if shared.binary == "" {
		shared.binary = "../../minict"
	}
	if shared.binary, err = filepath.Abs(shared.binary); err != nil {
		return err
	}
	if _, err := os.Stat(shared.binary); err != nil {
		return fmt.Errorf("find the binary to test (make builds it): %w", err)
	}
	shared.runtime = filepath.Join(dir, "minict-oci")
	if err := os.Symlink(shared.binary, shared.runtime); err != nil {
		return err
	}
	shared.rootfs = filepath.Join(dir, "rootfs")
	return fixture.Rootfs(shared.rootfs)
}
