// Package security attacks the minict binary from outside and from inside of
// its containers. docs/security.md has the table of attacks: what is not tried
// here is tried by a test that the table names.
//
// Each test has a minict of its own and compares the host before and after
// (package leaks), on a private host (package host). What a shell can't try is
// tried by the test program itself, which is mounted into the container as
// /probe: see probe_test.go. So it has to be static: CGO_ENABLED=0.
package security

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"minict/tests/host"
)

// shared is what all tests use and none changes.
var shared struct {
	binary string // minict
	probe  string // this program
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == probeWord {
		os.Exit(probe(os.Args[2:]))
	}
	os.Exit(host.Run(func() int {
		if err := share(); err != nil {
			fmt.Fprintln(os.Stderr, "security tests:", err)
			return 1
		}
		return m.Run()
	}))
}

func share() (err error) {
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
	if shared.probe, err = os.Executable(); err != nil {
		return err
	}
	program, err := elf.Open(shared.probe)
	if err != nil {
		return err
	}
	defer program.Close()
	if program.Section(".interp") != nil {
		return errors.New("the test program needs a loader: build it with CGO_ENABLED=0")
	}
	return nil
}
