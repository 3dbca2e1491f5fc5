package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// runMapped runs a container whose mounts have ids of their own.
func runMapped(t *testing.T, spec *specs.Spec) (result, error) {
	t.Helper()
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(spec, host, Options{})
	if err != nil {
		return result{}, err
	}
	fds, err := OpenIDMaps(spec)
	if err != nil {
		return result{}, err
	}
	for _, fd := range fds {
		defer unix.Close(fd)
	}
	return launchPaused(t, p, fds, preparing(spec))
}

func TestIDMaps(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", filepath.Join(dir, "sub"), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(filepath.Join(dir, "sub"), unix.MNT_DETACH) })
	for _, name := range []string{"a", "sub/b"} {
		if err := errors.Join(os.WriteFile(filepath.Join(dir, name), nil, 0o644), os.Chown(filepath.Join(dir, name), 1, 2)); err != nil {
			t.Fatal(err)
		}
	}
	ids := func(host uint32) []specs.LinuxIDMapping { return []specs.LinuxIDMapping{{HostID: host, Size: 100}} }
	mount := func(options ...string) specs.Mount {
		return specs.Mount{Destination: "/m", Source: dir, Options: append(options, "rbind"), UIDMappings: ids(1000), GIDMappings: ids(2000)}
	}
	for name, tt := range map[string]struct {
		mount specs.Mount
		users bool
		want  string
	}{
		"this mount":      {mount("idmap"), false, "1001:2002\n1:2\n"},
		"all mounts":      {mount("ridmap"), false, "1001:2002\n1001:2002\n"},
		"without options": {mount(), false, "1001:2002\n1:2\n"},
		// In the container's own namespace firstID is 0.
		"in a user namespace": {specs.Mount{Destination: "/m", Source: dir, Options: []string{"rbind", "ridmap"},
			UIDMappings: ids(firstID), GIDMappings: ids(firstID + 10)}, true, "1:12\n1:12\n"},
		"of the container's own":    {specs.Mount{Destination: "/m", Source: dir, Options: []string{"rbind", "ridmap"}}, true, "1:2\n1:2\n"},
		"of nobody's":               {specs.Mount{Destination: "/m", Source: dir, Options: []string{"rbind", "ridmap"}}, false, "error"},
		"one mapping without other": {specs.Mount{Destination: "/m", Source: dir, Options: []string{"rbind"}, UIDMappings: ids(1)}, false, "error"},
		"overlapping": {specs.Mount{Destination: "/m", Source: dir, Options: []string{"rbind"}, GIDMappings: ids(1),
			UIDMappings: append(ids(1000), ids(1050)...)}, false, "error"},
	} {
		spec := ordinary(bundle(t), "stat -c %u:%g /m/a /m/sub/b; chown 1003:2003 /m/a 2>/dev/null")
		if tt.users {
			ownUsers(t)(spec)
		}
		spec.Mounts = append(spec.Mounts, tt.mount)
		r, err := runMapped(t, spec)
		got := r.stdout
		if errors.Is(err, ErrSpec) {
			got = "error"
		}
		if got != tt.want {
			t.Errorf("%s: got %q %q, %v, want %q", name, got, r.stderr, err, tt.want)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, "a"), &st); err != nil || name == "this mount" && (st.Uid != 3 || st.Gid != 3) {
			t.Errorf("given to 1003:2003, and on the disk it is %d:%d, %v", st.Uid, st.Gid, err)
		}
		if err := os.Chown(filepath.Join(dir, "a"), 1, 2); err != nil {
			t.Fatal(err)
		}
	}
}

// Several mounts with the same mappings need one namespace; none is left open
// when one can't be had.
func TestOpenIDMaps(t *testing.T) {
	ids := []specs.LinuxIDMapping{{HostID: 7, Size: 1}}
	one := specs.Mount{Destination: "/a", Source: "/", Options: []string{"bind"}, UIDMappings: ids, GIDMappings: ids}
	other := one
	other.UIDMappings = []specs.LinuxIDMapping{{HostID: 8, Size: 1}}
	spec := &specs.Spec{Linux: &specs.Linux{}, Mounts: []specs.Mount{one, one, other}}
	fds, err := OpenIDMaps(spec)
	if err != nil || len(fds) != 2 {
		t.Errorf("%d namespaces, %v", len(fds), err)
	}
	for name, fd := range fds {
		if kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWUSER {
			t.Errorf("%s: kind %#x, %v", name, kind, err)
		}
		unix.Close(fd)
	}
	noChild(t)
	spec.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.UserNamespace, Path: "/missing"}}
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/b", Source: "/", Options: []string{"bind", "idmap"}})
	before, _ := os.ReadDir("/proc/self/fd")
	if _, err := OpenIDMaps(spec); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
	if after, _ := os.ReadDir("/proc/self/fd"); len(after) != len(before) {
		t.Errorf("%d descriptors, %d before", len(after), len(before))
	}
}
