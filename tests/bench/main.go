// Command bench compares minict with its peers on one machine in one run: the
// same root filesystem, the same command, one run of each in turn, again and
// again, so that what disturbs the machine disturbs all alike.
//
// crun refuses the hybrid layout of cgroups that some hosts have, so it is
// measured with plain cgroup2 in a private mount namespace, and minict with it
// there; Docker and Podman on the host's own layout, and minict again with
// them. A peer that is not installed is left out, and said so.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"minict/tests/fixture"
	"minict/tests/host"

	"golang.org/x/sys/unix"
)

func main() {
	binary := flag.String("binary", "minict", "the minict to measure")
	rounds := flag.Int("rounds", 60, "measured runs of each command")
	flag.Parse()
	os.Exit(host.Run(func() int {
		if err := bench(*binary, *rounds); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
		return 0
	}))
}

// site is where a benchmark has its things.
type site struct {
	dir    string // everything below it is removed at the end
	binary string // minict
	rootfs string // the root file system as a directory
	tar    string // and as an archive
	ref    string // and as an image in minict's store
}

func bench(binary string, rounds int) (err error) {
	s := site{}
	// Where all runtimes keep what a reboot may forget lies in memory on
	// machines that people have, but not on each that is only for tests.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	// Not /tmp: what is measured is the disk that a store is usually on.
	if s.dir, err = os.MkdirTemp("/var/tmp", "minict-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	defer os.RemoveAll(s.state())
	if s.binary, err = s.install(binary, "minict"); err != nil {
		return err
	}
	if err := s.fill(); err != nil {
		return err
	}
	machine()

	if err := s.onHostLayout(rounds); err != nil {
		return err
	}
	return s.onPlainCgroup2(rounds)
}

// install copies a program, as those who install it do. What was written in one
// go the kernel keeps, and maps, in larger pieces than what a linker has filled
// in or what was read page by page: a program is up to a fifth faster to start.
func (s *site) install(program, name string) (path string, err error) {
	raw, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(s.dir, "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path = filepath.Join(dir, name)
	return path, os.WriteFile(path, raw, 0o755)
}

func (s *site) onHostLayout(rounds int) error {
	layout, err := hostLayout()
	if err != nil {
		return err
	}
	peers, stop, err := present(s.podman, s.docker)
	defer stop()
	if err != nil {
		return err
	}
	results, err := measure(append([]contender{s.minict()}, peers...), rounds)
	if err != nil {
		return err
	}
	results.table("run --rm --network none IMAGE true, on the host's cgroups ("+layout+")", "docker")
	if err := s.withNetwork(peers, rounds); err != nil {
		return err
	}
	return s.throughput(peers)
}

func (s *site) fill() error {
	entries, err := fixture.Base()
	if err != nil {
		return err
	}
	s.rootfs = filepath.Join(s.dir, "bundle", "rootfs")
	if err := fixture.Write(s.rootfs, entries); err != nil {
		return err
	}
	packed, err := fixture.Tar(entries)
	if err != nil {
		return err
	}
	s.tar = filepath.Join(s.dir, "rootfs.tar")
	if err := os.WriteFile(s.tar, packed, 0o600); err != nil {
		return err
	}
	layer, err := fixture.Layer(entries...)
	if err != nil {
		return err
	}
	img, err := fixture.Image(fixture.BaseConfig(), layer)
	if err != nil {
		return err
	}
	registry := fixture.StartRegistry()
	defer registry.Close()
	if err := registry.Push("bench:1", img); err != nil {
		return err
	}
	s.ref = registry.Ref("bench:1")
	return quietly(s.minictEnv(), s.binary, "pull", s.ref)
}

// machine prints what the numbers were measured on.
func machine() {
	var name unix.Utsname
	unix.Uname(&name)
	fmt.Printf("Linux %s, %d CPUs, %s\n", unix.ByteSliceToString(name.Release[:]), runtime.NumCPU(), cpuModel())
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for _, line := range strings.Split(string(text), "\n") {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// hostLayout says which versions of cgroups the host has mounted.
func hostLayout() (string, error) {
	mounts, err := host.Cgroups()
	if err != nil {
		return "", err
	}
	v1, v2 := false, false
	for _, mount := range mounts {
		v1, v2 = v1 || !mount.Unified, v2 || mount.Unified
	}
	switch {
	case v1 && v2:
		return "hybrid", nil
	case v1:
		return "version 1", nil
	default:
		return "version 2", nil
	}
}

// plainCgroup2 puts a cgroup2 where the host has its hierarchies; the mount
// namespace is the private host's.
func plainCgroup2() error {
	const place = "/sys/fs/cgroup"
	if err := unix.Unmount(place, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", place, err)
	}
	if err := unix.Mount("cgroup2", place, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount cgroup2 on %s: %w", place, err)
	}
	return nil
}

// quietly runs a program whose output is of interest only when it fails. The
// output is a file: a container that stays may keep it open.
func quietly(env []string, program string, args ...string) error {
	out, err := os.CreateTemp("", "minict-bench-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, said)
	}
	return nil
}

// present readies the peers that are installed. Stop ends what they started.
func present(peers ...func() (contender, func(), error)) (found []contender, stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range stops {
			f()
		}
	}
	for _, ready := range peers {
		c, end, err := ready()
		if end != nil {
			stops = append(stops, end)
		}
		if errors.Is(err, exec.ErrNotFound) {
			fmt.Printf("left out: %v\n", err)
			continue
		}
		if err != nil {
			return nil, stop, err
		}
		found = append(found, c)
	}
	return found, stop, nil
}
