package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"minict/internal/flock"
)

// Who attaches is killed after each step. The sweep of its container, or, where
// there was no time to write down what is to be undone, that of all networks,
// leaves nothing.
func TestKilledAfterEachStep(t *testing.T) {
	w := newWorld(t)
	w.create(Options{Name: "net", IPv6: true})
	w.attach("other", nil, "net")
	for killed := range len((&joining{}).steps()) + 1 {
		r, g := w.container("victim")
		r.Wishes = []Wish{{Network: "net", Aliases: []string{"alias"}}, {Network: Default}}
		r.Ports = []Port{tcp(8080, 80), udp(8080, 80)}
		j := &joining{m: w.Manager, request: &r}
		var err error
		j.entered, err = w.enter(t.Context(), r.Wishes, flock.Shared)
		w.must(err)
		w.must(j.plan())
		for _, step := range j.steps()[:killed] {
			w.must(step())
		}
		j.close()
		if j.inside != nil {
			j.inside.Close()
		}
		j.reserved.close()
		g.die()

		w.must(w.Release(g.dir))
		w.must(w.Sweep(t.Context()))
		for _, pattern := range []string{"*/leases/*", "*/names/*/*"} {
			paths, err := filepath.Glob(filepath.Join(w.State, pattern))
			w.must(err)
			for _, path := range paths {
				if id, _ := os.Readlink(path); id == g.id {
					t.Errorf("killed after %d steps: %s is left", killed, path)
				}
			}
		}
		again := w.attach("again", r.Ports, "net")
		again.serve("tcp", 80, "again")
		w.outside.reaches("tcp", home4+":8080", "again "+outside4)
		again.end()
	}
}

// Who lacks the privilege gets one line that says so.
func TestWithoutPrivilege(t *testing.T) {
	w := newWorld(t)
	r, g := w.container("a")
	r.Wishes = []Wish{{Network: Default}}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock it
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			done <- err
			return
		}
		_, err := w.Attach(t.Context(), r)
		done <- err
	}()
	wantError(t, <-done, ErrUnavailable, "networks need the capability CAP_NET_ADMIN")
	g.leftNothing()
}

// A bridge takes 1,023 ports, and then says so.
func TestFullBridge(t *testing.T) {
	w := newWorld(t)
	n := w.create(Options{Name: "net"})
	w.attach("first", nil, "net")
	bridge, err := netlink.LinkByName(n.Bridge)
	w.must(err)
	filler := newSpace(t)
	for i := range 1022 {
		w.must(netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("fill%d", i), MasterIndex: bridge.Attrs().Index},
			PeerName:  fmt.Sprintf("fill%d", i), PeerNamespace: netlink.NsFd(filler.file.Fd()),
		}))
	}
	r, g := w.container("surplus")
	r.Wishes = []Wish{{Network: "net"}}
	_, err = w.Attach(t.Context(), r)
	wantError(t, err, ErrExhausted, "network net has 1023 containers, which is the most that a bridge takes")
	g.leftNothing()
}

func TestDefinitions(t *testing.T) {
	w := newWorld(t)
	subnet := func(text string) []Subnet { return []Subnet{{Prefix: netip.MustParsePrefix(text)}} }
	w.create(Options{Name: "net", Subnets: subnet("10.9.0.0/24"), Labels: map[string]string{"a": "b"}})
	for _, c := range []struct {
		options Options
		kind    error
		says    string
	}{
		{Options{Name: "net"}, ErrExists, "network net exists already"},
		{Options{Name: ""}, ErrInvalid, "network name"},
		{Options{Name: "../x"}, ErrInvalid, "network name"},
		{Options{Name: "a b"}, ErrInvalid, "network name"},
		{Options{Name: strings.Repeat("a", 64)}, ErrInvalid, "looks like an id"},
		{Options{Name: "host"}, ErrInvalid, "network host is predefined"},
		{Options{Name: "default"}, ErrInvalid, "predefined"},
		{Options{Name: "x", Driver: "overlay"}, ErrInvalid, "there is only bridge"},
		{Options{Name: "x", Subnets: subnet("10.9.0.128/25")}, ErrExists, "subnet 10.9.0.128/25 overlaps 10.9.0.0/24 of network net"},
		{Options{Name: "x", Subnets: subnet("192.0.2.0/25")}, ErrExists, "overlaps 192.0.2.0/24, which the host is connected to"},
		{Options{Name: "x", Subnets: subnet("10.9.1.1/24")}, ErrInvalid, "10.9.1.0/24 is meant"},
		{Options{Name: "x", Subnets: subnet("10.9.1.0/31")}, ErrInvalid, "too small"},
		{Options{Name: "x", Subnets: subnet("127.0.0.0/24")}, ErrInvalid, "can't have containers"},
		{Options{Name: "x", Subnets: subnet("fd00::/64")}, ErrInvalid, "needs --ipv6"},
		{Options{Name: "x", Options: map[string]string{"mtu": "10"}}, ErrInvalid, "an MTU is a number from 68 to 65535"},
		{Options{Name: "x", IPv6: true, Options: map[string]string{"com.docker.network.driver.mtu": "576"}}, ErrInvalid, "from 1280"},
		{Options{Name: "x", Options: map[string]string{"com.docker.network.bridge.name": "sixteen-letters-"}}, ErrInvalid, "at most 15 bytes"},
	} {
		_, err := w.Create(t.Context(), c.options)
		wantError(t, err, c.kind, c.says)
	}
	n := w.create(Options{Name: "six", IPv6: true, Options: map[string]string{"mtu": "1400", "com.docker.network.bridge.name": "br-six"}})
	_, err := w.Create(t.Context(), Options{Name: "x", Options: map[string]string{"com.docker.network.bridge.name": "br-six"}})
	wantError(t, err, ErrExists, "the bridge br-six is another network's")
	if len(n.Subnets) != 2 || !n.Subnets[0].Prefix.Addr().IsPrivate() || !n.Subnets[1].Prefix.Addr().IsPrivate() || n.MTU != 1400 {
		t.Errorf("network %+v", n)
	}
	for _, ref := range []string{"six", n.ID, n.ID[:12]} {
		if got, err := w.Get(ref); err != nil || got.Name != "six" || got.Created.IsZero() {
			t.Errorf("get %s: %v, %v", ref, got, err)
		}
	}
	list, err := w.List()
	var names []string
	for _, n := range list {
		names = append(names, n.Name)
	}
	if got := strings.Join(names, " "); err != nil || got != "bridge host net none six" {
		t.Errorf("list %q, %v", got, err)
	}
	if _, err := w.Get("nothing"); !errors.Is(err, ErrNotFound) {
		t.Errorf("get nothing: %v", err)
	}
	g := w.attach("g", nil, "six")
	g.within(func() error {
		if got := readNote("/sys/class/net/eth0/mtu"); got != "" && got != "1400" {
			t.Errorf("MTU %s", got)
		}
		return nil
	})
}

func TestParseSubnets(t *testing.T) {
	list := func(s ...string) []string { return s }
	for _, c := range []struct {
		subnets, gateways, ranges []string
		says                      string // "" if it is right
	}{
		{list("10.1.0.0/16"), nil, nil, ""},
		{list("10.1.0.0/16", "fd00::/64"), list("10.1.5.1", "fd00::5"), list("10.1.8.0/24"), ""},
		{list("10.1.0.0"), nil, nil, "the length of a prefix"},
		{list("10.1.0.0/33"), nil, nil, "the length of a prefix"},
		{list("10.1.0.0/16", "10.2.0.0/16"), nil, nil, "one of each family"},
		{list("10.1.0.0/16"), list("10.2.0.1"), nil, "in none of the subnets"},
		{list("10.1.0.0/16"), list("10.1.0.0"), nil, "no address of a host"},
		{list("10.1.0.0/16"), list("10.1.255.255"), nil, "no address of a host"},
		{list("10.1.0.0/16"), list("10.1.0.1", "10.1.0.2"), nil, "there can be one"},
		{list("10.1.0.0/16"), list("x"), nil, "no address"},
		{list("10.1.0.0/16"), nil, list("10.0.0.0/8"), "in none of the subnets"},
		{list("10.0.0.0/16"), nil, list("10.0.0.0/8"), "is not in"},
		{nil, list("10.0.0.1"), nil, "in none of the subnets"},
	} {
		got, err := ParseSubnets(c.subnets, c.gateways, c.ranges)
		if c.says != "" {
			wantError(t, err, ErrInvalid, c.says)
		} else if err != nil || len(got) != len(c.subnets) {
			t.Errorf("%v: %v, %v", c.subnets, got, err)
		}
	}
}

func FuzzParseSubnets(f *testing.F) {
	f.Add("10.1.0.0/16", "10.1.0.1", "10.1.8.0/24")
	f.Add("fd00::/64", "fd00::1", "fd00::8000:0:0:0/65")
	f.Add("0.0.0.0/0", "255.255.255.254", "1.1.1.1/32")
	f.Fuzz(func(t *testing.T, subnet, gateway, within string) {
		list, err := ParseSubnets([]string{subnet}, []string{gateway}, []string{within})
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%v is of no kind", err)
			}
			return
		}
		s := list[0]
		if !s.usable(s.Gateway) || !s.Prefix.Contains(s.Range.Addr()) || !s.Prefix.Contains(last(s.Prefix)) {
			t.Errorf("%q %q %q give %v", subnet, gateway, within, s)
		}
	})
}

func FuzzParseRoute(f *testing.F) {
	f.Add(uint16(unix.RTM_NEWROUTE), []byte{2, 24, 0, 0, 254, 2, 253, 1, 0, 0, 0, 0, 8, 0, 1, 0, 10, 0, 0, 0})
	f.Fuzz(func(t *testing.T, kind uint16, body []byte) {
		if r, ok := parseRoute(kind, body); ok && !r.prefix.IsValid() {
			t.Errorf("%x is a route without a destination", body)
		}
	})
}

// A port that was chosen is as much reserved as one that was asked for, and what
// fails keeps nothing.
func TestChosenPortIsReserved(t *testing.T) {
	w := newWorld(t)
	for _, protocol := range []string{"tcp", "udp"} {
		for _, address := range []string{"0.0.0.0", "::"} {
			r, err := w.reserve([]Port{{HostIP: netip.MustParseAddr(address), Container: 80, Protocol: protocol}}, true, true)
			w.must(err)
			before := openFiles(t)
			if fd, err := hold(r.ports[0]); err == nil {
				t.Errorf("%s is somebody else's too", r.ports[0])
				unix.Close(fd)
			}
			if after := openFiles(t); after != before {
				t.Errorf("%d open files, and %d before the port was found taken", after, before)
			}
			r.close()
			fd, err := hold(r.ports[0])
			w.must(err)
			unix.Close(fd)
		}
	}
}

// Of a range it is the first port that is free of all addresses. What has less
// choice comes first, wherever it stands.
func TestFirstFreeOfARange(t *testing.T) {
	w := newWorld(t)
	for _, protocol := range []string{"tcp", "udp"} {
		from := func(last uint16) Port {
			return Port{Host: 20000, HostLast: last, Container: 80, Protocol: protocol}
		}
		six, err := w.reserve([]Port{at("::", 20001, 80, protocol)}, false, true)
		w.must(err)
		r, err := w.reserve([]Port{from(20004), from(20002), {Host: 20000, Container: 81, Protocol: protocol}, from(20003)}, true, true)
		w.must(err)
		var got []uint16
		for _, p := range r.ports {
			if p.HostLast != 0 {
				t.Errorf("%s is still a range", p)
			}
			got = append(got, p.Host)
		}
		if want := []uint16{20000, 20000, 20002, 20002, 20003, 20003, 20004, 20004}; !slices.Equal(got, want) {
			t.Errorf("ports %d, want %d", got, want)
		}
		_, err = w.reserve([]Port{from(20004)}, true, true)
		wantError(t, err, ErrTaken, "ports 0.0.0.0:20000-20004/"+protocol+" are all in use on the host")
		r.close()
		six.close()
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Of all who reserve a port at once, one gets it.
func TestReserveOnce(t *testing.T) {
	w := newWorld(t)
	for _, protocol := range []string{"tcp", "udp"} {
		for round := range 50 {
			const many = 8
			got := make(chan *reservation, many)
			for range many {
				go func() {
					r, err := w.reserve([]Port{{Host: uint16(20000 + round), Container: 80, Protocol: protocol}}, true, false)
					if err != nil {
						r = nil
					}
					got <- r
				}()
			}
			won := 0
			for range many {
				if r := <-got; r != nil {
					won++
					defer r.close()
				}
			}
			if won != 1 {
				t.Fatalf("port %d/%s is reserved %d times", 20000+round, protocol, won)
			}
		}
	}
}
