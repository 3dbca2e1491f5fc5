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

	"minict/runtime/launch"
)

const firstID = 200000 // of the host, that the tests map

// ownUsers gives a specification a new user namespace, and the root filesystem
// to its root.
func ownUsers(t *testing.T) func(*specs.Spec) {
	return func(s *specs.Spec) {
		t.Helper()
		mapUsers(s)
		err := filepath.WalkDir(s.Root.Path, func(p string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(p, firstID, firstID)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func mapUsers(s *specs.Spec) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: firstID, Size: 65536}}
	s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
}

func TestUserNamespace(t *testing.T) {
	dir := t.TempDir() // that only the caller may enter
	if err := os.WriteFile(dir+"/file", []byte("seen\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	adj := 7
	out := must(t, `id; cat /proc/self/uid_map /proc/self/oom_score_adj /bound/file; ulimit -Hn
		stat -c '%n %t:%T' /dev/null /dev/zero; echo x >/dev/null; touch /new && stat -c %u /new
		hostname; stat -c %g /dev/pts/ptmx; ls -d /sys/class/net/*; cat /proc/sys/kernel/msgmax; grep CapBnd /proc/self/status`,
		ownUsers(t), func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/bound", Source: dir, Options: []string{"rbind", "ro"}})
			s.Process.OOMScoreAdj = &adj
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}}
			s.Linux.Sysctl = map[string]string{"kernel.msgmax": "4096"}
		})
	want := "uid=0 gid=0\n         0     200000      65536\n7\nseen\n200\n/dev/null 1:3\n/dev/zero 1:5\n0\nbox\n0\n/sys/class/net/lo\n4096\nCapBnd:\t00000000000020e1\n"
	if strings.ReplaceAll(out, " groups=0", "") != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// The new namespaces belong to the new user namespace: else its root could not
// set them up, as it does here.
func TestUserNamespaceOwnsTheOthers(t *testing.T) {
	out := must(t, `ip link add dummy0 type dummy 2>&1; ip addr add 10.1.1.1/24 dev lo && hostname other && hostname; mount -t tmpfs none /tmp && echo mounted`,
		ownUsers(t), func(s *specs.Spec) {
			caps := []string{"CAP_SYS_ADMIN", "CAP_NET_ADMIN"}
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
		})
	if !strings.HasSuffix(out, "other\nmounted\n") {
		t.Errorf("got %q", out)
	}
}

func TestUserInUserNamespace(t *testing.T) {
	out := must(t, `id -u; id -g; id -G; grep CapEff /proc/self/status`, ownUsers(t), func(s *specs.Spec) {
		s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{2000}}
	})
	if want := "1000\n1001\n1001 2000\nCapEff:\t0000000000000000\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

// A container that has its user namespace but not its network shows the host's
// sysfs, as mounting one is refused.
func TestUserNamespaceOnTheHostsNetwork(t *testing.T) {
	out := must(t, `stat -f -c %T /sys; touch /sys/x 2>/dev/null || echo kept`, ownUsers(t), without(specs.NetworkNamespace))
	if out != "sysfs\nkept\n" && out != "UNKNOWN\nkept\n" {
		t.Errorf("got %q", out)
	}
}

func without(kinds ...specs.LinuxNamespaceType) func(*specs.Spec) {
	return func(s *specs.Spec) {
		var left []specs.LinuxNamespace
		for _, ns := range s.Linux.Namespaces {
			keep := true
			for _, kind := range kinds {
				keep = keep && ns.Type != kind
			}
			if keep {
				left = append(left, ns)
			}
		}
		s.Linux.Namespaces = left
	}
}

func TestMappingsAreChecked(t *testing.T) {
	list := func(n ...uint32) (m []specs.LinuxIDMapping) {
		for ; len(n) > 0; n = n[3:] {
			m = append(m, specs.LinuxIDMapping{ContainerID: n[0], HostID: n[1], Size: n[2]})
		}
		return m
	}
	tests := map[string]func(*specs.Spec){
		"none":              func(s *specs.Spec) { s.Linux.UIDMappings = nil },
		"no groups":         func(s *specs.Spec) { s.Linux.GIDMappings = nil },
		"empty":             func(s *specs.Spec) { s.Linux.UIDMappings = list(0, 1000, 0) },
		"out of range":      func(s *specs.Spec) { s.Linux.UIDMappings = list(0, 4294967295, 1) },
		"beyond the range":  func(s *specs.Spec) { s.Linux.UIDMappings = list(0, 1000, 4294967295) },
		"twice inside":      func(s *specs.Spec) { s.Linux.UIDMappings = list(0, 1000, 10, 9, 3000, 5) },
		"twice outside":     func(s *specs.Spec) { s.Linux.GIDMappings = list(0, 1000, 10, 100, 995, 6) },
		"too many":          func(s *specs.Spec) { s.Linux.UIDMappings = make([]specs.LinuxIDMapping, maxMappings+1) },
		"user not mapped":   func(s *specs.Spec) { s.Process.User.UID = 65536 },
		"group not mapped":  func(s *specs.Spec) { s.Process.User.GID = 65536 },
		"groups not mapped": func(s *specs.Spec) { s.Process.User.AdditionalGids = []uint32{5, 70000} },
		"no namespace":      without(specs.UserNamespace),
	}
	for name, change := range tests {
		spec := ordinary("/rootfs", "true")
		mapUsers(spec)
		change(spec)
		if _, err := Compile(spec, Host{LastCap: 40}, Options{}); !errors.Is(err, ErrSpec) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestTimeNamespace(t *testing.T) {
	offset := func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: 1000000}, "boottime": {Secs: 2000000, Nanosecs: 5}}
	}
	for name, changes := range map[string][]func(*specs.Spec){
		"alone":               {offset},
		"with user namespace": {ownUsers(t), offset},
		"on the host's pids":  {without(specs.PIDNamespace), offset},
	} {
		out := must(t, `cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime; true`, changes...)
		var monotonic, boot, up int64
		if _, err := fmt.Sscanf(out, "monotonic %d 0\nboottime %d 5\n%d\n", &monotonic, &boot, &up); err != nil {
			t.Errorf("%s: got %q, %v", name, out, err)
		}
		if monotonic != 1000000 || boot != 2000000 || up < 2000000 {
			t.Errorf("%s: got %q", name, out)
		}
	}
}

func TestTimeOffsetsAreChecked(t *testing.T) {
	spec := ordinary("/rootfs", "true")
	spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1}}
	if _, err := Compile(spec, Host{LastCap: 40}, Options{}); !errors.Is(err, ErrSpec) {
		t.Errorf("without a namespace: got %v", err)
	}
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	spec.Linux.TimeOffsets["realtime"] = specs.LinuxTimeOffset{}
	if _, err := Compile(spec, Host{LastCap: 40}, Options{}); !errors.Is(err, ErrSpec) {
		t.Errorf("realtime: got %v", err)
	}
}

// A pause that nobody acts on is a failure, and leaves nothing.
func TestNobodyWritesTheMappings(t *testing.T) {
	spec := ordinary(bundle(t), "true")
	mapUsers(spec)
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(spec, host, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := launchPaused(t, p, nil, func(uint32, *launch.Child) error { return nil })
	if !errors.Is(err, unix.EPERM) { // setgroups, in a namespace that nobody is mapped in
		t.Errorf("got %v, status %#x", err, r.status)
	}
}
