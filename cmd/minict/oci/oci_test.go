package oci

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"minict/runtime"
	"minict/runtime/cgroup"
	"minict/runtime/seccomp"
)

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		argv, want string
		ok         bool
	}{
		{"minict-oci state c", "state c", true}, {"/usr/bin/minict-oci", "", true}, {"minict oci state c", "state c", true},
		{"minict oci", "", true}, {"minict run oci", "", false}, {"minict", "", false}, {"minict-ocix state", "", false},
	} {
		got, ok := Arguments(strings.Fields(c.argv))
		if ok != c.ok || strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, %v", c.argv, got, ok)
		}
	}
	if _, ok := Arguments(nil); ok {
		t.Error("no arguments at all are taken for a command")
	}
}

func TestFlags(t *testing.T) {
	type values struct {
		text, short string
		number      int
		bool        bool
		list        []string
	}
	parse := func(program bool, args ...string) (v values, rest []string, f *flags, err error) {
		f = newFlags("test")
		f.text(&v.text, "text", "", "otherwise", "a `word`")
		f.text(&v.short, "bundle", "b", "", "")
		f.number(&v.number, "number", "", "")
		f.bool(&v.bool, "bool", "d", "")
		f.texts(&v.list, "list", "l", "")
		rest, err = f.parse(args, program)
		return v, rest, f, err
	}
	v, rest, f, err := parse(false, "a", "--text=x", "-b", "y", "b", "--number", "3", "-d", "--list", "1", "-l", "2", "--", "-c", "--text")
	if err != nil || v.text != "x" || v.short != "y" || v.number != 3 || !v.bool || !slices.Equal(v.list, []string{"1", "2"}) ||
		!slices.Equal(rest, []string{"a", "b", "-c", "--text"}) {
		t.Errorf("%+v, %q, %v", v, rest, err)
	}
	if !f.given("bundle") || !f.given("text") || !f.given("list") {
		t.Error("what is given is not known as given")
	}
	v, rest, f, err = parse(true, "-d", "c", "--text", "-b")
	if err != nil || !v.bool || v.text != "otherwise" || f.given("text") || !slices.Equal(rest, []string{"c", "--text", "-b"}) {
		t.Errorf("%+v, %q, %v", v, rest, err)
	}
	for _, args := range [][]string{{"--nothing"}, {"--number", "x"}, {"--bool=x"}, {"--text"}} {
		if _, _, _, err := parse(false, args...); err == nil || errors.Is(err, errHelp) {
			t.Errorf("%q: %v", args, err)
		}
	}
	if _, _, _, err := parse(false, "--help"); !errors.Is(err, errHelp) {
		t.Errorf("help: %v", err)
	}
}

func TestSetEnv(t *testing.T) {
	env := []string{"A=1", "AB=2"}
	for _, v := range []string{"A=3", "C=4", "AB=", "D"} {
		env = setEnv(env, v)
	}
	if want := []string{"A=3", "AB=", "C=4", "D"}; !slices.Equal(env, want) {
		t.Errorf("%q, want %q", env, want)
	}
}

func TestParseID(t *testing.T) {
	for s, want := range map[string]uint32{"0": 0, "1000": 1000, "2147483647": 1<<31 - 1} {
		if got, err := parseID(s); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "-1", "+1", " 1", "1 ", "0x1", "1e3", "2147483648", "4294967296", "root"} {
		if got, err := parseID(s); err == nil {
			t.Errorf("%q: %d", s, got)
		}
	}
}

// What features promises of seccomp, package seccomp compiles.
func TestPromisedSeccomp(t *testing.T) {
	for _, action := range seccomp.Actions {
		for _, op := range seccomp.Operators {
			profile := &specs.LinuxSeccomp{
				DefaultAction: specs.ActAllow, ListenerPath: "/listener", Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
				Syscalls: []specs.LinuxSyscall{{
					Names: []string{"mkdir"}, Action: action,
					Args: []specs.LinuxSeccompArg{{Index: 1, Value: 7, ValueTwo: 1, Op: op}},
				}},
			}
			if _, _, err := seccomp.Compile(profile, "amd64"); err != nil {
				t.Errorf("%s %s: %v", action, op, err)
			}
		}
	}
}

// What spec proposes is what a container can be made of.
func TestProposals(t *testing.T) {
	host := runtime.Host{LastCap: 40, Cgroup: cgroup.Layout{Unified: "/sys/fs/cgroup"}}
	for _, rootless := range []bool{false, true} {
		spec := proposal()
		if rootless {
			withoutRoot(spec, 1000, 1000)
		}
		if _, err := runtime.Compile(spec, host, runtime.Options{Bundle: "/bundle", Gate: true}); err != nil {
			t.Errorf("rootless %v: %v", rootless, err)
		}
		for _, m := range spec.Mounts {
			for _, option := range m.Options {
				name, _, value := strings.Cut(option, "=")
				if !value && !slices.Contains(runtime.MountOptions(), name) && name != "newinstance" {
					t.Errorf("%s: option %s is not known", m.Destination, option)
				}
			}
		}
	}
}
