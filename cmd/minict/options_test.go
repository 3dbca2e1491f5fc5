package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"minict/container"
	"minict/image/pull"
	"minict/network"
)

// options reads a command line of run's.
func options(args ...string) (*container.Options, *runFlags, error) {
	r := new(runFlags)
	f := pflag.NewFlagSet("run", pflag.ContinueOnError)
	r.register(f)
	r.registerRun(f)
	if err := f.Parse(args); err != nil {
		return nil, r, err
	}
	o, err := r.options(f.Args())
	return o, r, err
}

// write makes a file and gives its path.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func on(names ...string) (list []container.NetworkWish) {
	for _, name := range names {
		list = append(list, container.NetworkWish{Network: name})
	}
	return list
}

func TestFlagsBecomeOptions(t *testing.T) {
	env := write(t, "env", "# a comment\nFROM=file\n")
	seconds := 3 * time.Second
	for _, c := range []struct {
		args string
		want container.Options
	}{
		{"alpine", container.Options{Image: "alpine"}},
		{"alpine echo -n --rm", container.Options{Image: "alpine", Args: []string{"echo", "-n", "--rm"}}},
		{"alpine -- echo -- x", container.Options{Image: "alpine", Args: []string{"echo", "--", "x"}}},
		{"--rootfs dir -- /bin/sh", container.Options{Rootfs: "dir", Args: []string{"/bin/sh"}}},
		{"--rootfs dir /bin/sh -c x", container.Options{Rootfs: "dir", Args: []string{"/bin/sh", "-c", "x"}}},
		{"-d -i -t --rm --init --read-only --privileged x", container.Options{Image: "x",
			Detach: true, OpenStdin: true, TTY: true, AutoRemove: true, Init: true, ReadOnly: true, Privileged: true}},
		{"-it -w /w -u alice:staff -h box --domainname d --name n x", container.Options{Image: "x",
			OpenStdin: true, TTY: true, WorkDir: "/w", User: "alice:staff", Hostname: "box", Domainname: "d", Name: "n"}},
		{"-e A=1 --env B --env-file " + env + " x", container.Options{Image: "x", Env: []string{"FROM=file", "A=1", "B"}}},
		{"--entrypoint /e x", container.Options{Image: "x", Entrypoint: []string{"/e"}}},
		{"--entrypoint= x", container.Options{Image: "x", Entrypoint: []string{""}}},
		{"--add-host a:10.0.0.1 --add-host b=::1 x", container.Options{Image: "x", AddHosts: []string{"a:10.0.0.1", "b:::1"}}},
		{"--network host x", container.Options{Image: "x", Networks: on("host")}},
		{"--net none x", container.Options{Image: "x", Networks: on("none")}},
		{"--network a --network name=b,alias=x,ip=10.0.0.2 x", container.Options{Image: "x", Networks: []container.NetworkWish{
			{Network: "a"}, {Network: "b", Aliases: []string{"x"}, IPv4: netip.MustParseAddr("10.0.0.2")}}}},
		{"--network a --network b --ip 10.0.0.2 --ip6 fd00::2 --mac-address 02-42-AC-11-00-02 --network-alias x --net-alias y x",
			container.Options{Image: "x", Networks: []container.NetworkWish{
				{Network: "a", IPv4: netip.MustParseAddr("10.0.0.2"), IPv6: netip.MustParseAddr("fd00::2"), MAC: "02:42:ac:11:00:02",
					Aliases: []string{"x", "y"}}, {Network: "b"}}}},
		{"--mac-address 02:42:ac:11:00:02 x", container.Options{Image: "x", Networks: []container.NetworkWish{{Network: "bridge", MAC: "02:42:ac:11:00:02"}}}},
		{"-p 8080:80 -p 127.0.0.1::53/udp -P --expose 9000-9001 x", container.Options{Image: "x", PublishAll: true,
			Publish: []network.Port{{Host: 8080, Container: 80, Protocol: "tcp"}, {HostIP: netip.MustParseAddr("127.0.0.1"), Container: 53, Protocol: "udp"}},
			Expose:  []container.ContainerPort{{Number: 9000, Protocol: "tcp"}, {Number: 9001, Protocol: "tcp"}}}},
		{"--dns 1.1.1.1 --dns-search a.example --dns-option ndots:2 --dns-opt rotate --add-host h:host-gateway x", container.Options{Image: "x",
			DNS: []netip.Addr{netip.MustParseAddr("1.1.1.1")}, DNSSearch: []string{"a.example"}, DNSOptions: []string{"ndots:2", "rotate"},
			AddHosts: []string{"h:host-gateway"}}},
		{"-m 128m --memory-swap -1 --memory-reservation 64m --cpus 1.5 -c 256 --cpuset-cpus 0-1 --cpuset-mems 0 --pids-limit 9 x",
			container.Options{Image: "x", Resources: container.Resources{Memory: 128 << 20, MemorySwap: -1, MemoryReservation: 64 << 20,
				NanoCPUs: 15e8, CPUShares: 256, CpusetCpus: "0-1", CpusetMems: "0", PidsLimit: 9}}},
		{"--ulimit nofile=10:20 --oom-score-adj 7 x", container.Options{Image: "x", OOMScoreAdj: 7,
			Ulimits: []container.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}}}},
		{"--cap-add NET_ADMIN --cap-drop ALL --security-opt no-new-privileges --security-opt seccomp=unconfined x",
			container.Options{Image: "x", CapAdd: []string{"NET_ADMIN"}, CapDrop: []string{"ALL"},
				Security: container.Security{NoNewPrivileges: true, Seccomp: container.SeccompUnconfined}}},
		{"-l a=1 --label b x", container.Options{Image: "x", Labels: map[string]string{"a": "1", "b": ""}}},
		{"--stop-signal INT --stop-timeout 3 x", container.Options{Image: "x", StopSignal: "INT", StopTimeout: &seconds}},
		{"--platform linux/arm64 x", container.Options{Image: "x", Platform: "linux/arm64"}},
		{"-v /a:/b:ro -v data:/d --mount type=bind,src=/s,dst=/t --tmpfs /tmp:size=1m x", container.Options{Image: "x", Mounts: []container.Mount{
			{Type: container.MountBind, Source: "/a", Target: "/b", ReadOnly: true, MakeSource: true},
			{Type: container.MountVolume, Source: "data", Target: "/d"},
			{Type: container.MountBind, Source: "/s", Target: "/t"},
			{Type: container.MountTmpfs, Target: "/tmp", Options: []string{"size=1m"}}}}},
	} {
		got, _, err := options(strings.Fields(c.args)...)
		if err != nil {
			t.Errorf("run %s: %v", c.args, err)
			continue
		}
		same(t, "run "+c.args, got, c.want)
	}
}

// same compares options; no list and an empty one are the same.
func same(t *testing.T, what string, got *container.Options, want container.Options) {
	t.Helper()
	a, b := reflect.ValueOf(*got), reflect.ValueOf(want)
	for i := range a.NumField() {
		x, y := a.Field(i), b.Field(i)
		if k := x.Kind(); (k == reflect.Slice || k == reflect.Map) && x.Len() == 0 && y.Len() == 0 || k == reflect.Func {
			continue
		}
		if !reflect.DeepEqual(x.Interface(), y.Interface()) {
			t.Errorf("%s: %s is %+v, want %+v", what, a.Type().Field(i).Name, x, y)
		}
	}
}

func TestBadFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "no image is given"},
		{"--memory 1K x", `invalid memory limit "1K": the least is 6MiB`},
		{"--memory=-5 x", `invalid memory limit "-5"`},
		{"--memory 10Q x", `invalid memory limit "10Q"`},
		{"--memory-swap 10Q x", `"10Q"`},
		{"--memory-reservation 10Q x", `"10Q"`},
		{"--cpus many x", `"many"`},
		{"--cpu-shares many x", `"many"`},
		{"--network ../x x", `"../x"`},
		{"--network container: x", `"container:"`},
		{"--network name=a,colour=red x", `"colour"`},
		{"--network name=a,ip=10.0.0.1 --ip 10.0.0.2 x", "--ip"},
		{"--network name=a,alias=b --network-alias c x", "--network-alias"},
		{"--ip 10.0.0 x", `"10.0.0"`},
		{"--ip6 10.0.0.1 x", `"10.0.0.1"`},
		{"--mac-address 1 x", `"1"`},
		{"--network-alias a..* x", `"a..*"`},
		{"-p 80:0 x", `"80:0"`},
		{"--expose 70000 x", `"70000"`},
		{"--dns moon x", `"moon"`},
		{"--ulimit nofile x", `"nofile"`},
		{"--add-host nobody x", `"nobody"`},
		{"--security-opt apparmor=x x", `"apparmor=x"`},
		{"--label =x x", `"=x"`},
		{"-v : x", "invalid"},
		{"--mount type=bind,target=/t x", "source"},
		{"--tmpfs tmp x", "tmp"},
		{"--env-file /nowhere x", "/nowhere"},
		{"--config /nowhere.yaml x", "/nowhere.yaml"},
		{"--nope x", "--nope"},
	} {
		_, _, err := options(strings.Fields(c.args)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("run %s: %v, want %s", c.args, err, c.want)
		}
	}
}

func TestRunFile(t *testing.T) {
	path := write(t, "minict.yaml", `
rootfs: ./rootfs
command: [/bin/sh, -c, "echo 1"]
name: web
hostname: box
domainname: example
user: alice
workdir: /w
env: {A: 1, B: two, C: }
env_file: env
labels: [tier=front]
add_host: ["db:10.0.0.2"]
network: [front, back]
ip: 10.0.0.2
ip6: fd00::2
mac_address: 02:42:ac:11:00:02
network_alias: www
publish: ["8080:80", "127.0.0.1:8000-8010:53/udp"]
publish_all: true
expose: 9000
dns: 1.1.1.1
dns_search: [a.example]
dns_option: [rotate]
entrypoint: /entry
volumes: [./data:/data, named:/n]
mounts: ["type=bind,source=./m,target=/m,readonly"]
tmpfs: [/tmp]
read_only: true
init: true
remove: true
detach: true
interactive: true
tty: false
privileged: true
ulimits: [nofile=5]
oom_score_adj: -3
stop_signal: INT
stop_timeout: 3
pull: never
platform: linux/amd64
cidfile: id
mirrors: ["docker.io=http://127.0.0.1:5000"]
capabilities: {add: [NET_ADMIN], drop: [ALL]}
security: {seccomp: profile.json, no_new_privileges: true}
cgroups:
  memory: 128M
  memory_swap: 256M
  memory_reservation: 64M
  cpus: 1.5
  cpu_shares: 256
  cpuset_cpus: 0
  cpuset_mems: "0"
  pids: 77
`)
	dir := filepath.Dir(path)
	for name, content := range map[string]string{"env": "FROM=file\n", "profile.json": "{}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, r, err := options("--config", path)
	if err != nil {
		t.Fatal(err)
	}
	seconds := 3 * time.Second
	same(t, "minict.yaml", got, container.Options{
		Rootfs: filepath.Join(dir, "rootfs"), Args: []string{"/bin/sh", "-c", "echo 1"}, Name: "web", Hostname: "box",
		Domainname: "example", User: "alice", WorkDir: "/w", Env: []string{"FROM=file", "A=1", "B=two", "C"},
		Labels: map[string]string{"tier": "front"}, AddHosts: []string{"db:10.0.0.2"},
		Networks: []container.NetworkWish{{Network: "front", IPv4: netip.MustParseAddr("10.0.0.2"), IPv6: netip.MustParseAddr("fd00::2"),
			MAC: "02:42:ac:11:00:02", Aliases: []string{"www"}}, {Network: "back"}},
		Publish: []network.Port{{Host: 8080, Container: 80, Protocol: "tcp"},
			{HostIP: netip.MustParseAddr("127.0.0.1"), Host: 8000, HostLast: 8010, Container: 53, Protocol: "udp"}}, PublishAll: true,
		Expose: []container.ContainerPort{{Number: 9000, Protocol: "tcp"}},
		DNS:    []netip.Addr{netip.MustParseAddr("1.1.1.1")}, DNSSearch: []string{"a.example"}, DNSOptions: []string{"rotate"},
		Entrypoint: []string{"/entry"}, ReadOnly: true, Init: true, AutoRemove: true, Detach: true, OpenStdin: true,
		Mounts: []container.Mount{
			{Type: container.MountBind, Source: filepath.Join(dir, "data"), Target: "/data", MakeSource: true},
			{Type: container.MountVolume, Source: "named", Target: "/n"},
			{Type: container.MountBind, Source: filepath.Join(dir, "m"), Target: "/m", ReadOnly: true},
			{Type: container.MountTmpfs, Target: "/tmp"},
		},
		Privileged: true, Ulimits: []container.Ulimit{{Name: "nofile", Soft: 5, Hard: 5}}, OOMScoreAdj: -3,
		StopSignal: "INT", StopTimeout: &seconds, Platform: "linux/amd64", CapAdd: []string{"NET_ADMIN"}, CapDrop: []string{"ALL"},
		Security: container.Security{NoNewPrivileges: true, Seccomp: container.SeccompFile, SeccompProfile: "{}"},
		Resources: container.Resources{Memory: 128 << 20, MemorySwap: 256 << 20, MemoryReservation: 64 << 20,
			NanoCPUs: 15e8, CPUShares: 256, CpusetCpus: "0", CpusetMems: "0", PidsLimit: 77},
	})
	if r.pull != "never" || r.cidfile != filepath.Join(dir, "id") || len(r.mirrors) != 1 || !r.fileStdio {
		t.Errorf("%+v", r)
	}
}

// Every flag has its key, and every key its flag.
func TestRunFileHasWhatRunHasFlagsFor(t *testing.T) {
	keys := make(map[string]bool)
	var collect func(prefix string, s reflect.Type)
	collect = func(prefix string, s reflect.Type) {
		for i := range s.NumField() {
			f := s.Field(i)
			key := prefix + f.Tag.Get("yaml")
			if f.Type.Kind() == reflect.Struct {
				collect(key+".", f.Type)
				continue
			}
			keys[key] = true
		}
	}
	collect("", reflect.TypeFor[runFile]())
	names := map[string]string{
		"rm": "remove", "label": "labels", "volume": "volumes", "mount": "mounts", "ulimit": "ulimits", "mirror": "mirrors",
		"cap-add": "capabilities.add", "cap-drop": "capabilities.drop", "security-opt": "security.seccomp",
		"memory": "cgroups.memory", "memory-swap": "cgroups.memory_swap", "memory-reservation": "cgroups.memory_reservation",
		"cpus": "cgroups.cpus", "cpu-shares": "cgroups.cpu_shares", "cpuset-cpus": "cgroups.cpuset_cpus",
		"cpuset-mems": "cgroups.cpuset_mems", "pids-limit": "cgroups.pids",
	}
	without := map[string]bool{"config": true, "net": true, "net-alias": true, "dns-opt": true, "help": true, "quiet": true}
	r, f := new(runFlags), pflag.NewFlagSet("", pflag.ContinueOnError)
	r.register(f)
	r.registerRun(f)
	f.VisitAll(func(f *pflag.Flag) {
		key := names[f.Name]
		if key == "" {
			key = strings.ReplaceAll(f.Name, "-", "_")
		}
		if !keys[key] && !without[f.Name] {
			t.Errorf("flag --%s has no key %s", f.Name, key)
		}
		delete(keys, key)
	})
	for _, key := range []string{"image", "command", "security.no_new_privileges"} {
		delete(keys, key)
	}
	if len(keys) > 0 {
		t.Errorf("keys without a flag: %v", keys)
	}
}

func TestFlagsOverrideTheFile(t *testing.T) {
	path := write(t, "minict.yaml", "rootfs: ./rootfs\ncommand: a\nhostname: file\nenv: [A=1]\ninit: true\nstop_timeout: 9\nentrypoint: [x]\ncgroups:\n  memory: 128M\n  pids: 5\n")
	o, _, err := options("--config", path, "-m", "64m", "--rootfs", "other", "-h", "flag", "-e", "A=2", "--init=false", "--stop-timeout", "1",
		"--entrypoint", "y", "--", "b")
	if err != nil {
		t.Fatal(err)
	}
	second := time.Second
	same(t, "flags", o, container.Options{Rootfs: "other", Hostname: "flag", Args: []string{"b"}, Env: []string{"A=1", "A=2"},
		StopTimeout: &second, Entrypoint: []string{"y"}, Resources: container.Resources{Memory: 64 << 20, PidsLimit: 5}})

	path = write(t, "network.yaml", "image: alpine\nnetwork: front\nip: 10.0.0.2\npublish: [80]\n")
	if o, _, err = options("--config", path, "--network", "back", "-p", "81"); err != nil {
		t.Fatal(err)
	}
	same(t, "network", o, container.Options{Image: "alpine", Networks: on("back"),
		Publish: []network.Port{{Container: 80, Protocol: "tcp"}, {Container: 81, Protocol: "tcp"}}})

	path = write(t, "image.yaml", "image: alpine\n")
	if o, _, err = options("--config", path, "--rootfs", "dir", "sh"); err != nil || o.Rootfs != "dir" || o.Image != "" {
		t.Errorf("--rootfs over image: %+v, %v", o, err)
	}
	if o, _, err = options("--config", path, "sh"); err != nil || o.Image != "alpine" || o.Args[0] != "sh" {
		t.Errorf("image of the file: %+v, %v", o, err)
	}
	path = write(t, "limits.yaml", "cgroups: {memory: 64M}\n")
	if o, _, err = options("--config", path, "alpine", "sh"); err != nil || o.Image != "alpine" || o.Args[0] != "sh" {
		t.Errorf("image of the arguments: %+v, %v", o, err)
	}
	if _, _, err = options("--config", path, "--", "/bin/sh"); err == nil || !strings.Contains(err.Error(), "neither rootfs nor image") {
		t.Errorf("no image at all: %v", err)
	}
}

func TestBadRunFiles(t *testing.T) {
	for _, c := range []struct{ yaml, want string }{
		{"rootfs: x\nmemroy: 1\n", `:2: unknown key "memroy"`},
		{"rootfs: x\ncgroups:\n  memroy: 1\n", `:3: unknown key "memroy"`},
		{"cgroups:\n  cpu_shares: many\n", `:2: cpu_shares: many is not a number`},
		{"cgroups:\n  memory: [1]\n", `:2: memory: a list is not a string`},
		{"cgroups: 128M\n", `:1: cgroups: 128M is not a section with keys of its own`},
		{"read_only: perhaps\n", `:1: read_only: perhaps is not true or false`},
		{"volumes: x\n", `:1: volumes: x is not a list`},
		{"command: {a: b}\n", `:1: command: a map is not a list`},
		{"env: {A: [1]}\n", `:1: the value of "A" is not a string`},
		{"env: A=1\n", `:1: env: A=1 is not a list`},
		{"name: a\nname: b\n", `:2: key "name" is given twice`},
		{"rootfs: [\n", `:1: `},
		{"\trootfs: x\n", `found character that cannot start any token`},
		{"a: b\n---\nc: d\n", `unknown key "a"`},
		{"name: b\n---\nc: d\n", `more than one document`},
		{"- a\n", `:1: a list is not a section with keys of its own`},
		{"rootfs: a\nimage: b\n", `rootfs and image exclude each other`},
	} {
		path := write(t, "minict.yaml", c.yaml)
		_, _, err := options("--config", path)
		if err == nil || !strings.HasPrefix(err.Error(), path+":") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q:\n     %v\nwant %s%s", c.yaml, err, path, c.want)
		}
	}
	path := write(t, "large.yaml", "#"+strings.Repeat("x", maxYAML))
	if _, _, err := options("--config", path); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a large file: %v", err)
	}
}

// FuzzYAML: whatever is in a file, reading it ends, with one line at most.
func FuzzYAML(f *testing.F) {
	for _, seed := range []string{
		"rootfs: ./rootfs\ncgroups:\n  memory: 128M\n  cpu_shares: 256\n",
		"env: {A: 1, B: }\nlabels: [a=b]\n", "env: &a {A: 1}\nlabels: *a\n", "a: &a [*a]\n", "name: !!binary aGk=\n",
		"<<: {name: x}\n", "- a\n", "\x00", "? [a]\n: b\n", "env:\n  <<: [1]\n", "stop_timeout: 99999999999999999999\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, into := range []any{new(runFile), new(settings)} {
			if err := decodeYAML("f", data, into); err != nil && (!strings.HasPrefix(err.Error(), "f:") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%q", err)
			}
		}
	})
}

// The documents have every key and every verb.
func TestDocuments(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	config, cli := read("../../docs/config.md"), read("../../docs/cli.md")
	var keys func(prefix string, s reflect.Type)
	keys = func(prefix string, s reflect.Type) {
		for i := range s.NumField() {
			key := s.Field(i).Tag.Get("yaml")
			if s.Field(i).Type.Kind() == reflect.Struct {
				keys(key+".", s.Field(i).Type)
			} else if !strings.Contains(config, "`"+prefix+key+"`") {
				t.Errorf("docs/config.md does not have %s%s", prefix, key)
			}
		}
	}
	keys("", reflect.TypeFor[runFile]())
	keys("", reflect.TypeFor[pull.Registries]())
	for _, v := range verbs {
		if !strings.Contains(cli, "`"+v.name) {
			t.Errorf("docs/cli.md does not have %s", v.name)
		}
	}
	r, f := new(runFlags), pflag.NewFlagSet("", pflag.ContinueOnError)
	r.register(f)
	r.registerRun(f)
	f.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" && !strings.Contains(cli, "--"+f.Name) && !strings.Contains(cli, "-"+f.Shorthand+" ") {
			t.Errorf("docs/cli.md does not have --%s", f.Name)
		}
	})
}
