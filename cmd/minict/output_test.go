package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"minict/container"
	"minict/image"
	"minict/image/pull"
	"minict/network"
	"minict/runtime"
	"minict/runtime/plan"
	"minict/store"
)

func TestFilters(t *testing.T) {
	a := &app{root: t.TempDir()}
	for name, id := range map[string]string{"front": "abc1", "side": "abc2", "cafe": "abc3"} {
		defined(t, a, &network.Network{Name: name, ID: id})
	}
	id := store.DigestOf("image")
	s := container.Summary{
		ID: "abcdef", Name: "web1", Image: "docker.io/library/alpine:latest", ImageID: id,
		Labels: map[string]string{"tier": "front", "on": ""}, State: container.Exited, ExitCode: 3,
		Networks: []string{"front", "back", "gone"}, Exposed: []container.ContainerPort{{Number: 80, Protocol: "tcp"}},
		Ports: []network.Port{{Host: 8080, Container: 80, Protocol: "tcp"}},
	}
	for _, c := range []struct {
		filters string
		want    bool
	}{
		{"id=abc", true}, {"id=bcd", false},
		{"name=web", true}, {"name=^web1$", true}, {"name=^/web1$", true}, {"name=^web$", false}, {"name=x name=web", true},
		{"status=exited", true}, {"status=running", false}, {"status=running status=exited", true},
		{"exited=3", true}, {"exited=0", false},
		{"label=tier", true}, {"label=tier=front", true}, {"label=tier=back", false}, {"label=on=", true}, {"label=off", false},
		{"label=tier label=off", false}, {"label=tier label=on", true},
		{"ancestor=alpine", true}, {"ancestor=alpine:3", false}, {"ancestor=" + id.Hex()[:12], true}, {"ancestor=" + string(id), true},
		{"network=front", true}, {"network=fro", false}, {"network=abc1", true}, {"network=abc2", false}, {"network=cafe", false}, {"network=moon", false}, {"network=gone", true}, {"publish=8080", true}, {"publish=8000-9000/tcp", true}, {"publish=80", false},
		{"publish=8080/udp", false}, {"expose=80", true}, {"expose=1-79", false},
		{"name=web status=running", false}, {"name=web status=exited", true},
	} {
		keep, _, err := a.containerFilters().parse(strings.Fields(c.filters))
		if err != nil {
			t.Errorf("%s: %v", c.filters, err)
		} else if keep(s) != c.want {
			t.Errorf("%s: %v", c.filters, !c.want)
		}
	}
	for _, bad := range []string{"x", "x=y", "status=asleep", "exited=well", "name=[", "publish=x", "expose=0", "network=abc"} {
		if _, _, err := a.containerFilters().parse([]string{bad}); err == nil || !strings.HasPrefix(err.Error(), "--filter: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, any, _ := a.containerFilters().parse([]string{"status=exited"}); !any {
		t.Error("status=exited shows only those that run")
	}
}

// As docker ps has it.
func TestPortText(t *testing.T) {
	any4, any6, local := netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("127.0.0.1")
	for _, c := range []struct {
		want    string
		ports   []network.Port
		exposed []container.ContainerPort
	}{
		{"", nil, nil},
		{"80/tcp, 443/tcp", nil, []container.ContainerPort{{Number: 80, Protocol: "tcp"}, {Number: 443, Protocol: "tcp"}}},
		{"80-82/tcp", nil, []container.ContainerPort{{Number: 80, Protocol: "tcp"}, {Number: 81, Protocol: "tcp"}, {Number: 82, Protocol: "tcp"}}},
		{"0.0.0.0:80->80/tcp, [::]:80->80/tcp", []network.Port{{HostIP: any4, Host: 80, Container: 80, Protocol: "tcp"}, {HostIP: any6, Host: 80, Container: 80, Protocol: "tcp"}},
			[]container.ContainerPort{{Number: 80, Protocol: "tcp"}}},
		{"443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp", []network.Port{{HostIP: any6, Host: 8080, Container: 80, Protocol: "tcp"}, {HostIP: any4, Host: 8080, Container: 80, Protocol: "tcp"}},
			[]container.ContainerPort{{Number: 80, Protocol: "tcp"}, {Number: 443, Protocol: "tcp"}}},
		{"0.0.0.0:70->70/tcp, 127.0.0.1:53->53/udp, 0.0.0.0:80-81->80-81/tcp", []network.Port{{HostIP: any4, Host: 81, Container: 81, Protocol: "tcp"},
			{HostIP: any4, Host: 80, Container: 80, Protocol: "tcp"}, {HostIP: any4, Host: 70, Container: 70, Protocol: "tcp"},
			{HostIP: local, Host: 53, Container: 53, Protocol: "udp"}}, nil},
		{"0.0.0.0:8000->80/tcp, 0.0.0.0:8001->81/tcp", []network.Port{{HostIP: any4, Host: 8000, Container: 80, Protocol: "tcp"},
			{HostIP: any4, Host: 8001, Container: 81, Protocol: "tcp"}}, nil},
	} {
		s := container.Summary{State: container.Running, Ports: c.ports, Exposed: c.exposed}
		if got := portText(s); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
		s.State = container.Exited
		if got := portText(s); got != "" {
			t.Errorf("of one that has ended: %q", got)
		}
	}
}

// defined writes the definition of a network.
func defined(t *testing.T, a *app, n *network.Network) {
	t.Helper()
	raw, err := json.Marshal(n)
	dir := filepath.Join(a.root, "networks")
	if err := errors.Join(err, os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, n.Name), raw, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func TestNetworkFilters(t *testing.T) {
	a := &app{}
	list := []*network.Network{
		{ID: "abc", Name: network.Default, Driver: network.DriverBridge}, {ID: "bcd", Name: "web", Driver: network.DriverBridge, Labels: map[string]string{"tier": "front", "on": ""}},
		{ID: "cde", Name: network.None, Driver: network.DriverNull},
	}
	for filters, want := range map[string]string{
		"": "bridge web none", "id=b": "web", "name=e": "bridge web none", "name=^web$": "web", "driver=null": "none", "driver=null driver=bridge": "bridge web none",
		"label=tier": "web", "label=tier=back": "", "label=tier label=off": "", "type=custom": "web", "type=builtin": "bridge none", "scope=local id=c": "none", "scope=swarm": "",
	} {
		keep, _, err := a.networkFilters().parse(strings.Fields(filters))
		var names []string
		for _, n := range list {
			if err == nil && keep(n) {
				names = append(names, n.Name)
			}
		}
		if got := strings.Join(names, " "); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", filters, got, err, want)
		}
	}
	for _, bad := range []string{"x", "x=y", "name=[", "type=x", "dangling=x"} {
		if _, _, err := a.networkFilters().parse([]string{bad}); err == nil || !strings.HasPrefix(err.Error(), "--filter: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for filter, want := range map[string]bool{"label=tier": true, "label=off": false, "label!=off": true, "label!=tier": false, "until=1h": true} {
		fits, _, err := pruneFilters.parse([]string{filter})
		if err != nil || fits(list[1]) != want {
			t.Errorf("%s: %v", filter, err)
		}
	}
}

func TestContainerRow(t *testing.T) {
	now := time.Now()
	s := container.Summary{
		ID: strings.Repeat("0123456789abcdef", 4), Name: "web", Image: "docker.io/library/alpine:latest", ImageID: store.DigestOf("x"),
		Args: []string{"/bin/sh", "-c", "echo a very long command\n"}, Created: now.Add(-2 * time.Hour),
		State: container.Exited, ExitCode: 1, FinishedAt: now.Add(-3 * time.Minute), Labels: map[string]string{"b": "2", "a": "1"},
	}
	r := rowOf(s, false)
	for _, c := range []struct{ got, want string }{
		{r.ID, "0123456789ab"}, {r.Image, "alpine:latest"}, {r.Command, `"/bin/sh -c echo a v…"`}, {r.RunningFor, "2 hours ago"},
		{r.Status, "Exited (1) 3 minutes ago"}, {r.State, "exited"}, {r.Labels, "a=1,b=2"}, {r.Label("b"), "2"},
		{rowOf(s, true).ID, s.ID}, {rowOf(s, true).Command, `"/bin/sh -c echo a very long command"`},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	s.State, s.StartedAt = container.Paused, now.Add(-time.Minute)
	if got := status(s); got != "Up About a minute (Paused)" {
		t.Error(got)
	}
	s.State = container.Created
	if got := status(s); got != "Created" {
		t.Error(got)
	}
}

func TestImageRows(t *testing.T) {
	old := store.Image{ID: store.DigestOf("old"), Created: time.Now().Add(-48 * time.Hour), Size: 7_800_000,
		Names:   []string{"docker.io/library/alpine:3.20", "127.0.0.1:5000/a/b:1"},
		Digests: []string{"docker.io/library/alpine@" + string(store.DigestOf("m"))}}
	bare := store.Image{ID: store.DigestOf("new"), Created: time.Now()}
	rows := imageRows([]store.Image{old, bare}, false)
	var got []string
	for _, r := range rows {
		got = append(got, strings.Join([]string{r.Repository, r.Tag, r.Digest, r.ID, r.CreatedSince, r.Size}, " "))
	}
	want := []string{
		"<none> <none> <none> " + bare.ID.Hex()[:12] + " Less than a second ago 0B",
		"alpine 3.20 " + string(store.DigestOf("m")) + " " + old.ID.Hex()[:12] + " 2 days ago 7.8MB",
		"127.0.0.1:5000/a/b 1 <none> " + old.ID.Hex()[:12] + " 2 days ago 7.8MB",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for ref, n := range map[string]int{"alpine": 1, "alpine:3.20": 1, "alpine:3.19": 0, "127.0.0.1:5000/a/b": 1, "b": 0} {
		if list, err := matching(imageRows([]store.Image{old}, false), ref); err != nil || len(list) != n {
			t.Errorf("images %s: %d rows, %v; want %d", ref, len(list), err, n)
		}
	}
	if n := len(uniqueIDs(rows)); n != 2 {
		t.Errorf("%d ids, want 2", n)
	}
}

func TestFormats(t *testing.T) {
	rows := []containerRow{{ID: "1", Names: "long-name", Image: "<a>", label: func(string) string { return "v" }}, {ID: "2", Names: "b", label: func(string) string { return "" }}}
	for _, c := range []struct{ format, want string }{
		{"{{.ID}}", "1\n2\n"},
		{`{{.ID}}\t{{.Names}}`, "1\tlong-name\n2\tb\n"},
		{`table {{.Names}}\t{{.ID}}\t{{.Label "tier"}}`, "NAMES       CONTAINER ID   tier\nlong-name   1              v\nb           2              \n"},
		{`{{upper .Names}} {{title .Names}} {{json .Image}} {{truncate .Names 2}}{{pad .ID 1 1}}|`, "LONG-NAME Long-name \"<a>\" lo 1 |\nB B \"\" b 2 |\n"},
		{`{{join (split .Names "-") "+"}}`, "long+name\nb\n"},
	} {
		var b bytes.Buffer
		if err := formatted(&b, c.format, containerHeader, rows); err != nil || b.String() != c.want {
			t.Errorf("%s: %q, %v\nwant %q", c.format, b.String(), err, c.want)
		}
	}
	var b bytes.Buffer
	if err := formatted(&b, "json", containerHeader, rows); err != nil || strings.Count(b.String(), "\n") != 2 || !strings.Contains(b.String(), `"Image":"<a>"`) {
		t.Errorf("%q, %v", b.String(), err)
	}
	for _, bad := range []string{"{{", "{{.Nope}}"} {
		if err := formatted(&b, bad, containerHeader, rows); err == nil || !strings.HasPrefix(err.Error(), "--format: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestInspectTemplates(t *testing.T) {
	item := &container.Inspection{ID: "abc", HostConfig: container.HostConfig{NanoCPUs: 15e8, Memory: 1 << 40}}
	for _, c := range []struct{ format, want string }{
		{"{{.ID}}", "abc\n"},
		{"{{.Id}} {{.HostConfig.NanoCpus}} {{.HostConfig.Memory}}", "abc 1500000000 1099511627776\n"},
	} {
		tmpl, err := parseFormat(c.format)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := executeInspected(&b, tmpl, item); err != nil || b.String() != c.want {
			t.Errorf("%s: %q, %v", c.format, b.String(), err)
		}
	}
	tmpl, _ := parseFormat("{{.Nope}}")
	if err := executeInspected(new(bytes.Buffer), tmpl, item); err == nil || !strings.Contains(err.Error(), "Nope") {
		t.Error(err)
	}
}

// pulled plays a pull of two layers, one of which is there already.
func pulled(p pull.Progress) {
	name, _ := image.Parse("127.0.0.1:5000/alpine:3.20")
	a, b := store.DigestOf("a"), store.DigestOf("b")
	p.Begin(name, []store.Descriptor{{Digest: a, Size: 1000}, {Digest: b, Size: 2000}})
	p.Layer(a, pull.Exists)
	p.Layer(b, pull.Waiting)
	p.Layer(b, pull.Fetching)
	p.Bytes(b, 500)
	p.Bytes(b, 1500)
	p.Layer(b, pull.Unpacking)
	p.Layer(b, pull.Complete)
	p.Layer(store.DigestOf("unheard of"), pull.Fetching)
}

func TestProgressLines(t *testing.T) {
	a, b := short(store.DigestOf("a")), short(store.DigestOf("b"))
	var out bytes.Buffer
	p := &lines{to: &out}
	pulled(p)
	p.end(true)
	want := "3.20: Pulling from alpine\n" + a + ": Pulling fs layer\n" + b + ": Pulling fs layer\n" + a + ": Already exists\n" + b + ": Pull complete\n"
	if !strings.HasPrefix(out.String(), want) {
		t.Errorf("%q\nwant %q", out.String(), want)
	}
	newProgress(nil).Begin(image.Name{}, nil) // to nobody
}

func TestTimesAndTails(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"":                          {},
		"42m":                       now.Add(-42 * time.Minute),
		"1700000000":                time.Unix(1700000000, 0),
		"1700000000.5":              time.Unix(1700000000, 5e8),
		"2026-11-23T10:00:00Z":      now.Add(-2 * time.Hour),
		"2026-11-23T10:00:00+02:00": now.Add(-4 * time.Hour),
		"2026-11-23":                time.Date(2026, 11, 23, 0, 0, 0, 0, time.Local),
	} {
		if got, err := parseTime("--since", s, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	if _, err := parseTime("--since", "soon", now); err == nil || !strings.Contains(err.Error(), `--since: "soon"`) {
		t.Error(err)
	}
	for s, want := range map[string]int{"all": -1, "": -1, "0": 0, "7": 7, "-1": -1} {
		if got, err := parseTail(s); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	if _, err := parseTail("some"); err == nil {
		t.Error("--tail some")
	}
}

func TestExitCodes(t *testing.T) {
	step := func(errno unix.Errno, exec bool) error {
		return runtime.Failed(&plan.Plan{Steps: []plan.Step{{Verb: "exec", Object: "/x"}}}, 0, errno, exec)
	}
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""},
		{exited(3), 3, ""},
		{fmt.Errorf("run: %w", exited(137)), 137, ""},
		{errors.New("a\nb\tc\x1b[31md\u009b"), 1, "minict: a b c[31md\n"},
		{fmt.Errorf("x: %w", container.ErrInvalid), 1, "minict: x: invalid request\n"},
		{container.ErrSetup, 2, "minict: set-up failed\n"},
		{container.ErrNoCommand, 127, "minict: command not found\n"},
		{container.ErrNotRunnable, 126, "minict: command not executable\n"},
		{fmt.Errorf("pull: %w", context.Canceled), 130, "minict: interrupted\n"},
		{step(unix.ENOENT, true), 127, "minict: exec failed: /x\n"},
	} {
		read, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		a := &app{streams: streams{err: out}}
		code := a.report(c.err)
		out.Close()
		var text bytes.Buffer
		text.ReadFrom(read)
		read.Close()
		if code != c.code || text.String() != c.text {
			t.Errorf("%v: code %d, %q; want %d, %q", c.err, code, text.String(), c.code, c.text)
		}
	}
}

func TestSettings(t *testing.T) {
	path := write(t, "config.yaml", "registries:\n  mirrors: {docker.io: [\"http://127.0.0.1:5000\"]}\n  insecure: [\"10.0.0.1:5000\"]\n  stall_timeout: 30s\n")
	s, err := readSettings(path)
	if err != nil {
		t.Fatal(err)
	}
	if s.Registries.StallTimeout != 30*time.Second || s.Registries.Insecure[0] != "10.0.0.1:5000" {
		t.Errorf("%+v", s)
	}
	r, err := s.registries([]string{"docker.io=http://first", "quay.io=http://second"})
	if err != nil || strings.Join(r.Mirrors["docker.io"], " ") != "http://first http://127.0.0.1:5000" || len(r.Mirrors["quay.io"]) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if len(s.Registries.Mirrors["docker.io"]) != 1 {
		t.Error("the settings have changed")
	}
	for _, bad := range []string{"docker.io", "=x", "docker.io="} {
		if _, err := s.registries([]string{bad}); err == nil {
			t.Errorf("--mirror %s", bad)
		}
	}
	for text, want := range map[string]string{
		"registry: {}\n":                        `:1: unknown key "registry"`,
		"registries:\n  stall_timeout: later\n": ":2: stall_timeout: later is not a duration",
		"registries: x\n":                       ":1: registries: x is not a section",
	} {
		if _, err := readSettings(write(t, "config.yaml", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := readSettings("/nowhere/config.yaml"); err == nil {
		t.Error("a file that is named has to be there")
	}
	t.Setenv("XDG_CONFIG_HOME", filepath.Dir(filepath.Dir(path)))
	if _, err := readSettings(""); err != nil {
		t.Error(err)
	}
}

func TestLogs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	for _, c := range []struct {
		flags logFlags
		want  string
	}{
		{logFlags{format: "text", file: file, level: "warn"}, "level=WARN msg=told"},
		{logFlags{format: "json", file: file}, `"msg":"told"`},
		{logFlags{format: "text"}, ""},
	} {
		l, err := c.flags.open(os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		l.Debug("quiet")
		l.Warn("told")
		c.flags.close()
		content, _ := os.ReadFile(file)
		if !strings.Contains(string(content), c.want) || strings.Contains(string(content), "quiet") {
			t.Errorf("%+v: %s", c.flags, content)
		}
	}
	for _, bad := range []logFlags{{format: "xml"}, {format: "text", level: "loud"}, {format: "text", file: "/nowhere/log"}} {
		if _, err := bad.open(os.Stderr); err == nil || !strings.HasPrefix(err.Error(), "--log-") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// Every command says what it is for, with an example, within the width of a
// terminal, and the tree with one verb is the tree's.
func TestHelp(t *testing.T) {
	a := &app{}
	root := a.command(nil)
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		var b bytes.Buffer
		c.SetOut(&b)
		help(c, nil)
		for line := range strings.Lines(b.String()) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > helpWidth && c.Parent().Name() != "completion" {
				t.Errorf("%s --help: %d characters: %s", c.CommandPath(), n, line)
			}
		}
		if c.Short == "" || !strings.Contains(b.String(), "Usage:\n  "+c.CommandPath()) {
			t.Errorf("%s: %s", c.CommandPath(), b.String())
		}
		if c.Example == "" && c.Parent().Name() != "completion" && c.Name() != "help" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, c := range c.Commands() {
			check(c)
		}
	}
	check(root)
	for _, v := range verbs {
		one := (&app{}).command([]string{v.name})
		if len(one.Commands()) != 1 || one.Commands()[0].Name() != v.name {
			t.Errorf("%s alone: %v", v.name, one.Commands())
		}
	}
}

func BenchmarkCommand(b *testing.B) {
	for name, args := range map[string][]string{"all": nil, "run": {"run"}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				(&app{}).command(args)
			}
		})
	}
}
