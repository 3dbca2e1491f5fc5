// Package faults kills minict, and makes its system calls fail, at every point
// where it changes something, and looks at what is left. docs/faults.md tells
// what is done and what was found.
//
// MINICT_FAULTS=all injects every fault; without it a sample, the same each
// time. MINICT_BINARY names the binary, as for package e2e.
package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"minict/tests/fixture"
	"minict/tests/host"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// shared is what all tests use and none changes, but for the tally.
var shared struct {
	binary   string
	all      bool // every fault
	rootfs   string
	registry *fixture.Registry // has busybox:1, and small:1 in two layers
	tally    tally
}

// tally counts what was injected.
type tally struct{ kills, errors, leaks int }

func (t *tally) count(f fault) {
	if f.errno == 0 {
		t.kills++
	} else {
		t.errors++
	}
}

func TestMain(m *testing.M) {
	os.Exit(host.Run(func() int {
		defer func() { os.RemoveAll(shared.rootfs) }()
		if err := share(); err != nil {
			fmt.Fprintln(os.Stderr, "fault tests:", err)
			return 1
		}
		defer shared.registry.Close()
		code := m.Run()
		t := shared.tally
		fmt.Printf("faults injected: %d (kills %d, errors %d); left something behind or said something wrong: %d\n",
			t.kills+t.errors, t.kills, t.errors, t.leaks)
		return code
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
	switch wish := os.Getenv("MINICT_FAULTS"); wish {
	case "", "all":
		shared.all = wish == "all"
	default:
		return fmt.Errorf("MINICT_FAULTS=%s: want all, or nothing", wish)
	}
	if shared.rootfs, err = os.MkdirTemp("", "minict-faults-"); err != nil {
		return err
	}
	if err := fixture.Rootfs(shared.rootfs); err != nil {
		return err
	}
	base, err := fixture.BaseImage()
	if err != nil {
		return err
	}
	small, err := smallImage()
	if err != nil {
		return err
	}
	shared.registry = fixture.StartRegistry()
	if err := shared.registry.Push("busybox:1", base); err != nil {
		return err
	}
	return shared.registry.Push("small:1", small)
}

// smallImage has one of each that a layer can bring.
func smallImage() (v1.Image, error) {
	lower, err := fixture.Layer(
		fixture.Dir("a", 0o755), fixture.File("a/file", "content\n", 0o640), fixture.Hardlink("a/again", "a/file"),
		fixture.Symlink("link", "a/file"), fixture.File("gone", "", 0o600))
	if err != nil {
		return nil, err
	}
	upper, err := fixture.Layer(fixture.File(".wh.gone", "", 0), fixture.File("a/more", "more\n", 0o600))
	if err != nil {
		return nil, err
	}
	return fixture.Image(fixture.BaseConfig(), lower, upper)
}
