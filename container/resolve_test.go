package container

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"minict/store"
)

func noEnv(string) (string, bool) { return "", false }

// config resolves options that are right.
func config(t *testing.T, o Options, img *store.Execution) *Config {
	t.Helper()
	if o.Image == "" && o.Rootfs == "" {
		o.Image = "image"
	}
	if o.Getenv == nil {
		o.Getenv = noEnv
	}
	c, err := o.Resolve(img)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What docker run makes of an image's and a user's entrypoint and command
// (Dockerfile reference, "Understand how CMD and ENTRYPOINT interact").
func TestArgs(t *testing.T) {
	image := &store.Execution{Entrypoint: []string{"entry", "-e"}, Cmd: []string{"cmd", "-c"}}
	for _, tt := range []struct {
		name       string
		img        *store.Execution
		entrypoint []string
		args       []string
		want       string // "" is an error
		entries    int
	}{
		{"image's both", image, nil, nil, "entry -e cmd -c", 2},
		{"user's command", image, nil, []string{"my"}, "entry -e my", 2},
		{"user's entrypoint drops the image's command", image, []string{"mine"}, nil, "mine", 1},
		{"user's both", image, []string{"mine"}, []string{"my"}, "mine my", 1},
		{"reset", image, []string{""}, []string{"my"}, "my", 0},
		{"reset by an empty list", image, []string{}, []string{"my"}, "my", 0},
		{"reset and no command", image, []string{""}, nil, "", 0},
		{"command alone", &store.Execution{Cmd: []string{"cmd"}}, nil, nil, "cmd", 0},
		{"nothing", &store.Execution{}, nil, nil, "", 0},
		{"no image", nil, nil, []string{"my"}, "my", 0},
		{"empty name", nil, nil, []string{"", "x"}, "", 0},
		{"zero byte", nil, nil, []string{"a\x00b"}, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{Image: "image", Entrypoint: tt.entrypoint, Args: tt.args}
			c, err := o.Resolve(tt.img)
			if tt.want == "" {
				if !errors.Is(err, ErrInvalid) {
					t.Fatalf("got %v, want %v", err, ErrInvalid)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(c.Args, " "); got != tt.want || c.Entrypoint != tt.entries {
				t.Errorf("got %q, %d of them entrypoint, want %q, %d", got, c.Entrypoint, tt.want, tt.entries)
			}
		})
	}
}

func TestEnv(t *testing.T) {
	host := map[string]string{"TAKEN": "from=caller", "A": "caller"}
	c := config(t, Options{
		Env: []string{"B=user", "NEW=1", "TAKEN", "GONE", "NEW=2", "EMPTY="},
		Getenv: func(name string) (string, bool) {
			v, ok := host[name]
			return v, ok
		},
	}, &store.Execution{Cmd: []string{"x"}, Env: []string{"A=image", "B=image", "GONE=image", "BROKEN"}})
	want := []string{"A=image", "B=user", "NEW=2", "TAKEN=from=caller", "EMPTY="}
	if !reflect.DeepEqual(c.Env, want) {
		t.Errorf("got %q, want %q", c.Env, want)
	}
}

func TestImageDefaultsAndOverrides(t *testing.T) {
	img := &store.Execution{
		Cmd: []string{"x"}, User: "www", WorkingDir: "srv/../data", StopSignal: "SIGQUIT",
		Labels:  map[string]string{"a": "image", "b": "image"},
		Volumes: map[string]struct{}{"/data/../var/lib/x": {}, "/../../logs": {}, "/taken": {}},
	}
	c := config(t, Options{Mounts: []Mount{{Type: MountTmpfs, Target: "/taken/"}}}, img)
	if c.User != "www" || c.WorkDir != "/data" || c.StopSignal != 3 || c.StopTimeout != 10*time.Second {
		t.Errorf("got user %q, directory %q, signal %d, timeout %v", c.User, c.WorkDir, c.StopSignal, c.StopTimeout)
	}
	wantMounts := []Mount{
		{Type: MountTmpfs, Target: "/taken"},
		{Type: MountVolume, Target: "/logs", Anonymous: true},
		{Type: MountVolume, Target: "/var/lib/x", Anonymous: true},
	}
	if !reflect.DeepEqual(c.Mounts, wantMounts) {
		t.Errorf("got mounts %+v, want %+v", c.Mounts, wantMounts)
	}
	timeout := time.Duration(0)
	c = config(t, Options{
		User: "0:0", WorkDir: "/w/", StopSignal: "9", StopTimeout: &timeout, Labels: map[string]string{"b": "user"},
	}, img)
	if c.User != "0:0" || c.WorkDir != "/w" || c.StopSignal != 9 || c.StopTimeout != 0 {
		t.Errorf("got user %q, directory %q, signal %d, timeout %v", c.User, c.WorkDir, c.StopSignal, c.StopTimeout)
	}
	if want := map[string]string{"a": "image", "b": "user"}; !reflect.DeepEqual(c.Labels, want) {
		t.Errorf("got labels %v, want %v", c.Labels, want)
	}
}

func TestMountsParentsFirst(t *testing.T) {
	c := config(t, Options{Args: []string{"x"}, Mounts: []Mount{
		{Type: MountTmpfs, Target: "/a/b/c"}, {Type: MountTmpfs, Target: "/z"}, {Type: MountTmpfs, Target: "/a"},
	}}, nil)
	var got []string
	for _, m := range c.Mounts {
		got = append(got, m.Target)
	}
	if want := []string{"/z", "/a", "/a/b/c"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSwapFollowsMemory(t *testing.T) {
	for _, tt := range []struct{ memory, swap, want int64 }{
		{0, 0, 0}, {64 << 20, 0, 128 << 20}, {64 << 20, -1, -1}, {64 << 20, 64 << 20, 64 << 20},
	} {
		c := config(t, Options{Args: []string{"x"}, Resources: Resources{Memory: tt.memory, MemorySwap: tt.swap}}, nil)
		if c.Resources.MemorySwap != tt.want {
			t.Errorf("memory %d, swap %d: got %d, want %d", tt.memory, tt.swap, c.Resources.MemorySwap, tt.want)
		}
	}
}

func TestCapabilityNames(t *testing.T) {
	c := config(t, Options{Args: []string{"x"}, CapAdd: []string{"net_admin", "CAP_SYS_TIME"}, CapDrop: []string{"all"}}, nil)
	if want := []string{"CAP_NET_ADMIN", "CAP_SYS_TIME"}; !reflect.DeepEqual(c.CapAdd, want) {
		t.Errorf("got %v, want %v", c.CapAdd, want)
	}
	if want := []string{"ALL"}; !reflect.DeepEqual(c.CapDrop, want) {
		t.Errorf("got %v, want %v", c.CapDrop, want)
	}
}

// Every wrong wish is one line that names what is wrong.
func TestRefusals(t *testing.T) {
	const cpus = "there are only"
	for _, tt := range []struct {
		name string
		o    Options
		says string
	}{
		{"name", Options{Name: "-x"}, `"-x"`},
		{"name with a path", Options{Name: "../x"}, `"../x"`},
		{"short name", Options{Name: "x"}, `"x"`},
		{"long name", Options{Name: strings.Repeat("x", 129)}, "128"},
		{"name with a newline", Options{Name: "ab\ncd"}, `\n`},
		{"image and root directory", Options{Rootfs: "/"}, "not both"},
		{"little memory", Options{Resources: Resources{Memory: 6<<20 - 1}}, "minimum memory limit allowed is 6MB"},
		{"negative memory", Options{Resources: Resources{Memory: -5}}, "negative"},
		{"swap below memory", Options{Resources: Resources{Memory: 32 << 20, MemorySwap: 16 << 20}}, "memory-swap"},
		{"swap without memory", Options{Resources: Resources{MemorySwap: 16 << 20}}, "memory-swap"},
		{"reservation above memory", Options{Resources: Resources{Memory: 32 << 20, MemoryReservation: 64 << 20}}, "reservation"},
		{"many cpus", Options{Resources: Resources{NanoCPUs: 100_000e9}}, cpus},
		{"few cpus", Options{Resources: Resources{NanoCPUs: 1}}, cpus},
		{"negative cpus", Options{Resources: Resources{NanoCPUs: -1}}, cpus},
		{"one share", Options{Resources: Resources{CPUShares: 1}}, "cpu-shares"},
		{"many shares", Options{Resources: Resources{CPUShares: 262145}}, "cpu-shares"},
		{"pids", Options{Resources: Resources{PidsLimit: -2}}, "pids-limit"},
		{"cpuset", Options{Resources: Resources{CpusetCpus: "0-"}}, `"0-"`},
		{"cpuset backwards", Options{Resources: Resources{CpusetCpus: "3-1"}}, `"3-1"`},
		{"cpuset far", Options{Resources: Resources{CpusetCpus: "0-65535"}}, "cpuset"},
		{"cpuset with a newline", Options{Resources: Resources{CpusetMems: "0\n1"}}, "cpuset"},
		{"capability", Options{CapAdd: []string{"CAP_FOO"}}, `"CAP_FOO"`},
		{"dropped capability", Options{CapDrop: []string{"FOO"}}, `"FOO"`},
		{"ulimit", Options{Ulimits: []Ulimit{{Name: "nofiles", Soft: 1, Hard: 1}}}, `"nofiles"`},
		{"ulimit order", Options{Ulimits: []Ulimit{{Name: "nofile", Soft: 2, Hard: 1}}}, "nofile"},
		{"ulimit soft unlimited", Options{Ulimits: []Ulimit{{Name: "nofile", Soft: -1, Hard: 1}}}, "nofile"},
		{"hostname", Options{Hostname: "a\nroot::0:0"}, `"a\nroot::0:0"`},
		{"long hostname", Options{Hostname: strings.Repeat("h", 65)}, "64"},
		{"domain name", Options{Domainname: "a b"}, `"a b"`},
		{"host", Options{AddHosts: []string{"a b:1.2.3.4"}}, `"a b:1.2.3.4"`},
		{"host address", Options{AddHosts: []string{"a:1.2.3.4\n"}}, "name:address"},
		{"environment", Options{Env: []string{"=x"}}, `"=x"`},
		{"environment zero byte", Options{Env: []string{"A=x\x00y"}}, `"A"`},
		{"environment name", Options{Env: []string{"A\nB=x"}}, "no name"},
		{"home", Options{Env: []string{"HOME=/\nx"}}, "HOME"},
		{"working directory", Options{WorkDir: "x"}, `"x"`},
		{"user", Options{User: "4294967296"}, `"4294967296"`},
		{"relative target", Options{Mounts: []Mount{{Type: MountTmpfs, Target: "x"}}}, `"x"`},
		{"root target", Options{Mounts: []Mount{{Type: MountTmpfs, Target: "/x/.."}}}, "/ is the root"},
		{"proc target", Options{Mounts: []Mount{{Type: MountBind, Source: "/", Target: "/proc/self/attr"}}}, "/proc"},
		{"same target", Options{Mounts: []Mount{{Type: MountTmpfs, Target: "/x"}, {Type: MountTmpfs, Target: "/y/../x"}}}, "duplicate mount point: /x"},
		{"relative source", Options{Mounts: []Mount{{Type: MountBind, Source: "x", Target: "/x"}}}, `"x"`},
		{"mount type", Options{Mounts: []Mount{{Type: "nfs", Target: "/x"}}}, `"nfs"`},
		{"propagation", Options{Mounts: []Mount{{Type: MountBind, Source: "/", Target: "/x", Propagation: "far"}}}, `"far"`},
		{"tmpfs option", Options{Mounts: []Mount{{Type: MountTmpfs, Target: "/x", Options: []string{"size=1,exec"}}}}, "size=1,exec"},
		{"volume name", Options{Mounts: []Mount{{Type: MountVolume, Source: "../../etc", Target: "/x"}}}, "../../etc"},
		{"stop signal", Options{StopSignal: "SIGFOO"}, "SIGFOO"},
		{"oom score", Options{OOMScoreAdj: 1001}, "1001"},
		{"seccomp", Options{Security: Security{Seccomp: "x"}}, `"x"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := tt.o
			o.Image, o.Args, o.Getenv = "image", []string{"x"}, noEnv
			_, err := o.Resolve(nil)
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v, want %v", err, ErrInvalid)
			}
			if text := err.Error(); !strings.Contains(text, tt.says) || strings.Contains(text, "\n") {
				t.Errorf("got %q, want one line with %q", text, tt.says)
			}
		})
	}
}

// An image is data: its config may be anything.
func TestHostileImages(t *testing.T) {
	for name, img := range map[string]store.Execution{
		"user":        {User: "+1"},
		"environment": {Env: []string{"HOME=/\nx"}},
		"volume":      {Volumes: map[string]struct{}{"/": {}}},
		"proc volume": {Volumes: map[string]struct{}{"/proc/self": {}}},
		"signal":      {StopSignal: "SIGNOPE"},
	} {
		img.Cmd = []string{"x"}
		o := Options{Image: "image"}
		if _, err := o.Resolve(&img); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want %v", name, err, ErrInvalid)
		}
	}
}
