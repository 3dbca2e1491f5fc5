package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A directory that serves as root file system needs nothing but the program:
// what things are mounted on is made in it, empty, and a link is followed to
// where nothing is yet. Of one that can't be written to, what is there has to do.
func TestRootfsWithoutFilesOfNames(t *testing.T) {
	h := newHarness(t)
	root := h.rootfs()
	etc := filepath.Join(root, "etc")
	h.must(os.RemoveAll(etc))
	names := func(box string, has ...string) {
		t.Helper()
		got := h.ok("run", "--rm", "-h", box, "--dns", "192.0.2.53", "--rootfs", root, "--", "cat", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
		for _, line := range has {
			if !strings.Contains(got, line) {
				t.Errorf("%q is not in %q", line, got)
			}
		}
	}
	names("box", "box\n", "\tbox\n", "nameserver 192.0.2.53\n")
	for _, name := range []string{"hostname", "hosts", "resolv.conf"} {
		if st, err := os.Lstat(filepath.Join(etc, name)); err != nil || !st.Mode().IsRegular() || st.Size() != 0 {
			t.Errorf("%s: %v, %v, want an empty file", name, st, err)
		}
	}
	h.must(os.Remove(filepath.Join(etc, "resolv.conf")))
	h.must(os.Symlink("../run/systemd/resolve/stub-resolv.conf", filepath.Join(etc, "resolv.conf")))
	names("linked", "nameserver 192.0.2.53\n")

	h.must(os.Remove(filepath.Join(etc, "resolv.conf")))
	h.must(unix.Mount(root, root, "", unix.MS_BIND, ""))
	t.Cleanup(func() { h.must(unix.Unmount(root, unix.MNT_DETACH)) })
	h.must(unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	h.prints("fixed\nhostname\nhosts\n", "run", "--rm", "-h", "fixed", "--rootfs", root, "--", "sh", "-c", "cat /etc/hostname; grep -q fixed /etc/hosts && cd /etc && ls; true")
}

// Who asks for no network is on the default one: an address of its own, and a
// way out, under the host's address.
func TestDefaultNetwork(t *testing.T) {
	h := newHarness(t)
	out := h.neighbour()
	h.sleeper("web")
	address := h.address("web", "bridge")
	gateway := h.field("web", "{{.NetworkSettings.Gateway}}")
	if got := h.ok("exec", "web", "ip", "-4", "-o", "addr", "show", "eth0"); !strings.Contains(got, address+"/") {
		t.Errorf("eth0 is %q, want %s", got, address)
	}
	if got := h.ok("exec", "web", "ip", "route"); !strings.HasPrefix(got, "default via "+gateway+" dev eth0") {
		t.Errorf("routes: %q", got)
	}
	if got := h.ok("exec", "web", "cat", "/etc/hosts"); !strings.Contains(got, "\n"+address+"\t") {
		t.Errorf("hosts: %q", got)
	}
	h.pings("web", gateway)
	h.pings("web", neighbour)

	// From inside to outside, TCP and UDP.
	seen := make(chan string, 1)
	l := h.listen(out, neighbour+":7")
	go func() {
		if c, err := l.Accept(); err == nil {
			from, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprintln(c, "welcome")
			c.Close()
			seen <- from
		}
	}()
	if r := h.run("exec", "web", "nc", "-w", "5", neighbour, "7"); r.stdout != "welcome\n" {
		t.Error(r)
	}
	h.seen(seen, hostAddress)
	echo := h.packets(out, neighbour+":9")
	h.prints("hello\n", "exec", "web", "/probe", probeWord, "ask", neighbour+":9")
	h.seen(echo, hostAddress)

	// Nobody comes in uninvited, not even who knows the way.
	h.ok("exec", "web", "httpd", "-h", "/srv")
	h.gets(place{}, page, "http://"+address+"/")
	h.unreachable(out, "http://"+address+"/")
	h.ok("rm", "-f", "web")
}

// seen is for who tells where a connection or a packet came from.
func (h *harness) seen(from <-chan string, want string) {
	h.t.Helper()
	select {
	case got := <-from:
		if got != want {
			h.t.Errorf("it comes from %s, want %s", got, want)
		}
	case <-time.After(patience):
		h.t.Error("nothing came")
	}
}

// packets answers each packet with itself, and tells who sent it.
func (h *harness) packets(p place, address string) <-chan string {
	h.t.Helper()
	var c net.PacketConn
	h.must(p.do(func() (err error) {
		c, err = net.ListenPacket("udp", address)
		return err
	}))
	h.t.Cleanup(func() { c.Close() })
	from := make(chan string, 16)
	go func() {
		buf := make([]byte, 1500)
		for {
			n, addr, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo(buf[:n], addr)
			host, _, _ := net.SplitHostPort(addr.String())
			from <- host
		}
	}()
	return from
}

func TestNetworkNoneAndHost(t *testing.T) {
	h := newHarness(t)
	if got := h.ok("run", "--rm", "--network", "none", "--rootfs", h.rootfs(), "--", "ip", "-o", "link"); strings.Count(got, "\n") != 1 || !strings.Contains(got, "lo:") {
		t.Errorf("network none has %q", got)
	}
	if _, err := os.Stat(h.State + "/networks"); err == nil {
		t.Error("network none has made something for networks")
	}
	l := h.listen(place{}, "127.0.0.1:7")
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	}()
	h.ok("run", "--rm", "--network", "host", "--rootfs", h.rootfs(), "--", "nc", "-w", "5", "127.0.0.1", "7")
}

func TestPublishedPorts(t *testing.T) {
	h := newHarness(t)
	out := h.neighbour()
	h.serve("web", "-p", "8080:80", "-p", "127.0.0.1:8081:80", "-p", "5000:5000/udp")
	address, gateway := h.address("web", "bridge"), h.field("web", "{{.NetworkSettings.Gateway}}")

	// By the host's addresses, from the host and from outside; who comes from
	// outside is known.
	for _, url := range []string{"http://127.0.0.1:8080", "http://localhost:8080", "http://" + hostAddress + ":8080", "http://" + gateway + ":8080", "http://127.0.0.1:8081"} {
		h.gets(place{}, page, url+"/")
	}
	h.gets(out, page, "http://"+hostAddress+":8080/")
	h.gets(out, neighbour, "http://"+hostAddress+":8080"+client)

	// What is for the host alone stays so, and nobody outside gets to 127/8.
	h.unreachable(out, "http://"+hostAddress+":8081/")
	h.unreachable(out, "http://"+address+":80/")
	h.must(out.do(func() error { return configure("lan", nil, map[string]string{"127.0.0.2/32": hostAddress}) }))
	h.unreachable(out, "http://127.0.0.2:8080/")

	// From another container by the host's address, and from itself.
	h.sleeper("other")
	for _, from := range []string{"other", "web"} {
		h.fetches(page, from, "http://"+hostAddress+":8080/")
		h.fetches(page, from, "http://"+gateway+":8080/")
	}
	h.fetches(h.address("other", "bridge"), "other", "http://"+address+client)

	h.start("exec", "web", "/probe", probeWord, "echo", ":5000").expect("ready")
	for _, from := range []place{{}, out} {
		h.udp(from, hostAddress+":5000")
	}
	h.udp(place{}, "127.0.0.1:5000")
	h.prints("hello\n", "exec", "other", "/probe", probeWord, "ask", hostAddress+":5000")
	h.prints("hello\n", "exec", "other", "/probe", probeWord, "ask", address+":5000")
	h.ok("rm", "-f", "web", "other")
	h.unreachable(place{}, "http://127.0.0.1:8080/")
}

// udp sends a container a packet and gets an answer, from where it was sent to.
func (h *harness) udp(from place, to string) {
	h.t.Helper()
	c, err := from.dial("udp", to)
	h.must(err)
	defer c.Close()
	if got, err := ask(c); err != nil || got != "hello" {
		h.t.Errorf("udp %s: %q, %v", to, got, err)
	}
}

func TestPortsAreShown(t *testing.T) {
	h := newHarness(t)
	h.sleeper("web", "-p", "8080:80", "-p", "7000-7002:7000-7002", "-p", "127.0.0.1:53:53/udp", "--expose", "9/udp")
	h.prints("53/udp -> 127.0.0.1:53\n80/tcp -> 0.0.0.0:8080\n7000/tcp -> 0.0.0.0:7000\n7001/tcp -> 0.0.0.0:7001\n7002/tcp -> 0.0.0.0:7002\n", "port", "web")
	h.prints("0.0.0.0:8080\n", "port", "web", "80")
	h.prints("127.0.0.1:53\n", "port", "web", "53/udp")
	h.fails(1, []string{"81/tcp", "web"}, "port", "web", "81")
	h.prints("9/udp, 127.0.0.1:53->53/udp, 0.0.0.0:7000-7002->7000-7002/tcp, 0.0.0.0:8080->80/tcp\n", "ps", "--format", "{{.Ports}}")
	for filter, found := range map[string]bool{
		"publish=8080": true, "publish=80": false, "publish=53/udp": true, "expose=80": true, "expose=9/udp": true, "expose=8080": false,
		"network=bridge": true, "network=none": false,
	} {
		want := ""
		if found {
			want = "web\n"
		}
		h.prints(want, "ps", "--filter", filter, "--format", "{{.Names}}")
	}
	if got := h.field("web", `{{json (index .NetworkSettings.Ports "80/tcp")}} {{json (index .HostConfig.PortBindings "53/udp")}} {{json (index .NetworkSettings.Ports "9/udp")}}`); got !=
		`[{"HostIp":"0.0.0.0","HostPort":"8080"}] [{"HostIp":"127.0.0.1","HostPort":"53"}] null` {
		t.Errorf("inspect: %s", got)
	}
	h.ok("stop", "-t", "0", "web")
	h.prints("", "port", "web")
	h.prints("\n", "ps", "-a", "--format", "{{.Ports}}")
	h.ok("rm", "web")
}

// What an image exposes is published by -P.
func TestPublishAll(t *testing.T) {
	h := newHarness(t)
	h.serve("web", "-P", "--expose", "80")
	port := h.field("web", `{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}`)
	h.gets(place{}, page, "http://127.0.0.1:"+port+"/")
	h.ok("stop", "-t", "0", "web")
	h.ok("start", "web")
	h.ok("exec", "web", "httpd", "-h", "/srv")
	port = h.field("web", `{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}`)
	h.gets(place{}, page, "http://127.0.0.1:"+port+"/")
	h.ok("rm", "-f", "web")
}

// A port that is taken is an error before the container starts.
func TestTakenPorts(t *testing.T) {
	h := newHarness(t)
	l := h.listen(place{}, "127.0.0.1:8080")
	h.fails(1, []string{"8080"}, "run", "-d", "--name", "web", "-p", "8080:80", "--rootfs", h.rootfs(), "--", "sleep", "1000")
	h.prints("", "ps", "-a", "-q")
	l.Close()
	h.sleeper("web", "-p", "8080:80")
	h.fails(1, []string{"8080"}, "run", "--rm", "-p", "8080:80", "--rootfs", h.rootfs(), "--", "true")
	h.fails(1, []string{"8080"}, "run", "--rm", "-p", "127.0.0.1:8080:81", "--rootfs", h.rootfs(), "--", "true")
	h.ok("create", "--name", "late", "-p", "8080:80", "--rootfs", h.rootfs(), "--", "sleep", "1000")
	h.fails(1, []string{"8080"}, "start", "late")
	h.ok("rm", "-f", "web")
	h.ok("start", "late")
	h.ok("rm", "-f", "late")
}

// Of a range of ports a container gets the first that is free, at each start.
func TestRangesOfPorts(t *testing.T) {
	h := newHarness(t)
	h.listen(place{}, "127.0.0.1:8001")
	const ports = "8000-8002:80"
	root := h.site()
	for i, want := range []string{"0.0.0.0:8000\n", "0.0.0.0:8002\n"} {
		name := fmt.Sprint("web", i)
		h.serve(name, "-p", ports)
		h.prints(want, "port", name, "80")
	}
	h.gets(place{}, page, "http://127.0.0.1:8000/")
	h.gets(place{}, page, "http://127.0.0.1:8002/")
	h.prints("8000-8002\n", "inspect", "--format", `{{(index (index .HostConfig.PortBindings "80/tcp") 0).HostPort}}`, "web1")
	h.fails(1, []string{"ports 0.0.0.0:8000-8002/tcp are all in use"}, "run", "-p", ports, "--rootfs", root, "--", "echo", "started")
	h.prints("web1\nweb0\n", "ps", "-a", "--format", "{{.Names}}")
	h.ok("rm", "-f", "web0")
	h.ok("restart", "-t", "0", "web1")
	h.prints("0.0.0.0:8000\n", "port", "web1", "80")
	h.ok("rm", "-f", "web1")

	h.sleeper("udp", "-p", "127.0.0.1:8001-8009:53/udp", "-p", "8001:53/udp")
	h.prints("53/udp -> 0.0.0.0:8001\n53/udp -> 127.0.0.1:8002\n", "port", "udp")
	h.start("exec", "udp", "/probe", probeWord, "echo", ":53").expect("ready")
	h.udp(place{}, "127.0.0.1:8002")
	h.ok("rm", "-f", "udp")
}

// A network of one's own: names, and nothing to do with other networks.
func TestNetworksOfUsers(t *testing.T) {
	h := newHarness(t)
	out := h.neighbour()
	h.ok("network", "create", "front")
	h.ok("network", "create", "back")
	h.serve("web", "--network", "front", "-p", "8080:80", "--network-alias", "www")
	h.sleeper("db", "--network", "back")
	h.sleeper("app", "--network", "front", "--network", "back")

	// Names of those on the same network, and of no other.
	short := h.inspect("web").ID[:12]
	for _, name := range []string{"web", "www", "WEB", short} {
		h.fetches(page, "app", "http://"+name+"/")
	}
	h.pings("app", "db")
	h.pings("db", "app")
	h.pings("web", "app")
	h.cut("db", "http://web/")
	if r := h.run("exec", "db", "nslookup", "web"); r.code == 0 {
		t.Errorf("db knows web: %v", r)
	}

	// Between networks there is no way but by a published port.
	h.cut("db", "http://"+h.address("web", "front")+"/")
	if r := h.run("exec", "db", "ping", "-c", "1", "-W", "1", h.address("web", "front")); r.code == 0 {
		t.Errorf("db reaches web: %v", r)
	}
	h.fetches(page, "db", "http://"+hostAddress+":8080/")
	h.gets(out, page, "http://"+hostAddress+":8080/")
	h.pings("db", neighbour)

	// Names come and go with containers, and have to be no container's on the
	// default network.
	h.ok("rm", "-f", "web")
	if r := h.run("exec", "app", "nslookup", "web"); r.code == 0 {
		t.Errorf("app still knows web: %v", r)
	}
	h.serve("web", "--network", "front")
	h.fetches(page, "app", "http://web/")
	h.sleeper("plain")
	h.cut("plain", "http://web/")

	h.fails(1, []string{"front", "web"}, "network", "rm", "front")
	h.ok("rm", "-f", "web", "db", "app", "plain")
	h.prints("front\nback\n", "network", "rm", "front", "back")
	h.fails(1, []string{"front"}, "run", "--rm", "--network", "front", "--rootfs", h.rootfs(), "--", "true")
}

func TestInternalNetwork(t *testing.T) {
	h := newHarness(t)
	out := h.neighbour()
	server := h.nameServer(out)
	h.ok("network", "create", "--internal", "vault")
	h.fails(1, []string{"80/tcp", "no network that goes out"}, "run", "--rm", "--network", "vault", "-p", "8080:80", "--rootfs", h.site(), "--", "true")
	h.serve("web", "--network", "vault", "--dns", server)
	h.sleeper("app", "--network", "vault", "--dns", server)
	h.fetches(page, "app", "http://web/")
	if r := h.run("exec", "app", "ping", "-c", "1", "-W", "1", neighbour); r.code == 0 {
		t.Errorf("a way out: %v", r)
	}
	if r := h.run("exec", "app", "nslookup", "outside.example"); r.code == 0 {
		t.Errorf("a way out by names: %v", r)
	}
	h.unreachable(out, "http://"+h.address("web", "vault")+"/")
	h.ok("rm", "-f", "web", "app")
	h.ok("network", "rm", "vault")
}

func TestIPv6(t *testing.T) {
	h := newHarness(t)
	out := h.neighbour()
	h.ok("network", "create", "--ipv6", "--subnet", "fd00:9::/64", "six")
	h.serve("web", "--network", "six", "--ip6", "fd00:9::99", "-p", "8080:80")
	h.sleeper("app", "--network", "six")
	if got := h.field("web", `{{.NetworkSettings.Networks.six.GlobalIPv6Address}}`); got != "fd00:9::99" {
		t.Errorf("web has the address %q", got)
	}
	h.fetches(page, "app", "http://[fd00:9::99]/")
	h.pings("app", "fd00:9::99")
	h.pings("app", neighbourAddress6)
	for _, address := range []string{"127.0.0.1", "[" + hostAddress6 + "]", hostAddress} {
		h.gets(place{}, page, "http://"+address+":8080/")
	}
	h.gets(out, page, "http://["+hostAddress6+"]:8080/")
	h.gets(out, neighbourAddress6, "http://["+hostAddress6+"]:8080"+client)
	h.unreachable(out, "http://[fd00:9::99]/")
	if got := h.ok("port", "web"); got != "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n" {
		t.Errorf("ports: %q", got)
	}
	h.ok("rm", "-f", "web", "app")
	h.ok("network", "rm", "six")
}

func TestChosenAddresses(t *testing.T) {
	h := newHarness(t)
	h.ok("network", "create", "--subnet", "10.99.0.0/24", "--gateway", "10.99.0.254", "--ip-range", "10.99.0.128/25", "lan9")
	run := []string{"run", "-d", "--name", "web", "--network", "lan9", "--ip", "10.99.0.7", "--mac-address", "02:11:22:33:44:55"}
	h.ok(append(run, "--rootfs", h.rootfs(), "--", "sleep", "1000")...)
	got := h.ok("exec", "web", "ip", "addr", "show", "eth0")
	if !strings.Contains(got, "02:11:22:33:44:55") || !strings.Contains(got, "10.99.0.7/24") {
		t.Errorf("eth0 is %q", got)
	}
	if gw := h.field("web", "{{.NetworkSettings.Gateway}}"); gw != "10.99.0.254" {
		t.Errorf("gateway %s", gw)
	}
	h.sleeper("any", "--network", "lan9")
	if a := h.address("any", "lan9"); !strings.HasPrefix(a, "10.99.0.1") && !strings.HasPrefix(a, "10.99.0.2") || len(a) != len("10.99.0.128") {
		t.Errorf("%s is not of the range", a)
	}
	for _, bad := range [][]string{{"10.99.0.7", "10.99.0.7"}, {"10.98.0.7", "10.98.0.7"}, {"10.99.0.254", "10.99.0.254"}, {"10.99.0.255", "10.99.0.255"}} {
		h.fails(1, bad[1:], "run", "--rm", "--network", "lan9", "--ip", bad[0], "--rootfs", h.rootfs(), "--", "true")
	}
	h.fails(1, []string{"10.99.0.0/25", "lan9"}, "network", "create", "--subnet", "10.99.0.0/25", "again")
	// What was wished for is had again.
	h.ok("restart", "-t", "0", "web")
	if a := h.address("web", "lan9"); a != "10.99.0.7" {
		t.Errorf("after a restart: %s", a)
	}
	h.ok("rm", "-f", "web", "any")
	h.ok("network", "rm", "lan9")
}

func TestExhaustedNetwork(t *testing.T) {
	h := newHarness(t)
	h.ok("network", "create", "--subnet", "10.99.0.0/30", "tiny")
	h.sleeper("one", "--network", "tiny")
	h.fails(2, []string{"tiny"}, "run", "--rm", "--network", "tiny", "--rootfs", h.rootfs(), "--", "true")
	h.ok("rm", "-f", "one")
	h.ok("run", "--rm", "--network", "tiny", "--rootfs", h.rootfs(), "--", "true")
	h.ok("network", "rm", "tiny")
}
