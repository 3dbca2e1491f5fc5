package e2e

import (
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// nameServer starts a name server that knows outside.example, and gives its
// address.
func (h *harness) nameServer(p place) string {
	h.t.Helper()
	var packets net.PacketConn
	h.must(p.do(func() (err error) {
		packets, err = net.ListenPacket("udp", neighbour+":53")
		return err
	}))
	s := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg)
		answer.SetReply(q)
		if q.Question[0].Name == "outside.example." {
			if q.Question[0].Qtype == dns.TypeA {
				a, _ := dns.NewRR("outside.example. 1 IN A " + neighbour)
				answer.Answer = append(answer.Answer, a)
			}
		} else {
			answer.Rcode = dns.RcodeNameError
		}
		w.WriteMsg(answer)
	})}
	go s.ActivateAndServe()
	h.t.Cleanup(func() { s.Shutdown() })
	return neighbour
}

// What no container is called is asked outside, from each kind of network.
func TestNamesOfTheOutside(t *testing.T) {
	h := newHarness(t)
	server := h.nameServer(h.neighbour())
	h.ok("network", "create", "web")
	for _, network := range []string{"bridge", "web"} {
		h.sleeper("app", "--network", network, "--dns", server, "--dns-search", "example", "--dns-option", "ndots:1")
		for _, name := range []string{"outside.example", "outside"} {
			h.pings("app", name)
		}
		if r := h.run("exec", "app", "nslookup", "nobody.example"); r.code == 0 {
			t.Errorf("%s: %v", network, r)
		}
		if got := h.ok("exec", "app", "cat", "/etc/resolv.conf"); !strings.Contains(got, "\nsearch example\noptions ndots:1\n") {
			t.Errorf("%s: %q", network, got)
		}
		h.ok("rm", "-f", "app")
	}
	h.ok("network", "rm", "web")
}

func TestConnectAndDisconnect(t *testing.T) {
	h := newHarness(t)
	h.ok("network", "create", "front")
	h.ok("network", "create", "--subnet", "10.98.0.0/24", "back")
	h.serve("web", "-p", "8080:80")
	h.sleeper("app", "--network", "back")
	h.cut("app", "http://web/")

	// At once, with names both ways, and the port as it was.
	h.ok("network", "connect", "--ip", "10.98.0.77", "--alias", "www", "back", "web")
	h.fetches(page, "app", "http://www/")
	h.pings("web", "app")
	h.gets(place{}, page, "http://127.0.0.1:8080/")
	if a := h.address("web", "back"); a != "10.98.0.77" {
		t.Errorf("web has %s", a)
	}
	if got := h.ok("exec", "web", "cat", "/etc/hosts"); !strings.Contains(got, "\n10.98.0.77\t") {
		t.Errorf("hosts: %q", got)
	}
	h.fails(1, []string{"web", "back"}, "network", "connect", "back", "web")

	// It is a wish that lasts.
	h.ok("restart", "-t", "0", "web")
	h.ok("exec", "web", "httpd", "-h", "/srv")
	h.fetches(page, "app", "http://web/")
	h.ok("network", "disconnect", "back", "web")
	h.cut("app", "http://10.98.0.77/")
	h.gets(place{}, page, "http://127.0.0.1:8080/")
	h.fails(1, []string{"web", "back"}, "network", "disconnect", "back", "web")
	h.prints("bridge\n", "ps", "--filter", "name=web", "--format", "{{.Networks}}")

	// One that does not run is on it when it starts.
	h.ok("stop", "-t", "0", "web")
	h.ok("network", "connect", "front", "web")
	h.ok("network", "disconnect", "bridge", "web")
	h.prints("front\n", "ps", "-a", "--filter", "name=web", "--format", "{{.Networks}}")
	h.ok("start", "web")
	h.address("web", "front")
	h.ok("rm", "-f", "web", "app")

	for _, special := range []string{"none", "host"} {
		h.sleeper("odd", "--network", special)
		h.fails(1, []string{"odd", special}, "network", "connect", "front", "odd")
		h.ok("rm", "-f", "odd")
	}
	h.sleeper("web")
	h.fails(1, []string{"moon"}, "network", "connect", "moon", "web")
	h.fails(1, []string{"moon"}, "network", "connect", "front", "moon")
	h.ok("rm", "-f", "web")
	h.ok("network", "rm", "front", "back")
}

// What one of two containers in one network writes to the files of names, the
// other reads, and both learn of networks that come and go. A file of the user's
// in their place is only copied.
func TestFilesOfASharedNetwork(t *testing.T) {
	h := newHarness(t)
	h.ok("network", "create", "--subnet", "10.98.0.0/24", "back")
	own := h.file("resolv.conf", "nameserver 192.0.2.53\n")
	h.sleeper("web", "--read-only", "-v", own+":/etc/resolv.conf")
	h.sleeper("peer", "--network", "container:web")
	h.sleeper("reader", "--read-only", "--network", "container:peer")
	all := []string{"web", "peer", "reader"}

	h.ok("network", "connect", "--ip", "10.98.0.77", "back", "web")
	for _, name := range all {
		if got := h.ok("exec", name, "cat", "/etc/hosts"); !strings.Contains(got, "\n10.98.0.77\t") {
			t.Errorf("hosts of %s: %q", name, got)
		}
		h.prints("nameserver 192.0.2.53\n", "exec", name, "cat", "/etc/resolv.conf")
	}
	h.ok("exec", "peer", "sh", "-c", "echo 192.0.2.9 db >>/etc/hosts; echo options debug >>/etc/resolv.conf")
	for _, name := range all {
		if got := h.ok("exec", name, "cat", "/etc/hosts"); !strings.HasSuffix(got, "\n192.0.2.9 db\n") {
			t.Errorf("hosts of %s: %q", name, got)
		}
	}
	h.prints("nameserver 192.0.2.53\n", "exec", "web", "cat", "/etc/resolv.conf")
	h.prints("nameserver 192.0.2.53\noptions debug\n", "exec", "reader", "cat", "/etc/resolv.conf")
	for _, name := range []string{"web", "reader"} {
		if r := h.run("exec", name, "sh", "-c", "echo 192.0.2.9 db >>/etc/hosts"); r.code == 0 || !strings.Contains(r.stderr, "Read-only") {
			t.Errorf("written to by one that is read-only: %v", r)
		}
	}

	// They stay when the one that they were made for has ended.
	h.ok("rm", "-f", "web")
	h.ok("exec", "peer", "sh", "-c", "echo 192.0.2.10 late >>/etc/hosts")
	if got := h.ok("exec", "reader", "cat", "/etc/hosts"); !strings.HasSuffix(got, "\n192.0.2.10 late\n") {
		t.Errorf("hosts: %q", got)
	}
	h.ok("rm", "-f", "peer", "reader")
	h.ok("network", "rm", "back")
}

// One container in the network of another: the same interfaces, ports, names.
func TestNetworkOfAContainer(t *testing.T) {
	h := newHarness(t)
	h.ok("network", "create", "front")
	h.serve("web", "--network", "front", "-p", "8080:80", "--add-host", "db:10.0.0.9")
	h.sleeper("peer", "--network", "front")
	root := h.site()
	h.prints(page, "run", "--rm", "--network", "container:web", "--rootfs", root, "--", "wget", "-q", "-O", "-", "http://127.0.0.1/")
	for _, command := range []string{"cat /etc/hosts", "cat /etc/resolv.conf", "hostname", "ip -o addr"} {
		want := h.ok("exec", "web", "sh", "-c", command)
		h.prints(want, "run", "--rm", "--network", "container:web", "--rootfs", root, "--", "sh", "-c", command)
	}
	h.ok("run", "--rm", "--network", "container:web", "--rootfs", root, "--", "ping", "-c", "1", "-W", "5", "peer")
	if got := h.ok("create", "--network", "container:web", "--name", "late", "--rootfs", root, "--", "sleep", "1000"); got == "" {
		t.Error("create prints nothing")
	}
	if got, want := h.field("late", "{{.HostConfig.NetworkMode}}"), "container:"+h.inspect("web").ID; got != want {
		t.Errorf("network mode %s, want %s", got, want)
	}
	for flag, value := range map[string]string{"-p": "80:80", "--hostname": "x", "--add-host": "a:10.0.0.1", "--dns": "10.0.0.1", "--expose": "80", "--ip": "10.0.0.1", "--network-alias": "x"} {
		h.fails(1, []string{"container:web"}, "run", "--rm", "--network", "container:web", flag, value, "--rootfs", root, "--", "true")
	}
	h.fails(1, []string{"moon"}, "run", "--rm", "--network", "container:moon", "--rootfs", root, "--", "true")
	h.ok("start", "late")
	h.ok("rm", "-f", "web", "late")
	h.sleeper("web")
	h.ok("stop", "-t", "0", "web")
	h.fails(1, []string{"web", "not running"}, "run", "--rm", "--network", "container:web", "--rootfs", root, "--", "true")
	h.ok("rm", "-f", "web", "peer")
	h.ok("network", "rm", "front")
}
