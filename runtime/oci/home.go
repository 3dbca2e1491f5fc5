package oci

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/internal/inroot"
)

// withHome gives a process the variable HOME if it has none: the home directory
// that the container's /etc/passwd has for its user, or "/". Engines leave that
// to the runtime, because they need not see the container's files.
func withHome(p *specs.Process, passwd func() ([]byte, error)) {
	isHome := func(e string) bool { return strings.HasPrefix(e, "HOME=") }
	if slices.ContainsFunc(p.Env, func(e string) bool { return isHome(e) && e != "HOME=" }) {
		return
	}
	home := "/"
	if text, err := passwd(); err == nil { // hostile, unreadable, or none: no home
		home = homeOf(string(text), p.User.UID)
	}
	p.Env = append(slices.DeleteFunc(slices.Clone(p.Env), isHome), "HOME="+home)
}

// homeOf finds a user's home directory in a file of the form of passwd(5).
func homeOf(passwd string, uid uint32) string {
	for line := range strings.Lines(passwd) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(fields) < 6 {
			continue
		}
		id, err := strconv.ParseUint(fields[2], 10, 32)
		if err == nil && uint32(id) == uid && strings.HasPrefix(fields[5], "/") && !strings.Contains(fields[5], "\x00") {
			return fields[5]
		}
	}
	return "/"
}

const (
	passwdFile = "/etc/passwd"
	maxPasswd  = 1 << 20 // bytes
)

// passwd reads the /etc/passwd that a container to be created will have: of its
// root filesystem, or what is mounted over it.
func (c *Container) passwd(spec *specs.Spec) ([]byte, error) {
	for _, m := range slices.Backward(spec.Mounts) {
		if path.Join("/", m.Destination) == passwdFile {
			source := m.Source
			if !filepath.IsAbs(source) {
				source = filepath.Join(c.record.Bundle, source)
			}
			return ReadBounded(source, maxPasswd)
		}
	}
	return passwdBelow(c.record.Rootfs)
}

// passwdInside reads that of a container that runs, whose first process is
// handed as a pidfd.
func (c *Container) passwdInside(target int) ([]byte, error) {
	text, err := passwdBelow(fmt.Sprintf("/proc/%d/root", c.first.pid))
	if err != nil {
		return nil, err
	}
	// As long as it is not buried nobody else has its number.
	return text, unix.PidfdSendSignal(target, 0, nil, 0)
}

func passwdBelow(dir string) ([]byte, error) {
	root, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return inroot.ReadFile(root, passwdFile, maxPasswd)
}
