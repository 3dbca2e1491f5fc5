package runtime

import (
	"errors"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	goruntime "runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/runtime/launch"
)

// ownNetwork gives a test a network namespace without anything in it. Its
// thread ends with it.
func ownNetwork(t *testing.T) {
	t.Helper()
	goruntime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

// ip runs Debian's ip(8) in the test's network namespace.
func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
	return string(out)
}

// moved runs a container with devices and gives what it says.
func moved(t *testing.T, script string, devices map[string]specs.LinuxNetDevice) (result, error) {
	t.Helper()
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	spec := ordinary(bundle(t), script)
	spec.Linux.NetDevices = devices
	p, err := Compile(spec, host, Options{})
	if err != nil {
		return result{}, err
	}
	var moving error
	r, err := launchPaused(t, p, nil, func(pause uint32, c *launch.Child) error {
		if pause != PauseCreateRuntime {
			t.Errorf("pause %d", pause)
		}
		moving = MoveNetDevices(spec.Linux.NetDevices, c.Pid, c.Pidfd)
		return nil
	})
	return r, errors.Join(moving, err)
}

func TestNetDevices(t *testing.T) {
	ownNetwork(t)
	ip(t, "link", "add", "one", "type", "veth", "peer", "name", "one-p")
	ip(t, "link", "add", "two", "type", "veth", "peer", "name", "two-p")
	ip(t, "link", "add", "three", "type", "veth", "peer", "name", "three-p")
	ip(t, "addr", "add", "10.9.8.7/24", "brd", "10.9.8.255", "dev", "one")
	ip(t, "addr", "add", "10.9.8.8/24", "dev", "one")
	ip(t, "addr", "add", "fd00::9/64", "dev", "one", "nodad")
	ip(t, "addr", "add", "169.254.1.1/16", "scope", "link", "dev", "one")
	ip(t, "link", "set", "one", "up")
	r, err := moved(t, "ip -o addr | grep -v ' lo ' | sed 's/ *inet/inet/;s/scope.*//' | cut -d: -f2-; ip -o link | grep -c '[<,]UP'", map[string]specs.LinuxNetDevice{
		"one": {Name: "eth0"}, "two": {}, "three": {Name: "net%d"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"eth0inet 10.9.8.7/24 brd 10.9.8.255", "eth0inet 10.9.8.8/24", "eth0inet6 fd00::9/64"} {
		if !strings.Contains(strings.ReplaceAll(r.stdout, " eth0 ", "eth0"), want) {
			t.Errorf("%q is not in %q", want, r.stdout)
		}
	}
	if strings.Contains(r.stdout, "169.254") || !strings.HasSuffix(r.stdout, "\n4\n") {
		t.Errorf("got %q", r.stdout)
	}
	left, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(left, func(i net.Interface) bool { return !strings.HasSuffix(i.Name, "-p") && i.Name != "lo" }) {
		t.Errorf("left behind: %v", left)
	}
}

func TestNetDevicesRefused(t *testing.T) {
	ownNetwork(t)
	ip(t, "link", "add", "one", "type", "veth", "peer", "name", "one-p")
	for name, tt := range map[string]struct {
		devices map[string]specs.LinuxNetDevice
		want    error
	}{
		"missing":   {map[string]specs.LinuxNetDevice{"none": {}}, unix.ENODEV},
		"occupied":  {map[string]specs.LinuxNetDevice{"one": {Name: "lo"}}, unix.EEXIST},
		"immovable": {map[string]specs.LinuxNetDevice{"lo": {Name: "lo2"}}, unix.EINVAL},
		"bad name":  {map[string]specs.LinuxNetDevice{"one": {Name: "a/b"}}, ErrSpec},
		"long name": {map[string]specs.LinuxNetDevice{"one": {Name: strings.Repeat("n", 16)}}, ErrSpec},
		"pattern":   {map[string]specs.LinuxNetDevice{"one": {Name: "%s"}}, ErrSpec},
		"twice":     {map[string]specs.LinuxNetDevice{"one": {Name: "x"}, "one-p": {Name: "x"}}, ErrSpec},
	} {
		if _, err := moved(t, "true", tt.devices); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
	ip(t, "link", "show", "one") // is still there
	spec := ordinary("/rootfs", "true")
	spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"one": {}}
	spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == specs.NetworkNamespace })
	if _, err := Compile(spec, Host{LastCap: 40}, Options{}); !errors.Is(err, ErrSpec) {
		t.Errorf("without a namespace: got %v", err)
	}
}
