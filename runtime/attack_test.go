package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hostile is a container of an image that brings its own /dev, with a canary on
// the host that must stay as it is.
func hostile(t *testing.T, script string) (spec *specs.Spec, root, canary string) {
	t.Helper()
	root, canary = bundle(t), t.TempDir()
	spec = ordinary(root, script)
	spec.Mounts = slices.DeleteFunc(spec.Mounts, func(m specs.Mount) bool { return strings.HasPrefix(m.Destination, "/dev") })
	return spec, root, canary
}

// untouched checks that nothing was made in a directory.
func untouched(t *testing.T, canary string) {
	t.Helper()
	if left, err := os.ReadDir(canary); err != nil || len(left) > 0 {
		t.Errorf("made on the host: %v, %v", left, err)
	}
}

// CVE-2026-41579: an image's /dev is a link, and devices and links are made
// where it leads to.
func TestDevIsALink(t *testing.T) {
	for _, up := range []string{"", "../../../../../../../.."} {
		spec, root, canary := hostile(t, "true")
		if err := errors.Join(os.Remove(root+"/dev"), os.Symlink(up+canary, root+"/dev")); err != nil {
			t.Fatal(err)
		}
		if _, err := run(t, spec); !errors.Is(err, unix.ELOOP) {
			t.Errorf("got %v", err)
		}
		untouched(t, canary)
		if _, err := os.Lstat(filepath.Join(root, canary)); err == nil {
			t.Error("the link was followed in the root")
		}
	}
}

// A directory of a device's path is a link: it is followed in the root alone.
func TestDeviceBehindALink(t *testing.T) {
	spec, root, canary := hostile(t, "test -c /dev/net/tun && echo there")
	if err := os.Symlink("../../../../../../../.."+canary, root+"/dev/net"); err != nil {
		t.Fatal(err)
	}
	spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/net/tun", Type: "c", Major: 10, Minor: 200}}
	if r, err := run(t, spec); err != nil || r.stdout != "there\n" {
		t.Errorf("got %q, %v", r.stdout, err)
	}
	untouched(t, canary)
}

// CVE-2025-31133: an image's /dev/null leads to a file that decides about the
// host; neither is it taken for the null device nor are others masked with it.
func TestNullIsALink(t *testing.T) {
	spec, root, canary := hostile(t, "true")
	target := canary + "/file"
	if err := errors.Join(os.WriteFile(target, []byte("x"), 0o600), os.Symlink("/proc/kcore", root+"/dev/null")); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, spec); !errors.Is(err, unix.EEXIST) {
		t.Errorf("a link: got %v", err)
	}
	if err := errors.Join(os.Remove(root+"/dev/null"), os.WriteFile(root+"/dev/null", nil, 0o666)); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, spec); !errors.Is(err, unix.EEXIST) {
		t.Errorf("a file: got %v", err)
	}
	if err := errors.Join(os.Remove(root+"/dev/null"), unix.Mknod(root+"/dev/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5)))); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, spec); !errors.Is(err, unix.EEXIST) {
		t.Errorf("another device: got %v", err)
	}
}

// CVE-2025-52565: an image's /dev/console is a link, over whose target the
// terminal would be bound.
func TestConsoleIsALink(t *testing.T) {
	spec, root, canary := hostile(t, "true")
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/dev/pts", Type: "devpts", Options: []string{"newinstance", "ptmxmode=0666"}})
	spec.Process.Terminal = true
	if err := os.Symlink("/etc/console", root+"/dev/console"); err != nil {
		t.Fatal(err)
	}
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(spec, host, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, theirs := consoleSocket(t)
	if _, err := launchPlan(t, p, map[string]int{InputConsole: theirs}); !errors.Is(err, unix.ELOOP) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(root + "/etc/console"); err == nil {
		t.Error("the link was followed")
	}
	untouched(t, canary)
}

// CVE-2021-30465: another container that shares a volume exchanges a directory
// of it for a link while something is mounted there. Wherever the mount comes
// to lie, it is in the root, and nothing is made on the host.
func TestExchangedDestination(t *testing.T) {
	canary, volume := t.TempDir(), t.TempDir()
	if err := errors.Join(os.Mkdir(volume+"/a", 0o755), os.Symlink("../../../../../../../.."+canary, volume+"/b")); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan bool), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				stopped <- n
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, volume+"/a", unix.AT_FDCWD, volume+"/b", unix.RENAME_EXCHANGE)
			}
		}
	}()
	ownMounts(t)
	before, root, inside := hostMounts(t), bundle(t), 0
	spec := ordinary(root, "grep -c canary /proc/self/mountinfo")
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/volume", Source: volume, Options: []string{"rbind"}})
	for i := range 3 {
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: fmt.Sprintf("/volume/a/%d/new", i), Type: "tmpfs", Source: "canary"})
	}
	for range 60 {
		r, err := run(t, spec)
		// A link that leads nowhere may be one no more when it is followed.
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.EEXIST) {
			t.Errorf("got %v", err)
		}
		if err == nil {
			if inside++; strings.TrimSpace(r.stdout) != "3" {
				t.Errorf("%q mounts are seen in the container, want 3", r.stdout)
			}
		}
		untouched(t, canary)
	}
	close(stop)
	if n := <-stopped; n < 1000 || inside < 10 {
		t.Errorf("exchanged %d times, %d containers ran", n, inside)
	}
	if left := mountsSince(t, before); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

// CVE-2025-52881, CVE-2019-19921: a volume, or a file of the image, stands in
// the place of procfs, and takes what is written to it: labels, sysctls, scores.
func TestProcfsIsRedirected(t *testing.T) {
	volume := t.TempDir()
	for _, file := range []string{"self/attr/exec", "sys/net/ipv4/ip_forward", "self/oom_score_adj"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(volume, file)), 0o755), os.WriteFile(filepath.Join(volume, file), nil, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	score := 5
	for name, mount := range map[string]specs.Mount{
		"after procfs": {Destination: "/proc", Source: volume, Options: []string{"rbind"}},
		"below it":     {Destination: "/proc/sys/net", Source: volume, Options: []string{"rbind"}},
		"by a link":    {Destination: "/link/sys", Source: volume, Options: []string{"rbind"}},
		"procfs below": {Destination: "/proc/sys", Type: "proc"},
	} {
		root := bundle(t)
		if err := os.Symlink("proc", root+"/link"); err != nil {
			t.Fatal(err)
		}
		spec := ordinary(root, "true")
		spec.Process.OOMScoreAdj = &score
		spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
		spec.Mounts = append(spec.Mounts, mount)
		if _, err := run(t, spec); !errors.Is(err, unix.EPERM) && !errors.Is(err, ErrSpec) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// Instead of procfs there is the image's directory: it is not written to.
	root := bundle(t)
	spec := ordinary(root, "true")
	spec.Process.OOMScoreAdj = &score
	spec.Mounts[0] = specs.Mount{Destination: "/proc/x", Source: volume, Options: []string{"rbind"}}
	if err := os.CopyFS(root+"/proc", os.DirFS(volume)); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, spec); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{volume, root + "/proc"} {
		if raw, err := os.ReadFile(dir + "/self/oom_score_adj"); err != nil || len(raw) > 0 {
			t.Errorf("written to %s: %q, %v", dir, raw, err)
		}
	}
}
