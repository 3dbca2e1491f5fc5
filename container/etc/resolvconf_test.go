package etc

import (
	"net/netip"
	"strings"
	"testing"
)

func addrs(list ...string) (a []netip.Addr) {
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}

const home = `# a comment
; another
nameserver 192.168.1.1
domain old.example
search home.example lan
nameserver fd00::1
nameserver fe80::1%eth0
nameserver nonsense
options edns0 timeout:1
options ndots:x
sortlist 130.155.160.0/255.255.240.0
`

func TestResolvConf(t *testing.T) {
	for _, tt := range []struct {
		name, host string
		want       DNS
		asked      Asked
		ipv6       bool
		content    string
	}{
		{"direct", home, DNS{}, Servers, false,
			"nameserver 192.168.1.1\nsearch home.example lan\noptions edns0 timeout:1 ndots:x\nsortlist 130.155.160.0/255.255.240.0\n"},
		{"direct with IPv6", home, DNS{}, Servers, true,
			"nameserver 192.168.1.1\nnameserver fd00::1\nsearch home.example lan\noptions edns0 timeout:1 ndots:x\nsortlist 130.155.160.0/255.255.240.0\n"},
		{"own", home, DNS{}, Resolver, false,
			"nameserver 127.0.0.11\nsearch home.example lan\noptions edns0 timeout:1 ndots:0\nsortlist 130.155.160.0/255.255.240.0\n"},
		{"own with ndots", "options ndots:2 rotate\n", DNS{}, Resolver, false, "nameserver 127.0.0.11\noptions ndots:2 rotate\n"},
		{"nobody reachable", "nameserver 127.0.0.1\nnameserver ::1\n", DNS{}, Servers, false, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"},
		{"nobody reachable by IPv6", "", DNS{}, Servers, true,
			"nameserver 8.8.8.8\nnameserver 8.8.4.4\nnameserver 2001:4860:4860::8888\nnameserver 2001:4860:4860::8844\n"},
		{"servers of the user's", home, DNS{Servers: addrs("127.0.0.1", "::1")}, Servers, false,
			"nameserver 127.0.0.1\nnameserver ::1\nsearch home.example lan\noptions edns0 timeout:1 ndots:x\nsortlist 130.155.160.0/255.255.240.0\n"},
		{"all of the user's", "nameserver 1.1.1.1\nsearch a\noptions b\n", DNS{addrs("9.9.9.9"), []string{"x.example", "y"}, []string{"rotate"}}, Resolver, false,
			"nameserver 127.0.0.11\nsearch x.example y\noptions rotate ndots:0\n"},
		{"no search", "nameserver 1.1.1.1\nsearch a\n", DNS{Search: []string{"."}}, Servers, false, "nameserver 1.1.1.1\n"},
		{"host with a wish", "nameserver 127.0.0.53\nsearch a\n", DNS{Search: []string{"b"}}, HostToo, false, "nameserver 127.0.0.53\nsearch b\n"},
	} {
		got := ResolvConf(tt.host, tt.want, tt.asked, tt.ipv6)
		if !Untouched(got) {
			t.Errorf("%s: passes for changed:\n%s", tt.name, got)
		}
		if Untouched(got + "options debug\n") {
			t.Errorf("%s: a change is not seen", tt.name)
		}
		first, rest, _ := strings.Cut(got, "\n")
		if !strings.HasPrefix(first, "#") || rest != tt.content {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.content)
		}
	}
	if got := ResolvConf(home, DNS{}, HostToo, false); got != home {
		t.Errorf("the host's own: got\n%s", got)
	}
	if got := ResolvConf("nameserver 1.1.1.1\n", DNS{}, Nobody, false); strings.Contains(got, "nameserver") {
		t.Errorf("without a network: got\n%s", got)
	}
}

func TestOnlyStub(t *testing.T) {
	for text, want := range map[string]bool{
		"nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch x\n": true,
		"nameserver 127.0.0.53\nnameserver 1.1.1.1\n":               false,
		"nameserver 127.0.0.1\n":                                    false,
		"":                                                          false,
	} {
		if got := onlyStub(text); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

// Whatever the host's file is, what is made of it is one that is read in the same
// way, and has somebody to ask.
func FuzzResolvConf(f *testing.F) {
	f.Add(home, true)
	f.Add("options ndots:-1 ndots:\n nameserver\t::1 \r\nnameserver 1.2.3.4 # x", false)
	f.Fuzz(func(t *testing.T, host string, ipv6 bool) {
		for _, asked := range []Asked{Servers, Resolver} {
			got := ResolvConf(host, DNS{}, asked, ipv6)
			if !Untouched(got) {
				t.Errorf("%q passes for changed", got)
			}
			c := parse(got)
			if len(c.servers) == 0 {
				t.Errorf("%q names nobody", got)
			}
			for _, server := range c.servers {
				if asked == Servers && (server.IsLoopback() || server.Is6() && !ipv6) {
					t.Errorf("%q names %s", got, server)
				}
			}
			if again := c.String(); header(again)+again != got {
				t.Errorf("%q is read as %q", got, again)
			}
		}
	})
}

func TestHosts(t *testing.T) {
	h := Hosts{Extra: []string{"db:10.0.0.9", "up:host-gateway", "six:::2"}, Gateway: netip.MustParseAddr("10.63.0.1"),
		Addresses: addrs("10.63.0.2", "fd00::2"), Name: HostName("web", "example.com")}
	want := localHosts + "10.0.0.9\tdb\n10.63.0.1\tup\n::2\tsix\n10.63.0.2\tweb.example.com web\nfd00::2\tweb.example.com web\n"
	if got := h.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	host := Hosts{Base: "127.0.0.1 localhost", Extra: []string{"db:10.0.0.9", "up:host-gateway"}}
	if got := host.String(); got != "127.0.0.1 localhost\n10.0.0.9\tdb\n" {
		t.Errorf("in the host's network: got\n%s", got)
	}
	if got := HostName("web", ""); got != "web" {
		t.Errorf("got %q", got)
	}

	after := Hosts{Addresses: addrs("10.63.0.2", "10.64.0.7"), Name: "web.example.com web"}
	got := after.Renew(want+"1.2.3.4\tmine\n10.63.0.2\tother\nno end", h.Addresses)
	want = localHosts + "10.0.0.9\tdb\n10.63.0.1\tup\n::2\tsix\n1.2.3.4\tmine\n10.63.0.2\tother\nno end\n" +
		"10.63.0.2\tweb.example.com web\n10.64.0.7\tweb.example.com web\n"
	if got != want {
		t.Errorf("after a change: got\n%s\nwant\n%s", got, want)
	}
	if again := after.Renew(got, h.Addresses); again != got {
		t.Errorf("once more: got\n%s", again)
	}
}
