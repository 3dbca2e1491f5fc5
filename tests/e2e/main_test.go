// Package e2e tests the minict binary from outside, as its users see it, on
// whatever machine it runs: the host, or the virtual machine of tests/vm.
//
// Each test makes a harness, which gives it a minict of its own (--root,
// --state, TMPDIR, HOME) and at the end compares the host with what it was:
// see package leaks for what counts as left behind. The tests run one after
// the other, on a private host: see package host.
//
// MINICT_BINARY names the binary; without it, it is the one that make builds.
package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"minict/tests/fixture"
	"minict/tests/host"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// shared is what all tests use and none changes.
var shared struct {
	binary   string
	probe    string            // this program, for containers: see probe_test.go
	image    v1.Image          // fixture.BaseImage
	registry *fixture.Registry // has image as busybox:1
}

const (
	imageName  = "busybox:1"
	registryAt = "127.0.0.1:5000" // of Debian's docker-registry, where a test starts it
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == probeWord {
		os.Exit(probe(os.Args[2:]))
	}
	os.Exit(host.Run(func() int {
		if err := share(); err != nil {
			fmt.Fprintln(os.Stderr, "end-to-end tests:", err)
			return 1
		}
		defer shared.registry.Close()
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
	if shared.probe, err = probeProgram(); err != nil {
		return err
	}
	if shared.image, err = fixture.BaseImage(); err != nil {
		return err
	}
	shared.registry = fixture.StartRegistry()
	return shared.registry.Push(imageName, shared.image)
}
