package container

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseBytes(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "4096": 4096, "1k": 1024, "128M": 128 << 20, "1.5g": 3 << 29, "2GiB": 2 << 30, "6mb": 6 << 20, "10b": 10,
	} {
		if got, err := ParseBytes("memory", s); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "-5", "10Q", "k", "1 0", "0x10", "1e3q", "9999999999g", "NaN", "inf"} {
		if n, err := ParseBytes("memory", s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %d, %v", s, n, err)
		}
	}
}

func TestParseCPUs(t *testing.T) {
	for s, want := range map[string]int64{"1": 1e9, "0.5": 5e8, "1.25": 125e7, "0.000000001": 1} {
		if got, err := ParseCPUs(s); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "x", "-1", "0.0000000001", "1e1000000", strings.Repeat("9", 40)} {
		if n, err := ParseCPUs(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %d, %v", s, n, err)
		}
	}
}

func TestParseUlimit(t *testing.T) {
	for s, want := range map[string]Ulimit{
		"nofile=1024:2048": {"nofile", 1024, 2048}, "CORE=0": {"core", 0, 0}, "memlock=-1:-1": {"memlock", -1, -1},
	} {
		if got, err := ParseUlimit(s); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "nofile", "nofile=", "nofile=x", "nofile=1:x", "nofile=2:1", "files=1", "nofile=-2"} {
		if u, err := ParseUlimit(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %v, %v", s, u, err)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for s, want := range map[string]int{
		"9": 9, "KILL": 9, "SIGKILL": 9, "sigterm": 15, "usr1": 10, "SIGRTMIN": 34, "RTMIN+3": 37, "RTMAX-1": 63, "64": 64,
	} {
		if got, err := ParseSignal(s); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "-1", "65", "SIG", "FOO", "RTMIN+", "RTMIN+31", "RTMIN3", "RTMAX+1", "SIGSIGTERM "} {
		if n, err := ParseSignal(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %d, %v", s, n, err)
		}
	}
}

func TestParseHost(t *testing.T) {
	for s, want := range map[string]string{
		"db:10.0.0.1": "db:10.0.0.1", "db=10.0.0.1": "db:10.0.0.1",
		"six:::1": "six:::1", "six=[fe80::1]": "six:fe80::1", "db:host-gateway": "db:host-gateway",
	} {
		if got, err := ParseHost(s); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "db", "db:", ":1.2.3.4", "db:1.2.3", "d b:1.2.3.4", "db\n:1.2.3.4", "db:fe80::1%eth0", "d b:host-gateway"} {
		if got, err := ParseHost(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
}

func TestParseVolume(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for s, want := range map[string]Mount{
		"/data":                {Type: MountVolume, Target: "/data", Anonymous: true},
		"data:/data":           {Type: MountVolume, Source: "data", Target: "/data"},
		"data:/data:ro,nocopy": {Type: MountVolume, Source: "data", Target: "/data", ReadOnly: true, NoCopy: true},
		"/h:/c/":               {Type: MountBind, Source: "/h", Target: "/c", MakeSource: true},
		"./h:/c:ro,rslave":     {Type: MountBind, Source: filepath.Join(here, "h"), Target: "/c", MakeSource: true, ReadOnly: true, Propagation: "rslave"},
		"/h/..:/c":             {Type: MountBind, Source: "/", Target: "/c", MakeSource: true},
	} {
		if got, err := ParseVolume(s); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "data", "data:x", ":/x", "a:/b:c", "a:/b:ro:x", "/a:/", "/a:/proc", "x/y:/z", "/a:/b:rw,"} {
		if got, err := ParseVolume(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %+v, %v", s, got, err)
		}
	}
}

func TestParseMount(t *testing.T) {
	for s, want := range map[string]Mount{
		"type=bind,src=/h,dst=/c,readonly":                      {Type: MountBind, Source: "/h", Target: "/c", ReadOnly: true},
		"type=bind,source=/h,target=/c,bind-propagation=shared": {Type: MountBind, Source: "/h", Target: "/c", Propagation: "shared"},
		"type=bind,src=/h,dst=/c,ro=false,bind-nonrecursive":    {Type: MountBind, Source: "/h", Target: "/c", NonRecursive: true},
		"type=tmpfs,dst=/c,tmpfs-size=1m,tmpfs-mode=1770":       {Type: MountTmpfs, Target: "/c", Options: []string{"size=1048576", "mode=1770"}},
		"src=data,dst=/c":                    {Type: MountVolume, Source: "data", Target: "/c"},
		"type=volume,dst=/c,volume-nocopy":   {Type: MountVolume, Target: "/c", Anonymous: true, NoCopy: true},
		`type=bind,"src=/with,comma",dst=/c`: {Type: MountBind, Source: "/with,comma", Target: "/c"},
	} {
		if got, err := ParseMount(s); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "type=bind,dst=/c", "type=bind,src=/h", "type=nfs,dst=/c", "type=tmpfs,src=/x,dst=/c", "dst=c",
		"dst=/c,foo=bar", "dst=/c,ro=maybe", "type=tmpfs,dst=/c,tmpfs-size=x", "type=tmpfs,dst=/c,tmpfs-mode=9", `"`,
	} {
		if got, err := ParseMount(s); !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "%!") {
			t.Errorf("%q: got %+v, %v", s, got, err)
		}
	}
}

func TestParseSecurity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile.json")
	if err := os.WriteFile(file, []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := file + "x"
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		opts string
		want Security
	}{
		{"no-new-privileges", Security{NoNewPrivileges: true}},
		{"no-new-privileges:true", Security{NoNewPrivileges: true}},
		{"no-new-privileges=false", Security{}},
		{"seccomp=unconfined no-new-privileges", Security{NoNewPrivileges: true, Seccomp: SeccompUnconfined}},
		{"seccomp:unconfined", Security{Seccomp: SeccompUnconfined}},
		{"seccomp=" + file, Security{Seccomp: SeccompFile, SeccompProfile: `{"defaultAction":"SCMP_ACT_ALLOW"}`}},
	} {
		if got, err := ParseSecurity(strings.Fields(tt.opts)); err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v", tt.opts, got, err, tt.want)
		}
	}
	for _, opt := range []string{"", "seccomp", "seccomp=", "seccomp=/nowhere", "seccomp=" + broken, "apparmor=x", "no-new-privileges=x"} {
		if got, err := ParseSecurity([]string{opt}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %+v, %v", opt, got, err)
		}
	}
}

func TestReadEnvFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("\ufeffA=1\n# comment\n\n  B=two words # kept\nFROM\nGONE\nC='x'")
	got, err := ReadEnvFile(file, func(name string) (string, bool) { return "caller", name == "FROM" })
	want := []string{"A=1", "B=two words # kept", "FROM=caller", "C='x'"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, bad := range []string{"=x", "A B=x", "A=\xff"} {
		write(bad)
		if got, err := ReadEnvFile(file, noEnv); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %q, %v", bad, got, err)
		}
	}
	if _, err := ReadEnvFile(file+"x", noEnv); !errors.Is(err, ErrInvalid) {
		t.Errorf("no file: got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a:/b:ro", "type=bind,src=/a,dst=/b", "/x:size=1m", "nofile=1:2", "db:::1", "127.0.0.1:80-81:80-81/udp", "[::1]::80", "published=1,target=2", "name=a,ip=10.0.0.1,alias=b", "container:a", "1.5", "128m", "0-3,7"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (Mount, error){ParseVolume, ParseMount, ParseTmpfs} {
			m, err := parse(s)
			if err == nil && (m.Target[0] != '/' || m.Target == "/" || strings.Contains(m.Target, "/../")) {
				t.Errorf("%q: target %q", s, m.Target)
			}
			if err == nil && m.Type == MountVolume && strings.ContainsAny(m.Source, "/\x00\n") {
				t.Errorf("%q: volume %q", s, m.Source)
			}
		}
		if h, err := ParseHost(s); err == nil && strings.ContainsAny(h, " \t\n\x00") {
			t.Errorf("%q: host %q", s, h)
		}
		ports, err := ParsePublish(s)
		for _, p := range ports {
			if err == nil && (p.Container == 0 || p.Protocol != "tcp" && p.Protocol != "udp") {
				t.Errorf("%q: port %v", s, p)
			}
		}
		if exposed, err := ParseExpose(s); err == nil && exposed[0].Number == 0 {
			t.Errorf("%q: port 0", s)
		}
		if w, err := ParseNetwork(s); err == nil && (w.Network == "" || strings.ContainsAny(w.Network, "/ \n\x00")) {
			t.Errorf("%q: network %q", s, w.Network)
		}
		if n, err := ParseBytes("x", s); err == nil && n < 0 {
			t.Errorf("%q: %d", s, n)
		}
		ParseUlimit(s)
		ParseCPUs(s)
		ParseSignal(s)
		parseSet(s)
	})
}
