package container

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "write the golden files anew")

const testID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var testFacts = facts{
	User:     identity{uid: 0, gid: 0, groups: []uint32{0, 10}, home: "/root"},
	Dir:      "/var/lib/minict/containers/" + testID,
	Volumes:  "/var/lib/minict/volumes",
	Bounding: append(slices.Clone(defaultCapabilities), "CAP_NET_ADMIN", "CAP_SYS_ADMIN"),
}

// The specification of each container is compared with a file. After a change
// that is meant: go test -run TestSpecification -update, and look at the
// difference.
func TestSpecification(t *testing.T) {
	web := testFacts
	web.User = identity{uid: 33, gid: 33, groups: []uint32{33}, home: "/var/www"}
	web.HardLimits = map[string]uint64{"nofile": 20000}
	web.Masked = []string{"/sys/devices/system/cpu/cpu0/thermal_throttle"}
	privileged := testFacts
	privileged.Devices = []specs.LinuxDevice{{Path: "/dev/kvm", Type: "c", Major: 10, Minor: 232}}
	for name, tt := range map[string]struct {
		o Options
		f facts
	}{
		"default": {Options{Args: []string{"/bin/sh"}}, testFacts},
		"rootfs":  {Options{Args: []string{"/bin/sh"}, Rootfs: "/srv/rootfs", TTY: true}, testFacts},
		"web": {Options{
			Args: []string{"nginx", "-g", "daemon off;"}, User: "www-data", WorkDir: "/srv", Hostname: "web", Domainname: "example.org",
			Env: []string{"PATH=/bin", "A=1"}, ReadOnly: true, Networks: on(NetworkHost),
			Mounts: []Mount{
				{Type: MountBind, Source: "/srv/www", Target: "/srv", ReadOnly: true},
				{Type: MountBind, Source: "/mnt", Target: "/mnt", Propagation: "rslave", NonRecursive: true},
				{Type: MountVolume, Source: "data", Target: "/var/lib/data"},
				{Type: MountTmpfs, Target: "/run", Options: []string{"size=1m", "exec"}},
				{Type: MountBind, Source: "/etc/my-hosts", Target: "/etc/hosts"},
			},
			Resources: Resources{Memory: 64 << 20, NanoCPUs: 15e8, CPUShares: 256, CpusetCpus: "0-1", PidsLimit: 10},
			Ulimits:   []Ulimit{{Name: "nofile", Soft: 1024, Hard: 1 << 20}, {Name: "core", Soft: -1, Hard: -1}},
			CapDrop:   []string{"ALL"}, CapAdd: []string{"NET_BIND_SERVICE"},
			Security: Security{NoNewPrivileges: true}, OOMScoreAdj: 500,
		}, web},
		"privileged": {Options{Args: []string{"/bin/sh"}, Privileged: true, Resources: Resources{PidsLimit: -1}}, privileged},
		"own-dev": {Options{Args: []string{"/bin/sh"}, Mounts: []Mount{
			{Type: MountBind, Source: "/dev", Target: "/dev"},
			{Type: MountTmpfs, Target: "/sys/fs/cgroup"},
		}}, testFacts},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t, tt.o, nil)
			c.ID = testID
			if c.Hostname == "" {
				c.Hostname = shortID(testID)
			}
			got, err := json.MarshalIndent(specification(c, tt.f), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			compare(t, filepath.Join("testdata", "spec", name+".json"), append(got, '\n'))
		})
	}
}

func compare(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		gotLines, wantLines := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
		for i := range min(len(gotLines), len(wantLines)) {
			if gotLines[i] != wantLines[i] {
				t.Fatalf("%s:%d: got %s, want %s", file, i+1, gotLines[i], wantLines[i])
			}
		}
		t.Fatalf("%s: got %d lines, want %d", file, len(gotLines), len(wantLines))
	}
}

func TestCapabilitySet(t *testing.T) {
	all := []string{"CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"}
	for _, tt := range []struct {
		name      string
		add, drop []string
		priv      bool
		want      []string
	}{
		{"default", nil, nil, false, defaultCapabilities},
		{"add", []string{"CAP_SYS_ADMIN"}, nil, false, append(slices.Clone(defaultCapabilities), "CAP_SYS_ADMIN")},
		{"add and drop the same", []string{"CAP_CHOWN"}, []string{"CAP_CHOWN"}, false, defaultCapabilities},
		{"drop all", nil, []string{"ALL"}, false, nil},
		{"drop all but", []string{"CAP_KILL"}, []string{"ALL"}, false, []string{"CAP_KILL"}},
		{"add all", []string{"ALL"}, nil, false, all},
		{"add all but", []string{"ALL"}, []string{"CAP_KILL"}, false, []string{"CAP_CHOWN", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"}},
		{"add all, drop all", []string{"ALL"}, []string{"ALL"}, false, all},
		{"privileged", nil, []string{"CAP_KILL"}, true, all},
	} {
		c := &Config{CapAdd: tt.add, CapDrop: tt.drop, Privileged: tt.priv}
		got, want := c.capabilitySet(all), slices.Sorted(slices.Values(tt.want))
		if !reflect.DeepEqual(append([]string{}, got...), append([]string{}, want...)) {
			t.Errorf("%s: got %v, want %v", tt.name, got, want)
		}
	}
}

// Who is not root has nothing in effect.
func TestCapabilitiesOfUsers(t *testing.T) {
	c := &Config{}
	root, user := c.capabilities(testFacts, 0), c.capabilities(testFacts, 1000)
	if len(root.Effective) != 14 || len(root.Permitted) != 14 || len(root.Bounding) != 14 || root.Inheritable != nil || root.Ambient != nil {
		t.Errorf("root: got %+v", root)
	}
	if user.Effective != nil || user.Permitted != nil || len(user.Bounding) != 14 || user.Inheritable != nil || user.Ambient != nil {
		t.Errorf("user: got %+v", user)
	}
}

func TestMissingCapability(t *testing.T) {
	c := &Config{CapAdd: []string{"ALL", "CAP_KILL", "CAP_BPF"}}
	if got := c.missingCapability([]string{"CAP_KILL"}); got != "CAP_BPF" {
		t.Errorf("got %q", got)
	}
}

// Labels are data: they change nothing of what is run (CVE-2026-53488).
func TestLabelsDecideNothing(t *testing.T) {
	plain := config(t, Options{Args: []string{"x"}}, nil)
	labelled := config(t, Options{Args: []string{"x"}, Labels: map[string]string{
		"containerd.io/restart.loguri": "binary:///bin/sh", "run.oci.hooks": "/x", "org.opencontainers.image.title": "x", "minict.privileged": "true",
	}}, nil)
	if a, b := specification(plain, testFacts), specification(labelled, testFacts); !reflect.DeepEqual(a, b) {
		t.Errorf("got %+v, want %+v", b, a)
	}
}
