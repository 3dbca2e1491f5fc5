package validation

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"minict/tests/host"
)

// remaining lists what minict does not pass: program, assertion and reason,
// with tabs between.
//
//go:embed remaining.txt
var remaining string

// built is for a machine without a compiler.
var built = flag.String("programs", "", "directory in which the validation programs are built already")

// peers are those to compare with.
var peers = flag.String("peers", "runc,crun", "runtimes to compare minict with")

// The cgroups that the programs put containers in, outermost last.
var cgroups = []string{"cgrouptest", "testdir/cgrouptest/container", "testdir/cgrouptest", "testdir"}

func TestMain(m *testing.M) {
	os.Exit(host.Run(func() int {
		// A program wants to see a second link.
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}); err != nil {
			fmt.Fprintln(os.Stderr, "validation: add a link:", err)
			return 1
		}
		return m.Run()
	}))
}

// contender is a runtime and the machine as it wants to see it.
type contender struct {
	name    string
	program string
	// enter is the beginning of a command that hides what it can't stand.
	enter []string
}

var (
	// crun refuses version 2 beside version 1.
	crun = contender{"crun", "/usr/bin/crun", []string{"unshare", "-m", "sh", "-c",
		`if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec "$@"`, "sh"}}
	runc = contender{"runc", "/usr/sbin/runc", nil}
)

// minict is the binary that make builds, or MINICT_BINARY, under the name by
// which it knows that it is to be a runtime.
func minict(t *testing.T) contender {
	t.Helper()
	binary := os.Getenv("MINICT_BINARY")
	if binary == "" {
		binary = "../../minict"
	}
	binary, err := filepath.Abs(binary)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("find the binary to test (make builds it): %v", err)
	}
	link := filepath.Join(t.TempDir(), "minict-oci")
	if err := os.Symlink(binary, link); err != nil {
		t.Fatal(err)
	}
	return contender{name: "minict", program: link}
}

// TestBuild is for those who take the programs elsewhere.
func TestBuild(t *testing.T) { build(t) }

// TestSuite holds minict to the table, and to what the others pass.
func TestSuite(t *testing.T) {
	programs := build(t)
	expected := table(t)
	ours := runAll(t, programs, minict(t))
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		if expected[name][all] != "" && !version1(t) {
			continue
		}
		t.Run(name, func(t *testing.T) { compare(t, ours[name], expected[name]) })
	}
	for program := range expected {
		if ours[program] == nil {
			t.Errorf("remaining.txt: there is no program %q", program)
		}
	}
	for _, peer := range []contender{runc, crun} {
		if !slices.Contains(strings.Split(*peers, ","), peer.name) {
			continue
		}
		theirs := runAll(t, programs, peer)
		t.Run("as "+peer.name, func(t *testing.T) {
			for program, r := range theirs {
				for assertion := range r.passed {
					if !ours[program].passed[assertion] && !strings.HasPrefix(expected[program][assertion], "chance: ") {
						t.Errorf("%s: %s: %s passes, minict does not: %s", program, assertion, peer.name, ours[program].failed[assertion])
					}
				}
			}
		})
	}
}

func compare(t *testing.T, r *report, expected map[string]string) {
	for assertion, about := range r.failed {
		if expected[assertion] == "" {
			t.Errorf("%s\n%s", assertion, about)
		}
	}
	for assertion, reason := range expected {
		if _, failed := r.failed[assertion]; !failed && assertion != all && !varies(reason) {
			t.Errorf("remaining.txt: this passes now, or is no longer asserted: %s", assertion)
		}
	}
}

// all stands for whatever a program asserts, where there is no cgroup v1.
const all = "*"

func version1(t *testing.T) bool {
	t.Helper()
	mounts, err := host.Cgroups()
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(mounts, func(m host.CgroupMount) bool { return !m.Unified })
}

// varies says whether an assertion may pass as well.
func varies(reason string) bool {
	return strings.HasPrefix(reason, "chance: ") || strings.HasPrefix(reason, "machine: ")
}

// table reads remaining.txt: reasons by program and assertion.
func table(t *testing.T) map[string]map[string]string {
	t.Helper()
	rows := make(map[string]map[string]string)
	for text := range strings.Lines(remaining) {
		text = strings.TrimSpace(text)
		if text == "" || text[0] == '#' {
			continue
		}
		f := strings.Split(text, "\t")
		if len(f) != 3 {
			t.Fatalf("remaining.txt: %q is not a program, an assertion and a reason", text)
		}
		if rows[f[0]] == nil {
			rows[f[0]] = make(map[string]string)
		}
		rows[f[0]][f[1]] = f[2]
	}
	return rows
}

// build makes the programs, and puts beside them what they look for in their
// working directory. Nothing is built that is up to date.
func build(t *testing.T) (dir string) {
	t.Helper()
	if *built != "" {
		return *built
	}
	dir, err := filepath.Abs("../../build/validation")
	if err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) string {
		cmd := exec.Command("go", args...)
		cmd.Dir = "suite"
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
		out, err := cmd.Output()
		if err != nil {
			stderr := ""
			if e, ok := err.(*exec.ExitError); ok {
				stderr = string(e.Stderr)
			}
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr)
		}
		return strings.TrimSpace(string(out))
	}
	command("build", "-ldflags", "-s -w", "-o", dir+"/", "tool")
	module := command("list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-tools")
	if err := unpack(module, dir, "rootfs-"+runtime.GOARCH+".tar.gz"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// unpack puts an archive where the programs look for it, without compression:
// busybox wants to be told of that.
func unpack(from, to, name string) error {
	packed, err := os.Open(filepath.Join(from, name))
	if err != nil {
		return err
	}
	defer packed.Close()
	in, err := gzip.NewReader(packed)
	if err != nil {
		return err
	}
	out, err := os.Create(filepath.Join(to, name))
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// runAll runs all programs for a runtime, a few at a time. Those about cgroups
// use the same ones, and so come one after the other.
func runAll(t *testing.T, dir string, c contender) map[string]*report {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	single, others := make(chan string, len(entries)), make(chan string, len(entries))
	for _, e := range entries {
		switch name := e.Name(); {
		case name == "runtimetest" || strings.HasSuffix(name, ".gz"):
		case usesCgroups(name):
			single <- name
		default:
			others <- name
		}
	}
	close(single)
	close(others)
	temp, err := os.MkdirTemp("", "validation")
	if err == nil {
		t.Cleanup(func() { remove(t, temp) })
		err = os.Chmod(temp, 0o755) // for users other than root
	}
	if err != nil {
		t.Fatal(err)
	}
	reports := make(map[string]*report)
	var lock sync.Mutex
	var lanes sync.WaitGroup
	for _, lane := range []chan string{single, others, others, others, others} {
		lanes.Go(func() {
			for name := range lane {
				r, err := run(filepath.Join(temp, name), dir, name, c)
				if err != nil {
					t.Errorf("%s for %s: %v", name, c.name, err)
					continue
				}
				lock.Lock()
				reports[name] = r
				lock.Unlock()
			}
		})
	}
	lanes.Wait()
	return reports
}

// remove removes a directory, but nothing that is mounted in it: runc leaves
// the mounts of a container that shares its caller's mount namespace.
func remove(t *testing.T, dir string) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(mounts)), "\n")
	for _, line := range slices.Backward(lines) {
		if place := strings.Fields(line)[4]; strings.HasPrefix(place, dir+"/") {
			if err := unix.Unmount(place, unix.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", place, err)
				return
			}
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// usesCgroups says whether a program makes one of the cgroups that all make.
func usesCgroups(program string) bool {
	return strings.HasPrefix(program, "linux_cgroups_") || strings.HasPrefix(program, "delete")
}

// run runs a program with state and temporary files of its own, and removes
// the containers that it leaves.
func run(temp, dir, name string, c contender) (*report, error) {
	state, wrapper := filepath.Join(temp, "state"), filepath.Join(temp, "runtime")
	script := fmt.Sprintf("#!/bin/sh\nexec %s --root %s \"$@\"\n", c.program, state)
	if err := os.Mkdir(temp, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	args := append(slices.Clone(c.enter), filepath.Join(dir, name))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "RUNTIME="+wrapper, "TMPDIR="+temp)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second // a container may hold the pipes
	ended := cmd.Run()
	err := tidy(wrapper, state, c)
	if err == nil && usesCgroups(name) {
		err = removeCgroups()
	}
	if err != nil {
		return nil, err
	}
	r, err := read(&stdout)
	if err != nil {
		return nil, err
	}
	about := ""
	if ended != nil {
		about = fmt.Sprintf("%v: %s", ended, stderr.String())
	}
	r.add(endsWell, ended != nil, about)
	return r, nil
}

func tidy(wrapper, state string, c contender) error {
	left, err := os.ReadDir(state)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, e := range left {
		if strings.HasPrefix(e.Name(), ".") { // what minict keeps between containers
			continue
		}
		args := append(slices.Clone(c.enter), wrapper, "delete", "--force", e.Name())
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s delete %s: %v: %s\n", c.name, e.Name(), err, out)
		}
	}
	return nil
}

// removeCgroups removes what a runtime leaves of the groups: those above a
// container's. A relative path is below a group of minict's for minict, below
// the caller's own for others.
func removeCgroups() error {
	mounts, err := host.Cgroups()
	self, err2 := os.ReadFile("/proc/self/cgroup")
	above := []string{"/", "/minict"}
	for line := range strings.Lines(string(self)) {
		above = append(above, strings.TrimSpace(line[strings.LastIndex(line, ":")+1:]))
	}
	for _, mount := range mounts {
		for _, dir := range above {
			for _, group := range cgroups {
				_ = unix.Rmdir(filepath.Join(mount.Dir, dir, group)) // if it is there
			}
		}
	}
	return errors.Join(err, err2)
}
