package container

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"minict/network"
	"minict/store"
)

func on(names ...string) (list []NetworkWish) {
	for _, name := range names {
		list = append(list, NetworkWish{Network: name})
	}
	return list
}

func TestParseNetwork(t *testing.T) {
	for s, want := range map[string]NetworkWish{
		"web": {Network: "web"}, "none": {Network: "none"}, "container:web": {Network: "container:web"}, "a_b.c-1": {Network: "a_b.c-1"},
		"name=web":                               {Network: "web"},
		`alias=a,name=web,"alias=b"`:             {Network: "web", Aliases: []string{"a", "b"}},
		"name=web,ip=10.0.0.9,ip6=fd::9":         {Network: "web", IPv4: netip.MustParseAddr("10.0.0.9"), IPv6: netip.MustParseAddr("fd::9")},
		"name=web,mac-address=02-42-AC-11-00-02": {Network: "web", MAC: "02:42:ac:11:00:02"},
	} {
		if got, err := ParseNetwork(s); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "-x", "a/b", "../x", "a b", "container:", "name=", "alias=x", "name=a,colour=red", "name=a,ip=fd::1", "name=a,ip6=::ffff:1.2.3.4",
		"name=a,ip=0.0.0.0", "name=a,ip=224.0.0.1", "name=a,ip6=fe80::1%eth0", "name=a,mac-address=01:00:00:00:00:00", "name=a,mac-address=00:00:00:00:00:00",
		"name=a,mac-address=02:42:ac:11:00:02:00:00", "name=a,alias=", "name=a,alias=x y", `name="a`, "name=a,driver-opt=x",
	} {
		if w, err := ParseNetwork(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %+v, %v", s, w, err)
		}
	}
}

func TestParsePublish(t *testing.T) {
	local, six := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	for s, want := range map[string][]network.Port{
		"80":                                {{Container: 80, Protocol: "tcp"}},
		":80":                               {{Container: 80, Protocol: "tcp"}},
		"0:80":                              {{Container: 80, Protocol: "tcp"}},
		"8080:80":                           {{Host: 8080, Container: 80, Protocol: "tcp"}},
		"8080:80/UDP":                       {{Host: 8080, Container: 80, Protocol: "udp"}},
		"127.0.0.1:8080:80":                 {{HostIP: local, Host: 8080, Container: 80, Protocol: "tcp"}},
		"127.0.0.1::80":                     {{HostIP: local, Container: 80, Protocol: "tcp"}},
		"[::1]:8080:80/tcp":                 {{HostIP: six, Host: 8080, Container: 80, Protocol: "tcp"}},
		"[::1]::80":                         {{HostIP: six, Container: 80, Protocol: "tcp"}},
		"0.0.0.0:1:1":                       {{HostIP: netip.IPv4Unspecified(), Host: 1, Container: 1, Protocol: "tcp"}},
		"65535:65535":                       {{Host: 65535, Container: 65535, Protocol: "tcp"}},
		"80-81":                             {{Container: 80, Protocol: "tcp"}, {Container: 81, Protocol: "tcp"}},
		"8080-8081:80-81":                   {{Host: 8080, Container: 80, Protocol: "tcp"}, {Host: 8081, Container: 81, Protocol: "tcp"}},
		"8000-8010:80":                      {{Host: 8000, HostLast: 8010, Container: 80, Protocol: "tcp"}},
		"8000-8000:80":                      {{Host: 8000, Container: 80, Protocol: "tcp"}},
		"127.0.0.1:8000-65535:80/udp":       {{HostIP: local, Host: 8000, HostLast: 65535, Container: 80, Protocol: "udp"}},
		"published=8000-8010,target=80":     {{Host: 8000, HostLast: 8010, Container: 80, Protocol: "tcp"}},
		"published=1,target=2,protocol=udp": {{Host: 1, Container: 2, Protocol: "udp"}},
		"target=2":                          {{Container: 2, Protocol: "tcp"}},
	} {
		if got, err := ParsePublish(s); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", ":", "0", "80:0", "x", "80:x", "x:80", "70000", "80:70000", "-1", "80-79", "80-", "80/sctp", "80/", "0-2:80", "2-1:80", "80:1-2", "1-3:1-2", "0-1:80-81",
		"1.2.3:80:80", "::1:80:80", "[::1:80:80", "[1.2.3.4]:80:80", "[fe80::1%eth0]:80:80", "[::ffff:1.2.3.4]:80:80", "224.0.0.1:80:80",
		"published=80", "target=80,colour=red", "target=80,mode=x", "1:2:3:4", "+80", " 80",
	} {
		if p, err := ParsePublish(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %v, %v", s, p, err)
		}
	}
}

func TestContainerPortsAreText(t *testing.T) {
	want := []ContainerPort{{80, "tcp"}, {53, "udp"}}
	raw, err := json.Marshal(want)
	if err != nil || string(raw) != `["80/tcp","53/udp"]` {
		t.Errorf("got %s, %v", raw, err)
	}
	var got []ContainerPort
	if err := json.Unmarshal(raw, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`["80-81"]`), &got); err == nil {
		t.Error("a range is one port")
	}
}

func TestNetworksOfAConfig(t *testing.T) {
	for _, tt := range []struct {
		name    string
		wishes  []NetworkWish
		network string
		list    []NetworkWish
		own     bool
	}{
		{"nothing", nil, "bridge", on("bridge"), true},
		{"default", on("default"), "bridge", on("bridge"), true},
		{"none", on("none"), "none", nil, true},
		{"host", on("host"), "host", nil, false},
		{"container", on("container:web"), "container:web", nil, false},
		{"two", on("a", "b"), "a", on("a", "b"), true},
	} {
		o := Options{Args: []string{"x"}, Networks: tt.wishes}
		c := config(t, o, nil)
		if c.Network != tt.network || !reflect.DeepEqual(c.Networks, tt.list) || c.kind().own != tt.own || o.kind().own != tt.own {
			t.Errorf("%s: got %q, %v, %v", tt.name, c.Network, c.Networks, c.kind().own)
		}
	}
}

func TestPortsOfAConfig(t *testing.T) {
	img := &store.Execution{ExposedPorts: map[string]struct{}{"443": {}, "80/tcp": {}, "53/udp": {}}}
	publish := []network.Port{{Host: 8080, Container: 80, Protocol: "tcp"}, {Container: 7, Protocol: "tcp"}}
	c := config(t, Options{Args: []string{"x"}, Publish: publish, Expose: []ContainerPort{{9, "tcp"}}}, img)
	exposed := []ContainerPort{{7, "tcp"}, {9, "tcp"}, {53, "udp"}, {80, "tcp"}, {443, "tcp"}}
	if !reflect.DeepEqual(c.Exposed, exposed) || !reflect.DeepEqual(c.Ports, publish) {
		t.Errorf("got %v, %v", c.Exposed, c.Ports)
	}
	ranges := []network.Port{{Host: 8000, HostLast: 8001, Container: 80, Protocol: "tcp"}, {Host: 8000, HostLast: 8001, Container: 81, Protocol: "tcp"}}
	if c := config(t, Options{Args: []string{"x"}, Publish: ranges}, img); !reflect.DeepEqual(bindings(c.Ports),
		map[string][]PortBinding{"80/tcp": {{HostPort: "8000-8001"}}, "81/tcp": {{HostPort: "8000-8001"}}}) {
		t.Errorf("got %v", bindings(c.Ports))
	}
	c = config(t, Options{Args: []string{"x"}, Publish: publish, PublishAll: true}, img)
	all := append(publish, network.Port{Container: 53, Protocol: "udp"}, network.Port{Container: 443, Protocol: "tcp"})
	if !reflect.DeepEqual(c.Ports, all) || !c.PublishAll {
		t.Errorf("got %v, want %v", c.Ports, all)
	}
}

// What Docker refuses, and what would have no effect.
func TestNetworkConflicts(t *testing.T) {
	port := []network.Port{{Container: 80, Protocol: "tcp"}}
	same := []network.Port{{Host: 80, Container: 80, Protocol: "tcp"}, {Host: 80, Container: 81, Protocol: "tcp"}}
	for _, tt := range []struct {
		name string
		o    Options
		img  store.Execution
		says string
	}{
		{"twice", Options{Networks: on("a", "a")}, store.Execution{}, "network a is given twice"},
		{"twice by two names", Options{Networks: on("default", "bridge")}, store.Execution{}, "twice"},
		{"host and another", Options{Networks: on("host", "a")}, store.Execution{}, "network host"},
		{"another and none", Options{Networks: on("a", "none")}, store.Execution{}, "network none"},
		{"address and host", Options{Networks: []NetworkWish{{Network: "host", IPv4: netip.MustParseAddr("10.0.0.1")}}}, store.Execution{}, "network host"},
		{"alias and container", Options{Networks: []NetworkWish{{Network: "container:x", Aliases: []string{"a"}}}}, store.Execution{}, "container:x"},
		{"alias and default", Options{Networks: []NetworkWish{{Network: "bridge", Aliases: []string{"a"}}}}, store.Execution{}, "alias a"},
		{"port and host", Options{Networks: on("host"), Publish: port}, store.Execution{}, "network host"},
		{"port and none", Options{Networks: on("none"), Publish: port}, store.Execution{}, "network none"},
		{"all ports and container", Options{Networks: on("container:x"), PublishAll: true}, store.Execution{}, "container:x"},
		{"host name and container", Options{Networks: on("container:x"), Hostname: "a"}, store.Execution{}, "host name"},
		{"hosts and container", Options{Networks: on("container:x"), AddHosts: []string{"a:10.0.0.1"}}, store.Execution{}, "hosts"},
		{"servers and container", Options{Networks: on("container:x"), DNS: []netip.Addr{netip.MustParseAddr("1.1.1.1")}}, store.Execution{}, "name servers"},
		{"search and container", Options{Networks: on("container:x"), DNSSearch: []string{"a"}}, store.Execution{}, "name servers"},
		{"expose and container", Options{Networks: on("container:x"), Expose: []ContainerPort{{80, "tcp"}}}, store.Execution{}, "exposed"},
		{"port twice", Options{Publish: same}, store.Execution{}, "80/tcp"},
		{"the image's port", Options{}, store.Execution{ExposedPorts: map[string]struct{}{"http": {}}}, `"http"`},
		{"server", Options{DNS: []netip.Addr{netip.IPv4Unspecified()}}, store.Execution{}, "0.0.0.0"},
		{"search", Options{DNSSearch: []string{"a\nnameserver 6.6.6.6"}}, store.Execution{}, "search domain"},
		{"option", Options{DNSOptions: []string{"a b"}}, store.Execution{}, `"a b"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := tt.o
			o.Image, o.Args, o.Getenv = "image", []string{"x"}, noEnv
			_, err := o.Resolve(&tt.img)
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v, want %v", err, ErrInvalid)
			}
			if text := err.Error(); !strings.Contains(text, tt.says) || strings.Contains(text, "\n") {
				t.Errorf("got %q, want one line with %q", text, tt.says)
			}
		})
	}
}
