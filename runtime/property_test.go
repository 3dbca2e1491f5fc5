package runtime

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"minict/runtime/launch"
)

// For whatever valid specification, the plan's steps come in an order that the
// kernel accepts, and if any of them fails, all that came before is undone: no
// mount is left, no cgroup, no process.
func TestAnyPlanRunsOrIsUndone(t *testing.T) {
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	ownMounts(t)
	g := generator{bind: t.TempDir()}
	plain := ordinary(bundle(t), "echo up; exec sleep 1000")
	g.plain = pidOf(t, sleeper(t, plain))
	pod := ordinary(bundle(t), "echo up; exec sleep 1000")
	ownUsers(t)(pod)
	g.pod = pidOf(t, sleeper(t, pod))
	root, usersRoot := bundle(t), bundle(t)
	ownUsers(t)(ordinary(usersRoot, ""))

	const count, brokenSpecs = 100, 5 // so many are run, so many are broken
	mounts, children := hostMounts(t), childrenOf(t)
	broken := 0
	for seed := range uint64(count) {
		spec := ordinary(root, "exit 0")
		spec.Linux.CgroupsPath = fmt.Sprintf("/minict/runtime-property-test-%d", os.Getpid())
		g.rand = rand.New(rand.NewPCG(seed, 0))
		g.change(spec)
		if g.users != 0 {
			spec.Root.Path = usersRoot
		}
		described := fmt.Sprintf("seed %d: %s", seed, g.said())
		opt := Options{NoPivot: g.one(5), NoNewKeyring: g.one(3), Outlive: g.one(2)}
		intact := func() {
			t.Helper()
			if left := mountsSince(t, mounts); left != "" {
				t.Fatalf("%s: left behind:\n%s", described, left)
			}
			if after := childrenOf(t); after != children {
				t.Fatalf("%s: the children changed from %s to %s", described, children, after)
			}
			noGroup(t, host.Cgroup, spec.Linux.CgroupsPath)
		}
		pause := func(number uint32, c *launch.Child) error {
			if number == PauseMappings {
				return Prepare(spec, c.Pid)
			}
			return nil
		}
		p, err := Compile(spec, host, opt)
		if err != nil {
			t.Fatalf("%s: %v", described, err)
		}
		if r, err := launchPaused(t, p, nil, pause); err != nil || r.status != 0 {
			t.Errorf("%s: %v, status %#x, %s", described, err, r.status, r.stderr)
			continue
		}
		intact()
		if seed >= brokenSpecs {
			continue
		}
		last := -1
		for _, k := range places(p) {
			if step := int(p.Ops(k.phase)[k.at].Step); step == last && !g.one(8) {
				continue // each step fails somewhere, and many in several places
			} else {
				last = step
			}
			again, err := Compile(spec, host, opt)
			if err != nil {
				t.Fatal(err)
			}
			if fails(t, again, k, nil, pause) {
				broken++
			}
			intact()
			if t.Failed() {
				t.Fatalf("%s: operation %v", described, k)
			}
		}
	}
	t.Logf("%d operations failed", broken)
}

// generator changes an ordinary specification at random into another valid one.
type generator struct {
	rand       *rand.Rand
	plain, pod int    // processes whose namespaces can be joined; the pod has its own users
	bind       string // a directory to be bound
	users      int    // 0: the host's, 1: new, 2: the pod's
	words      []string
}

// one is true once in n times.
func (g *generator) one(n int) bool { return g.rand.IntN(n) == 0 }

func (g *generator) say(format string, args ...any) {
	g.words = append(g.words, fmt.Sprintf(format, args...))
}

func (g *generator) said() string { return strings.Join(g.words, ", ") }

func (g *generator) change(s *specs.Spec) {
	g.words, g.users = nil, g.rand.IntN(3)
	g.namespaces(s)
	g.mounts(s)
	g.process(s)
	limit := int64(100)
	if g.one(2) {
		s.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}
	}
	if g.one(3) {
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/true"}}, CreateContainer: []specs.Hook{{Path: "/bin/true"}}}
	}
	s.Root.Readonly = g.one(3)
}

// namespaces makes, joins or shares each, as far as the kernel allows it with
// the users that the container has.
func (g *generator) namespaces(s *specs.Spec) {
	s.Linux.Namespaces = nil
	add := func(kind specs.LinuxNamespaceType, pid int) {
		ns := specs.LinuxNamespace{Type: kind}
		if pid != 0 {
			ns.Path = fmt.Sprintf("/proc/%d/ns/%s", pid, files[kind])
		}
		g.say("%s %s", kind, map[bool]string{true: "new", false: "joined"}[pid == 0])
		s.Linux.Namespaces = append(s.Linux.Namespaces, ns)
	}
	if g.users != 0 || !g.one(6) {
		add(specs.MountNamespace, 0)
	}
	other := g.plain
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: firstID, Size: 65536}}
	switch g.users {
	case 1:
		add(specs.UserNamespace, 0)
		s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
	case 2:
		add(specs.UserNamespace, g.pod)
		other = g.pod
	}
	for _, kind := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.UTSNamespace, specs.IPCNamespace, specs.NetworkNamespace, specs.CgroupNamespace} {
		switch n := g.rand.IntN(4); {
		case n == 0 && !(g.users != 0 && kind == specs.CgroupNamespace):
			// shared with the caller
		case n == 1 && !(g.users == 1 && (kind == specs.PIDNamespace || kind == specs.CgroupNamespace)):
			add(kind, other)
		default:
			add(kind, 0)
		}
	}
	if g.one(3) {
		add(specs.TimeNamespace, 0)
		s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 77}}
	}
	g.rand.Shuffle(len(s.Linux.Namespaces), func(i, j int) {
		s.Linux.Namespaces[i], s.Linux.Namespaces[j] = s.Linux.Namespaces[j], s.Linux.Namespaces[i]
	})
	s.Hostname = ""
	if g.fresh(s, specs.UTSNamespace) {
		s.Hostname, s.Domainname = "box", "example.org"
	}
	if g.fresh(s, specs.NetworkNamespace) && g.one(2) {
		s.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"}
	}
}

func (g *generator) fresh(s *specs.Spec, kind specs.LinuxNamespaceType) bool {
	return slices.Contains(s.Linux.Namespaces, specs.LinuxNamespace{Type: kind})
}

// mounts takes some away, and adds some.
func (g *generator) mounts(s *specs.Spec) {
	queues := g.fresh(s, specs.IPCNamespace)
	s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool {
		// The host's queues would stand in for those, and it may have none.
		return m.Type == "mqueue" && !queues || m.Type != "proc" && m.Destination != "/sys" && m.Destination != "/dev" && g.one(4)
	})
	for i := range g.rand.IntN(4) {
		options := []string{"rbind"}
		for _, pair := range [][2]string{{"ro", "rw"}, {"nosuid", "suid"}, {"noexec", "exec"}, {"rslave", "rprivate"}, {"rro", "rnodev"}} {
			if g.one(2) {
				options = append(options, pair[g.rand.IntN(2)])
			}
		}
		s.Mounts = append(s.Mounts, specs.Mount{Destination: filepath.Join("/mnt", fmt.Sprint(i)), Source: g.bind, Options: options})
		g.say("bind %v", options)
	}
	if g.one(2) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=1777", "size=64k", "noexec"}})
	}
	if g.one(3) {
		s.Linux.MaskedPaths = nil
	}
	if g.one(3) {
		s.Linux.ReadonlyPaths = append(s.Linux.ReadonlyPaths, "/etc", "/missing")
	}
}

func (g *generator) process(s *specs.Spec) {
	p := s.Process
	if g.one(2) {
		p.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{10, 20}}
	}
	p.NoNewPrivileges = g.one(2)
	if g.one(2) {
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64}}
	}
	if g.one(2) {
		adj := g.rand.IntN(1000)
		p.OOMScoreAdj = &adj
	}
	if g.one(2) {
		p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 64, Hard: 128}, {Type: "RLIMIT_CORE"}}
	}
	if g.one(3) {
		p.Capabilities = nil
	}
	if g.one(3) {
		p.Cwd = "/tmp"
	}
}

// childrenOf gives the processes that this one is the parent of.
func childrenOf(t *testing.T) string {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range lists {
		raw, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) { // a thread of the Go runtime that has ended
			t.Fatal(err)
		}
		all = append(all, strings.Fields(string(raw))...)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
