package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Each option that config.md wants, on a bind mount and on a new filesystem.
func TestMountOptions(t *testing.T) {
	tests := []struct{ options, want string }{
		{"defaults", "rw,relatime -"}, {"ro", "ro,relatime -"}, {"rw,ro", "ro,relatime -"}, {"ro,rw", "rw,relatime -"},
		{"nosuid", "rw,nosuid,relatime -"}, {"nosuid,suid", "rw,relatime -"},
		{"nodev", "rw,nodev,relatime -"}, {"nodev,dev", "rw,relatime -"},
		{"noexec", "rw,noexec,relatime -"}, {"noexec,exec", "rw,relatime -"},
		{"nodiratime", "rw,nodiratime,relatime -"}, {"nodiratime,diratime", "rw,relatime -"},
		{"nosymfollow", "rw,relatime,nosymfollow -"}, {"nosymfollow,symfollow", "rw,relatime -"},
		{"noatime", "rw,noatime -"}, {"noatime,atime", "rw,relatime -"}, {"noatime,relatime", "rw,relatime -"},
		{"strictatime", "rw -"}, {"strictatime,nostrictatime", "rw,relatime -"}, {"norelatime", "rw,relatime -"},
		{"sync,dirsync,mand,lazytime,silent,iversion", "rw,relatime -"},
		{"async,nomand,nolazytime,loud,noiversion", "rw,relatime -"},
		{"private", "rw,relatime -"}, {"rprivate", "rw,relatime -"},
		{"unbindable", "rw,relatime unbindable"}, {"runbindable", "rw,relatime unbindable"},
		{"rro", "ro,relatime -"}, {"rro,rrw", "rw,relatime -"}, {"rnosuid,rnodev,rnoexec", "rw,nosuid,nodev,noexec,relatime -"},
		{"rnoatime", "rw,noatime -"}, {"rnodiratime", "rw,nodiratime,relatime -"}, {"rstrictatime", "rw -"},
		{"rnosymfollow", "rw,relatime,nosymfollow -"},
		{"rsuid,rdev,rexec,ratime,rdiratime,rrelatime,rnorelatime,rnostrictatime,rsymfollow", "rw,relatime -"},
		{"shared", "rw,relatime shared:"}, {"rshared", "rw,relatime shared:"},
	}
	dir := t.TempDir()
	out := must(t, `for n in $(seq 0 99); do grep -E " /(new|bind)/$n " /proc/self/mountinfo | cut -d' ' -f6-7; done`, func(s *specs.Spec) {
		for i, tt := range tests {
			options := strings.Split(tt.options, ",")
			s.Mounts = append(s.Mounts,
				specs.Mount{Destination: fmt.Sprintf("/new/%d", i), Type: "tmpfs", Source: "tmpfs", Options: options},
				specs.Mount{Destination: fmt.Sprintf("/bind/%d", i), Source: dir, Options: append([]string{"rbind"}, options...)})
		}
	})
	lines := strings.Split(out, "\n")
	if len(lines) != 2*len(tests)+1 {
		t.Fatalf("%d lines: %s", len(lines), out)
	}
	for i, tt := range tests {
		for kind, got := range lines[2*i : 2*i+2] {
			if !strings.HasPrefix(got, tt.want) {
				t.Errorf("%s (bind: %v): got %q, want %q", tt.options, kind == 1, got, tt.want)
			}
		}
	}
}

// Recursive attributes reach what is mounted below, the others don't.
func TestRecursiveAttributes(t *testing.T) {
	ownMounts(t)
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(dir+"/sub", 0o755), unix.Mount("tmpfs", dir+"/sub", "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir+"/sub", unix.MNT_DETACH) })
	for options, want := range map[string]string{
		"rbind,ro":          "ro,relatime\nrw,relatime\n",
		"rbind,rro":         "ro,relatime\nro,relatime\n",
		"rbind,rro,rw":      "rw,relatime\nro,relatime\n",
		"rbind,rnosuid,ro":  "ro,nosuid,relatime\nrw,nosuid,relatime\n",
		"bind,rro":          "ro,relatime\n",
		"rbind,runbindable": "rw,relatime\nrw,relatime\n",
	} {
		got := must(t, `grep ' /mnt' /proc/self/mountinfo | cut -d' ' -f6`, func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/mnt", Source: dir, Options: strings.Split(options, ",")})
		})
		if got != want {
			t.Errorf("%s: got %q, want %q", options, got, want)
		}
	}
}

func TestRemount(t *testing.T) {
	out := must(t, `grep -E ' (/a|/b) ' /proc/self/mountinfo | cut -d' ' -f5-6; grep ' /b ' /proc/self/mountinfo | grep -o size=8192k`, func(s *specs.Spec) {
		s.Mounts = append(s.Mounts,
			specs.Mount{Destination: "/a", Source: t.TempDir(), Options: []string{"bind", "nosuid"}},
			specs.Mount{Destination: "/a", Options: []string{"bind", "remount", "ro"}},
			specs.Mount{Destination: "/b", Type: "tmpfs", Options: []string{"size=4m"}},
			specs.Mount{Destination: "/b", Type: "tmpfs", Options: []string{"remount", "size=8m", "noexec"}})
	})
	if want := "/a ro,nosuid,relatime\n/b rw,noexec,relatime\nsize=8192k\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

// Relative destinations are meant from the root, relative sources and the root
// from the bundle.
func TestRelativePaths(t *testing.T) {
	root := bundle(t)
	dir := filepath.Dir(root)
	if err := os.WriteFile(filepath.Join(dir, "hosts"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := ordinary("rootfs", "cat /etc/hosts")
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "etc/hosts", Source: "hosts", Options: []string{"bind"}})
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(spec, host, Options{Bundle: dir})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := launchPlan(t, p, nil); err != nil || r.stdout != "mine" {
		t.Errorf("got %q, %v", r.stdout, err)
	}
}

// What is a link in the image is followed there, also when its target is
// missing, and never on the host.
func TestLinkedDestinations(t *testing.T) {
	root, canary := bundle(t), t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(root, "var"), 0o755),
		os.Symlink("/run", filepath.Join(root, "var/run")),
		os.Symlink("../../../../../.."+canary, filepath.Join(root, "up")),
		os.Symlink(canary, filepath.Join(root, "out")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	spec := ordinary(root, "test -d /run/secrets/x && cut -d' ' -f5 /proc/self/mountinfo | grep -E 'secrets|canary'")
	for _, dest := range []string{"/var/run/secrets/x", "/up/canary", "/out/canary"} {
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: dest, Type: "tmpfs"})
	}
	r, err := run(t, spec)
	if want := fmt.Sprintf("/run/secrets/x\n%[1]s/canary\n%[1]s/canary\n", canary); err != nil || r.stdout != want {
		t.Errorf("got %q, %v, want %q", r.stdout, err, want)
	}
	if left, _ := os.ReadDir(canary); len(left) != 0 {
		t.Errorf("made on the host: %v", left)
	}
}

// The host's mounts stay as they are, though they are shared, whatever the
// container's root and volumes are to hear of.
func TestPropagationNeverReachesTheHost(t *testing.T) {
	ownMounts(t)
	root := bundle(t)
	if err := errors.Join(unix.Mount(root, root, "", unix.MS_BIND, ""), unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	before := hostMounts(t)
	for spread, want := range map[string]string{
		"": "", "private": "", "rprivate": "", "slave": "master:", "rslave": "master:",
		"shared": "shared:", "rshared": "shared:", "unbindable": "unbindable", "runbindable": "unbindable",
	} {
		spec := ordinary(root, `awk '$5 == "/" { print $7 }' /proc/self/mountinfo | grep -oE '(shared:|master:|unbindable)'; mount -t tmpfs none /tmp`)
		spec.Linux.RootfsPropagation = spread
		spec.Process.Capabilities.Bounding = []string{"CAP_SYS_ADMIN"}
		spec.Process.Capabilities.Effective, spec.Process.Capabilities.Permitted = spec.Process.Capabilities.Bounding, spec.Process.Capabilities.Bounding
		r, err := run(t, spec)
		if err != nil || strings.TrimSpace(r.stdout) != want {
			t.Errorf("%s: got %q %q, %v, want %q", spread, r.stdout, r.stderr, err, want)
		}
		if left := mountsSince(t, before); left != "" {
			t.Fatalf("%s: left behind:\n%s", spread, left)
		}
	}
}

// A shared volume is the one way in which the container mounts something on the
// host.
func TestSharedVolume(t *testing.T) {
	ownMounts(t)
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(dir+"/sub", 0o755), unix.Mount(dir, dir, "", unix.MS_BIND, ""), unix.Mount("", dir, "", unix.MS_SHARED, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	must(t, "mount -t tmpfs none /v/sub", func(s *specs.Spec) {
		admin := []string{"CAP_SYS_ADMIN"}
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: admin, Effective: admin, Permitted: admin}
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/v", Source: dir, Options: []string{"rbind", "rshared"}})
	})
	if !strings.Contains(hostMounts(t), dir+"/sub\n") {
		t.Error("the host does not see it")
	}
	unix.Unmount(dir+"/sub", unix.MNT_DETACH)
}

// A slave root shows what the host mounts below it later.
func TestSlaveRoot(t *testing.T) {
	root := bundle(t)
	if err := errors.Join(unix.Mount(root, root, "", unix.MS_BIND, ""), unix.Mount("", root, "", unix.MS_SHARED, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	spec := ordinary(root, "echo up; until test -e /tmp/file; do sleep 0.01; done")
	spec.Linux.RootfsPropagation = "rslave"
	target := sleeper(t, spec)
	if err := unix.Mount("tmpfs", root+"/tmp", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(root+"/tmp", unix.MNT_DETACH) })
	if err := os.WriteFile(root+"/tmp/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	fds := []unix.PollFd{{Fd: int32(target), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 10000); n != 1 {
		t.Errorf("the container does not see it: %v", err)
	}
}

func TestNoPivot(t *testing.T) {
	spec := ordinary(bundle(t), "ls /; head -1 /proc/self/mountinfo | cut -d' ' -f5; ls -d /root /usr 2>&1 | wc -l")
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(spec, host, Options{NoPivot: true})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := launchPlan(t, p, nil); err != nil || r.stdout != "bin\ndev\netc\nproc\nsys\ntmp\n/\n2\n" {
		t.Errorf("got %q %q, %v", r.stdout, r.stderr, err)
	}
}

func TestCopyUp(t *testing.T) {
	root := bundle(t)
	for _, err := range []error{
		os.MkdirAll(filepath.Join(root, "run/lock"), 0o755),
		os.WriteFile(filepath.Join(root, "run/lock/x"), []byte("x"), 0o600),
		os.Chmod(filepath.Join(root, "run"), 0o710),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	spec := ordinary(root, "cat /run/lock/x; stat -c %a /run; echo y >/run/lock/x; touch /run/lock/z || echo ro")
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/run", Type: "tmpfs", Options: []string{"tmpcopyup"}})
	if r, err := run(t, spec); err != nil || r.stdout != "x710\n" {
		t.Errorf("got %q %q, %v", r.stdout, r.stderr, err)
	}
	if raw, err := os.ReadFile(filepath.Join(root, "run/lock/x")); err != nil || string(raw) != "x" {
		t.Errorf("the original is %q, %v", raw, err)
	}
	spec.Mounts[len(spec.Mounts)-1].Options = []string{"tmpcopyup", "ro", "mode=700"}
	if r, err := run(t, spec); err != nil || !strings.HasPrefix(r.stdout, "x700\n") || !strings.HasSuffix(r.stdout, "ro\n") {
		t.Errorf("got %q %q, %v", r.stdout, r.stderr, err)
	}
}

// A tmpfs is like the directory that it covers, unless options say otherwise;
// where there is none it is open to all, as the kernel has it.
func TestTmpfsIsLikeTheDirectory(t *testing.T) {
	root := bundle(t)
	if err := errors.Join(os.Mkdir(root+"/run", 0o755), os.Chmod(root+"/run", 0o710), os.Chown(root+"/run", 5, 6)); err != nil {
		t.Fatal(err)
	}
	spec := ordinary(root, "stat -c '%a %u:%g' /run /new /tmp; ls -A /run /new")
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/run", Type: "tmpfs"},
		specs.Mount{Destination: "/new", Type: "tmpfs"}, specs.Mount{Destination: "/tmp", Type: "tmpfs", Options: []string{"mode=700"}})
	if r, err := run(t, spec); err != nil || !strings.HasPrefix(r.stdout, "710 5:6\n1777 0:0\n700 0:0\n") {
		t.Errorf("got %q %q, %v", r.stdout, r.stderr, err)
	}
}

// Read-only mounts are furnished before they are made read-only.
func TestReadOnlyDev(t *testing.T) {
	out := must(t, `test -c /dev/null && test -d /dev/pts && echo furnished; touch /dev/x 2>/dev/null || echo refused`, func(s *specs.Spec) {
		s.Mounts[1].Options = append(s.Mounts[1].Options, "ro")
	})
	if out != "furnished\nrefused\n" {
		t.Errorf("got %q", out)
	}
}

// With and without a cgroup namespace, only the container's own cgroup shows.
func TestOwnCgroupOnly(t *testing.T) {
	path := fmt.Sprintf("/minict/runtime-mounts-test-%d", os.Getpid())
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []bool{true, false} {
		spec := ordinary(bundle(t), `cd /sys/fs/cgroup; for d in */ ./; do test -e $d/cgroup.procs && cat $d/cgroup.procs; done | sort -u | head -c 3; find . -type d -name 'minict*'; ls -d cpu memory`)
		spec.Linux.CgroupsPath = path
		if !namespace {
			spec.Linux.Namespaces = spec.Linux.Namespaces[:5]
		}
		p, err := Compile(spec, host, Options{Engine: true})
		if err != nil {
			t.Fatal(err)
		}
		r, err := launchPlan(t, p, nil)
		want := "1\n"
		if len(host.Cgroup.V1) > 0 {
			want += "cpu\nmemory\n"
		}
		if err != nil || !strings.HasPrefix(r.stdout, want[:2]) || strings.Contains(r.stdout, "minict") || !strings.HasSuffix(r.stdout, want[2:]) {
			t.Errorf("namespace %v: got %q %q, %v", namespace, r.stdout, r.stderr, err)
		}
	}
}

// Options that are too long for fsconfig(2), as an overlay's are.
func TestLongOptions(t *testing.T) {
	dir := t.TempDir()
	var lower []string
	for i := range 12 {
		lower = append(lower, fmt.Sprintf("%s/%s-%d", dir, strings.Repeat("l", 60), i))
		if err := errors.Join(os.MkdirAll(lower[i], 0o755), os.WriteFile(fmt.Sprintf("%s/%d", lower[i], i), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	out := must(t, "ls /over | wc -l; touch /over/x 2>/dev/null || echo ro; grep ' /over ' /proc/self/mountinfo | cut -d' ' -f6,7", func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/over", Type: "overlay", Source: "overlay",
			Options: []string{"lowerdir=" + strings.Join(lower, ":"), "ro", "nodev", "noatime"}})
	})
	if out != "12\nro\nro,nodev,noatime -\n" {
		t.Errorf("got %q", out)
	}
	spec := ordinary("/rootfs", "true")
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/over", Type: "overlay", Options: []string{"lowerdir=" + strings.Repeat("x", 1<<16)}})
	if _, err := Compile(spec, Host{LastCap: 40}, Options{}); !errors.Is(err, ErrSpec) {
		t.Errorf("too long: got %v", err)
	}
}
