package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Containers that start at once all get an address, and no two the same one,
// though each of them may be the one that makes the bridge.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	const many = 50
	guests := make([]*guest, many)
	requests := make([]Request, many)
	for i := range many {
		requests[i], guests[i] = w.container(fmt.Sprintf("c%d", i))
		requests[i].Wishes = []Wish{{Network: Default}}
		requests[i].Ports = []Port{tcp(0, 80)}
	}
	managers := [2]*Manager{w.Manager, {Root: w.Root, State: w.State, Containers: w.Containers, Alive: w.Alive}}
	var all sync.WaitGroup
	errs := make([]error, many)
	for i := range many {
		all.Go(func() { guests[i].Attached, errs[i] = managers[i%2].Attach(t.Context(), requests[i]) })
	}
	all.Wait()
	w.must(errors.Join(errs...))
	addresses, ports := map[string]bool{}, map[uint16]bool{}
	for _, g := range guests {
		t.Cleanup(g.close)
		addresses[g.ip()], ports[g.Ports[0].Host] = true, true
	}
	if len(addresses) != many || len(ports) != many {
		t.Errorf("%d containers have %d addresses and %d ports", many, len(addresses), len(ports))
	}
	guests[0].serve("tcp", 80, "first")
	w.outside.reaches("tcp", fmt.Sprintf("%s:%d", home4, guests[0].Ports[0].Host), "first "+outside4)
	guests[many-1].reaches("tcp", guests[0].ip()+":80", "first "+guests[many-1].ip())

	// They end at once too, while others begin.
	for i := range many {
		all.Go(func() { errs[i] = w.Release(guests[i].dir) })
		if i%5 == 0 {
			all.Go(func() { w.attach(fmt.Sprintf("d%d", i), nil, Default) })
		}
	}
	all.Wait()
	w.must(errors.Join(errs...))
}

// An address and a port that a killed container had are free for the next,
// and what was the dead one's does not lead to it.
func TestDeadHolders(t *testing.T) {
	w := newWorld(t)
	w.create(Options{Name: "tiny", Subnets: []Subnet{{Prefix: netip.MustParsePrefix("10.9.0.0/30")}}})
	first := w.attach("first", []Port{tcp(8080, 80), udp(8080, 80)}, "tiny")
	r, second := w.container("second")
	r.Wishes, r.Ports = []Wish{{Network: "tiny"}}, []Port{tcp(9090, 80)}
	_, err := w.Attach(t.Context(), r)
	wantError(t, err, ErrExhausted, "network tiny has no free address in 10.9.0.0/30")

	first.die()
	second.Attached, err = w.Attach(t.Context(), r)
	w.must(err)
	t.Cleanup(second.close)
	if second.ip() != first.ip() {
		t.Errorf("address %s, want %s", second.ip(), first.ip())
	}
	for _, protocol := range []string{"tcp", "udp"} {
		second.serve(protocol, 80, "second")
		w.outside.misses(protocol, home4+":8080")
	}
	w.outside.reaches("tcp", home4+":9090", "second "+outside4)
	if names, _ := readNames(w.names("tiny")); len(names) != 2 { // second, and its id
		t.Errorf("names %q, want those of the second alone", names)
	}
	// The sweep comes late, and takes nothing from the second.
	w.must(w.Release(first.dir))
	w.outside.reaches("tcp", home4+":9090", "second "+outside4)
}

// A port is the last one's who has it, even if the rules still have an entry
// of one who died, and its late release leaves it alone.
func TestStalePort(t *testing.T) {
	w := newWorld(t)
	first := w.attach("first", []Port{tcp(8080, 80), udp(8080, 80)}, Default)
	first.serve("udp", 80, "first")
	// A client that goes on from the same port has a connection that the
	// rules decided on when it began.
	client := w.client(home4 + ":8080")
	client.wants("first " + outside4)
	first.die()
	second := w.attach("second", []Port{tcp(8080, 80), udp(8080, 80)}, Default)
	second.serve("tcp", 80, "second")
	second.serve("udp", 80, "second")
	w.must(w.Release(first.dir))
	w.outside.reaches("tcp", home4+":8080", "second "+outside4)
	client.wants("second " + outside4)
}

// A client that sends before the container is there reaches it afterwards.
func TestEarlyClient(t *testing.T) {
	w := newWorld(t)
	w.attach("other", nil, Default)
	client := w.client(home4 + ":8080")
	client.send()
	web := w.attach("web", []Port{udp(8080, 80)}, Default)
	web.serve("udp", 80, "web")
	client.wants("web " + outside4)
}

// client is one outside that keeps its UDP port.
type client struct {
	t *testing.T
	net.Conn
}

func (w *world) client(to string) (c client) {
	c.t = w.t.(*testing.T)
	w.outside.within(func() (err error) {
		c.Conn, err = net.Dial("udp", to)
		return err
	})
	w.t.Cleanup(func() { c.Close() })
	return c
}

func (c client) send() {
	for {
		// That an earlier one was refused is said to the next, once.
		_, err := c.Write([]byte("?"))
		if errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		if err != nil {
			c.t.Fatal(err)
		}
		return
	}
}

func (c client) wants(answer string) {
	c.t.Helper()
	buf := make([]byte, 100)
	for range 3 {
		c.send()
		c.SetDeadline(deadline())
		n, err := c.Read(buf)
		if errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		if err != nil || strings.TrimSpace(string(buf[:n])) != answer {
			c.t.Errorf("answer %q, %v, want %q", buf[:n], err, answer)
		}
		return
	}
	c.t.Error("the port is refused")
}

// An address that somebody has got again is found at once, and not in the
// place where it was before: its MAC is the same, and the port of the dead is
// off, though the kernel has not taken it away yet.
func TestReusedAddress(t *testing.T) {
	w := newWorld(t)
	w.create(Options{Name: "net"})
	other := w.attach("other", nil, "net")
	address := netip.MustParseAddr("10.64.0.77")
	attach := func(name string) *guest {
		r, g := w.container(name)
		r.Wishes = []Wish{{Network: "net", IPv4: address}}
		var err error
		g.Attached, err = w.Attach(t.Context(), r)
		w.must(err)
		g.serve("tcp", 80, name)
		return g
	}
	for i := range 5 {
		name := fmt.Sprintf("g%d", i)
		g := attach(name)
		other.reaches("tcp", address.String()+":80", name+" "+other.ip())
		// Its namespace stays, as it does for a while when a container ends.
		w.must(w.Release(g.dir))
	}
}

// Nor does it matter that it has another MAC now.
func TestChosenMAC(t *testing.T) {
	w := newWorld(t)
	w.create(Options{Name: "net", IPv6: true, Subnets: []Subnet{{Prefix: netip.MustParsePrefix("fd00:1::/64")}}})
	other := w.attach("other", nil, "net")
	for i, mac := range []string{"02:00:00:00:00:01", "02:00:00:00:00:02", "", "02:00:00:00:00:03"} {
		name := fmt.Sprintf("g%d", i)
		r, g := w.container(name)
		wish := Wish{Network: "net", IPv4: netip.MustParseAddr("10.64.0.77"), IPv6: netip.MustParseAddr("fd00:1::77")}
		wish.MAC, _ = net.ParseMAC(mac)
		r.Wishes = []Wish{wish}
		var err error
		g.Attached, err = w.Attach(t.Context(), r)
		w.must(err)
		if mac != "" && g.Endpoints[0].MAC != mac {
			t.Errorf("MAC %s, want %s", g.Endpoints[0].MAC, mac)
		}
		g.serve("tcp", 80, name)
		other.reaches("tcp", "10.64.0.77:80", name+" "+other.ip())
		other.reaches("tcp", "[fd00:1::77]:80", name+" "+other.ip6())
		w.home.ping("10.64.0.77")
		w.must(w.Release(g.dir))
	}
}

// A flush of all rules by somebody is noticed by the next start, and put right
// for all who live, or by Reload.
func TestFlushedRules(t *testing.T) {
	w := newWorld(t)
	web := w.attach("web", []Port{tcp(8080, 80)}, Default)
	web.serve("tcp", 80, "web")
	flush := func() {
		w.must(deleteRules())
		w.outside.misses("tcp", home4+":8080")
	}
	flush()
	w.attach("next", nil, Default)
	w.outside.reaches("tcp", home4+":8080", "web "+outside4)
	flush()
	w.must(w.Reload(t.Context()))
	w.outside.reaches("tcp", home4+":8080", "web "+outside4)
	web.end()
	w.must(w.Reload(t.Context()))
	w.outside.misses("tcp", home4+":8080")

	// A bridge that somebody removed comes back with the next.
	link, err := netlink.LinkByName(defaultBridge)
	w.must(err)
	w.must(netlink.LinkDel(link))
	again := w.attach("again", nil, Default)
	again.serve("tcp", 80, "again")
	w.home.reaches("tcp", again.ip()+":80", "again "+again.Endpoints[0].Gateways[0].String())
}

func TestConnectAndDisconnect(t *testing.T) {
	w := newWorld(t)
	w.create(Options{Name: "in", Internal: true})
	w.create(Options{Name: "out", IPv6: true})
	a := w.attach("a", []Port{}, "in")
	db := w.attach("db", nil, "out")
	db.serve("tcp", 80, "db")
	w.outside.serve("tcp", 80, "outside")
	a.misses("tcp", outside4+":80")
	resolver := func(want string) {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join(a.dir, "resolver"))
		if err != nil || string(raw) != want {
			t.Errorf("resolver %q, %v, want %q", raw, err, want)
		}
	}
	resolver("forward no\n")

	r := Request{Container: a.id, Name: "a", RunDir: a.dir, Namespace: a.file, Wishes: []Wish{{Network: "out", Aliases: []string{"Alpha"}}}}
	now, err := w.Connect(t.Context(), r)
	w.must(err)
	if e := now.Endpoints[1]; e.Interface != "eth1" || !e.Default || !strings.Contains(strings.Join(e.Names, " "), "alpha") {
		t.Errorf("endpoint %+v", e)
	}
	resolver("")
	a.reaches("tcp", outside4+":80", "outside "+home4)
	a.reaches("tcp", db.ip()+":80", "db "+now.Endpoints[1].address(false).String())
	a.reaches("tcp", "["+db.ip6()+"]:80", "db "+now.Endpoints[1].address(true).String())
	_, err = w.Connect(t.Context(), r)
	wantError(t, err, ErrExists, "container a is on network out already")

	w.must(w.Disconnect(t.Context(), a.dir, a.file, "out"))
	a.misses("tcp", db.ip()+":80")
	a.misses("tcp", outside4+":80")
	resolver("forward no\n")
	wantError(t, w.Disconnect(t.Context(), a.dir, a.file, "out"), ErrNotFound, "container a is not on network out")
	if _, err := w.Connect(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// Published ports and default routes go over to another network.
func TestPortsFollow(t *testing.T) {
	w := newWorld(t)
	w.create(Options{Name: "one"})
	w.create(Options{Name: "two"})
	web := w.attach("web", []Port{tcp(8080, 80)}, "one", "two")
	web.serve("tcp", 80, "web")
	w.outside.serve("tcp", 80, "outside")
	w.must(w.Disconnect(t.Context(), web.dir, web.file, "one"))
	w.outside.reaches("tcp", home4+":8080", "web "+outside4)
	web.reaches("tcp", outside4+":80", "outside "+home4)
	w.must(w.Disconnect(t.Context(), web.dir, web.file, "two"))
	w.outside.misses("tcp", home4+":8080")
	_, err := w.Connect(t.Context(), Request{Container: web.id, Name: "web", RunDir: web.dir, Namespace: web.file, Wishes: []Wish{{Network: "one"}}})
	w.must(err)
	w.outside.reaches("tcp", home4+":8080", "web "+outside4)
}

func TestRemoveAndPrune(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"used", "unused", "kept"} {
		w.create(Options{Name: name})
	}
	g := w.attach("web", nil, "used")
	w.attach("gone", nil, "unused").end()
	wantError(t, w.Remove(t.Context(), "used"), ErrInUse, "network used is in use by web")
	wantError(t, w.Remove(t.Context(), "bridge"), ErrInvalid, "predefined")
	wantError(t, w.Remove(t.Context(), "nothing"), ErrNotFound, "no such network: nothing")
	removed, err := w.Prune(t.Context(), func(n *Network) bool { return n.Name == "kept" })
	if err != nil || len(removed) != 1 || removed[0] != "unused" {
		t.Errorf("pruned %q, %v", removed, err)
	}
	users, err := w.Users("used")
	if err != nil || len(users) != 1 || users[0].Name != "web" {
		t.Errorf("users %v, %v", users, err)
	}
	n, err := w.Get("used")
	w.must(err)
	g.end()
	w.must(w.Remove(t.Context(), n.ID[:12]))
	if _, err := w.Get("used"); !errors.Is(err, ErrNotFound) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := netlink.LinkByName(n.Bridge); err == nil {
		t.Error("its bridge is still there")
	}
}

// A failed attachment leaves nothing, whichever step fails.
func TestFailedAttach(t *testing.T) {
	w := newWorld(t)
	w.create(Options{Name: "net"})
	taken := w.attach("taken", []Port{tcp(8080, 80)}, "net")
	w.home.serve("tcp", 8090, "home")
	w.home.serve("udp", 8090, "home")
	for _, c := range []struct {
		name  string
		wish  Wish
		ports []Port
		kind  error
		says  string
	}{
		{"network", Wish{Network: "nothing"}, nil, ErrNotFound, "no such network: nothing"},
		{"host", Wish{Network: "host"}, nil, ErrInvalid, "it is no bridge"},
		{"port of a container", Wish{Network: "net"}, []Port{tcp(8081, 80), tcp(8080, 80)}, ErrTaken, "port 0.0.0.0:8080/tcp is published by container taken already"},
		{"port of the host", Wish{Network: "net"}, []Port{tcp(8090, 80)}, ErrTaken, "port 0.0.0.0:8090/tcp is in use on the host"},
		{"UDP port of the host", Wish{Network: "net"}, []Port{udp(8090, 80)}, ErrTaken, "port 0.0.0.0:8090/udp is in use on the host"},
		{"port of an address that is not", Wish{Network: "net"}, []Port{at("198.51.100.1", 1, 80, "tcp")}, ErrInvalid, "the host has no such address"},
		{"port of IPv6", Wish{Network: "net"}, []Port{at("::", 1, 80, "tcp")}, ErrInvalid, "no address of that family"},
		{"port twice", Wish{Network: "net"}, []Port{tcp(81, 80), tcp(81, 90)}, ErrInvalid, "asked for twice"},
		{"range that is taken", Wish{Network: "net"}, []Port{tcp(8081, 80), {Host: 8090, HostLast: 8091, Container: 80, Protocol: "tcp"}, tcp(8091, 80)}, ErrTaken,
			"ports 0.0.0.0:8090-8091/tcp are all in use on the host"},
		{"range that ends before it begins", Wish{Network: "net"}, []Port{{Host: 8091, HostLast: 8090, Container: 80, Protocol: "tcp"}}, ErrInvalid, "no range"},
		{"protocol", Wish{Network: "net"}, []Port{{Host: 1, Container: 1, Protocol: "sctp"}}, ErrInvalid, "tcp or udp"},
		{"address that is taken", Wish{Network: "net", IPv4: taken.Endpoints[0].address(false)}, []Port{tcp(8081, 80)}, ErrTaken, "is taken by container taken"},
		{"gateway", Wish{Network: "net", IPv4: taken.Endpoints[0].Gateways[0]}, nil, ErrTaken, "is the gateway"},
		{"address outside", Wish{Network: "net", IPv4: netip.MustParseAddr("10.99.0.1")}, nil, ErrInvalid, "is no address of a host in"},
		{"IPv6 address", Wish{Network: "net", IPv6: netip.MustParseAddr("fd00::9")}, nil, ErrInvalid, "has no IPv6"},
		{"alias", Wish{Network: "net", Aliases: []string{"../x"}}, nil, ErrInvalid, "alias"},
		{"MAC", Wish{Network: "net", MAC: net.HardwareAddr{1, 0, 0, 0, 0, 0}}, nil, ErrInvalid, "no interface can have it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, g := w.container("x")
			r.Wishes, r.Ports = []Wish{c.wish}, c.ports
			_, err := w.Attach(t.Context(), r)
			wantError(t, err, c.kind, c.says)
			g.leftNothing()
			f, err := net.Listen("tcp", ":8081")
			if err != nil {
				t.Fatalf("a port is still reserved: %v", err)
			}
			f.Close()
		})
	}
}

// leftNothing sees that there is nothing of a container that was not attached.
func (g *guest) leftNothing() {
	g.t.Helper()
	if names, err := os.ReadDir(g.dir); err != nil || len(names) > 0 {
		g.t.Errorf("in the run directory: %v, %v", names, err)
	}
	g.within(func() error {
		links, err := netlink.LinkList()
		for _, link := range links {
			if link.Type() == "veth" {
				g.t.Errorf("in the container: %s", link.Attrs().Name)
			}
		}
		return err
	})
	leases, err := filepath.Glob(filepath.Join(g.w.State, "*", "leases", "*"))
	g.w.must(err)
	for _, path := range leases {
		if id, err := os.Readlink(path); err == nil && id == g.id {
			g.t.Errorf("leased: %s", path)
		}
	}
}

func wantError(t *testing.T, err, kind error, says string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), says) {
		t.Errorf("error %v, want %q of kind %q", err, says, kind)
	} else if strings.Contains(err.Error(), "\n") {
		t.Errorf("error of several lines: %v", err)
	}
}
