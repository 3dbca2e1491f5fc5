package cgroup

import (
	"reflect"
	"testing"
)

func TestReadMounts(t *testing.T) {
	tests := []struct {
		name, in string
		want     Layout
	}{
		{"hybrid", `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`, Layout{Unified: "/sys/fs/cgroup/unified", V1: []Hierarchy{{"/sys/fs/cgroup/cpu,cpuacct", CPU | CPUAcct}, {"/sys/fs/cgroup/blkio", IO}}}},
		{"twice", "1 1 0:1 / /a rw - cgroup cgroup rw,pids\n2 1 0:1 /x /b rw - cgroup cgroup rw,pids\n", Layout{V1: []Hierarchy{{"/a", Pids}}}},
		{"unified first", "1 1 0:1 / /u rw - cgroup2 none rw\n2 1 0:1 / /d rw - cgroup cgroup rw,devices\n", Layout{Unified: "/u", V1: []Hierarchy{{"/d", Devices}}}},
		{"escapes", `1 1 0:1 / /a\040b\134c rw - cgroup2 none rw`, Layout{Unified: `/a b\c`}},
		{"pretender", "1 1 0:1 / /a rw - fuse.cgroup cgroup rw,pids\n1 1 0:1 / /b\n - cgroup\n", Layout{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var l Layout
			l.readMounts(tt.in)
			if !reflect.DeepEqual(l, tt.want) {
				t.Errorf("got %+v, want %+v", l, tt.want)
			}
		})
	}
}

func FuzzReadMounts(f *testing.F) {
	f.Add("32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n41 31 0:38 / /a\\040b rw - cgroup2 cgroup2 rw\n")
	f.Add(`1 1 0:1 / \777\1 rw - cgroup x pids`)
	f.Fuzz(func(t *testing.T, in string) {
		var l Layout
		l.readMounts(in)
		var seen Set
		for _, h := range l.V1 {
			if h.Controllers == 0 || h.Controllers&seen != 0 {
				t.Fatalf("no or double controllers: %+v", l)
			}
			seen |= h.Controllers
		}
	})
}

func FuzzParseRule(f *testing.F) {
	f.Add("c 1:3 rwm\n")
	f.Add("b *:* m")
	f.Fuzz(func(t *testing.T, in string) {
		r, err := parseRule(in)
		if err != nil {
			return
		}
		again, err := parseRule(r.String())
		if err != nil || again != r {
			t.Fatalf("%q gives %v, which gives %v, %v", in, r, again, err)
		}
	})
}

func TestSets(t *testing.T) {
	s := parseSet("cpuset cpu io memory newthing pids\n", " ")
	if s != CPUSet|CPU|IO|Memory|Pids {
		t.Errorf("got %v", s)
	}
	if got := s.join("+"); got != "+cpu +cpuset +memory +pids +io" {
		t.Errorf("got %q", got)
	}
	if parseSet("", " ") != 0 {
		t.Error("nothing is not an empty set")
	}
}

func TestOOMFile(t *testing.T) {
	for want, l := range map[string]Layout{
		"/sys/fs/cgroup/minict/x/memory.events":             pure,
		"/sys/fs/cgroup/memory/minict/x/memory.oom_control": hybrid,
		"": {Unified: "/u"},
	} {
		if file, _ := l.OOMFile("/minict/x"); file != want {
			t.Errorf("got %q, want %q", file, want)
		}
	}
}
