package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// A container can have name servers of its own, at all of its addresses, and
// still be answered; and they are asked at their addresses and not at this one.
func TestAnotherNameServerInTheContainer(t *testing.T) {
	w := newWorld(t, "127.0.0.2")
	w.upstream("127.0.0.2", says("A 192.0.2.1"))
	own := dns.HandlerFunc(says("A 10.10.10.10"))
	w.container.do(func() error {
		packets, err := net.ListenPacket("udp", ":53")
		if err != nil {
			return err
		}
		streams, err := net.Listen("tcp", ":53")
		if err != nil {
			return err
		}
		for _, s := range []*dns.Server{{PacketConn: packets, Handler: own}, {Listener: streams, Handler: own}} {
			go s.ActivateAndServe()
			t.Cleanup(func() { s.Shutdown() })
		}
		return nil
	})
	for _, protocol := range []string{"udp", "tcp"} {
		equal(t, protocol, short(w.exchange(protocol, question(dns.TypeA, "x."))), "192.0.2.1")
		w.container.do(func() error {
			client := dns.Client{Net: protocol, Timeout: 5 * time.Second}
			answer, _, err := client.Exchange(question(dns.TypeA, "x."), "127.0.0.1:53")
			if err == nil {
				equal(t, "own by "+protocol, short(answer), "10.10.10.10")
			}
			return err
		})
	}
}

// There is one in a namespace, which can also come later.
func TestOpenIn(t *testing.T) {
	n := newNamespace(t)
	s, err := OpenIn(int(n.file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenIn(int(n.file.Fd())); !errors.Is(err, ErrThere) || !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("the second: %v", err)
	}
	s.Close()
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := OpenIn(int(file.Fd())); !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "network namespace") {
		t.Errorf("not a namespace: %v", err)
	}
}

func TestNetworkOrder(t *testing.T) {
	n := newNamespace(t)
	n.do(loopbackUp)
	n.do(func() error {
		c, err := net.ListenPacket("udp4", "127.0.0.1:53")
		if err != nil {
			return err
		}
		defer c.Close()
		v := server{address: address{ip: [16]byte{127, 0, 0, 1}, size: 4}}
		fd := v.connect(unix.SOCK_DGRAM)
		defer unix.Close(fd)
		peer, err := unix.Getpeername(fd)
		if err == nil && peer.(*unix.SockaddrInet4).Port != domainPort {
			err = fmt.Errorf("port %d", peer.(*unix.SockaddrInet4).Port)
		}
		return err
	})
}

// What people have in their containers understands the answers.
func TestRealClients(t *testing.T) {
	w := newWorld(t, "127.0.0.2")
	w.join(self, "net", "10.1.0.2", "self")
	w.addContainer("db")
	w.join("db", "net", "10.1.0.3", "db")
	w.join("db", "net", "fd00::3", "db")
	for i := range 200 {
		w.join(self, "net", fmt.Sprintf("10.9.0.%d", i), "all")
	}
	w.upstream("127.0.0.2", func(r dns.ResponseWriter, m *dns.Msg) {
		switch {
		case m.Question[0].Name != "out.example.":
			fails(dns.RcodeNameError)(r, m)
		case m.Question[0].Qtype == dns.TypeA:
			says("A 192.0.2.1")(r, m)
		case m.Question[0].Qtype == dns.TypeAAAA:
			says("AAAA 2001:db8::1")(r, m)
		default:
			says()(r, m)
		}
	})
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	for _, options := range []string{"ndots:0", "ndots:0 single-request", "ndots:0 single-request-reopen", "ndots:0 use-vc", "ndots:0 edns0 trust-ad"} {
		for _, tt := range []struct {
			args string
			want []string
		}{
			{"getent ahosts db", []string{"10.1.0.3", "fd00::3"}},
			{"getent ahosts out.example", []string{"192.0.2.1", "2001:db8::1"}},
			{"getent ahosts db.net", []string{"10.1.0.3"}},
			{"getent ahosts all", []string{"10.9.0.0 ", "10.9.0.99 ", "10.9.0.199 "}}, // by TCP, since it is so long
			{"getent hosts 10.1.0.3", []string{"db.net"}},
			{"getent hosts fd00::3", []string{"db.net"}},
			{busybox + " nslookup db", []string{"Address: 10.1.0.3", "Address: fd00::3"}},
			{busybox + " nslookup out.example 127.0.0.11", []string{"Address: 192.0.2.1"}},
			{busybox + " nslookup 10.1.0.3", []string{"name = db.net"}},
			{busybox + " ping -c1 -W1 self", []string{"PING self (10.1.0.2)"}},
		} {
			out, err := w.run(options, strings.Fields(tt.args)...)
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("%s (%s): %q is not in\n%s%v", tt.args, options, want, out, err)
				}
			}
		}
	}
	begin := time.Now()
	if out, err := w.run("ndots:0", "getent", "ahosts", "missing"); err == nil {
		t.Errorf("missing: %s", out)
	}
	w.settings(Settings{NoForward: true})
	if out, err := w.run("ndots:0", "getent", "ahosts", "out.example"); err == nil {
		t.Errorf("on an internal network: %s", out)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("names that are not there took %v", took)
	}
	goResolver := net.Resolver{PreferGo: true, Dial: func(_ context.Context, network, _ string) (c net.Conn, err error) {
		w.container.do(func() error {
			c, err = net.Dial(network, Address+":53")
			return err
		})
		return c, err
	}}
	all, err := goResolver.LookupNetIP(t.Context(), "ip4", "all")
	if err != nil || len(all) != 200 {
		t.Errorf("Go: %d addresses, %v", len(all), err)
	}
	db, err := goResolver.LookupNetIP(t.Context(), "ip6", "db")
	if err != nil || len(db) != 1 || db[0] != netip.MustParseAddr("fd00::3") {
		t.Errorf("Go: %v, %v", db, err)
	}
}

// run runs a program in the container's network, with an /etc of its own.
func (w *world) run(options string, args ...string) (string, error) {
	w.t.Helper()
	w.must(os.MkdirAll(w.top+"/etc", 0o755))
	w.write("etc/resolv.conf", "nameserver "+Address+"\noptions "+options+"\n")
	w.write("etc/nsswitch.conf", "hosts: dns\n")
	var out []byte
	var failed error
	w.container.do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		if err := unix.Mount(w.top+"/etc", "/etc", "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over /etc: %w", err)
		}
		out, failed = exec.Command(args[0], args[1:]...).CombinedOutput()
		return nil
	})
	return string(out), failed
}
