package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// place is a network namespace that a test reaches containers from. The zero
// one is the host.
type place struct{ namespace *os.File }

// Addresses of the host and of the neighbour on the network between them
// (RFC 5737, RFC 3849: they are nobody's).
const (
	hostAddress, neighbour          = "192.0.2.1", "192.0.2.2"
	hostAddress6, neighbourAddress6 = "2001:db8::1", "2001:db8::2"
)

// neighbour makes a machine beside the host, on a network of the two, and makes
// it the way from the host to everywhere. It sends what is meant for 10/8 and
// fd00::/8 to the host: containers' addresses are known to it.
func (h *harness) neighbour() place {
	h.t.Helper()
	p := place{}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: nobody else may run in it
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			p.namespace, err = os.Open("/proc/thread-self/ns/net")
		}
		made <- err
	}()
	h.must(<-made)
	h.t.Cleanup(func() { p.namespace.Close() })
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "lan"
	h.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "lan", PeerNamespace: netlink.NsFd(p.namespace.Fd())}))
	h.t.Cleanup(func() {
		if link, err := netlink.LinkByName("lan"); err == nil {
			netlink.LinkDel(link)
		}
	})
	h.must(configure("lan", []string{hostAddress + "/24", hostAddress6 + "/64"}, map[string]string{"0.0.0.0/0": neighbour, "::/0": neighbourAddress6}))
	h.must(p.do(func() error {
		if err := configure("lo", nil, nil); err != nil {
			return err
		}
		return configure("lan", []string{neighbour + "/24", neighbourAddress6 + "/64"}, map[string]string{"10.0.0.0/8": hostAddress, "fd00::/8": hostAddress6})
	}))
	return p
}

// configure sets a link up, with addresses and with routes by way of others.
func configure(name string, addresses []string, routes map[string]string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	for _, text := range addresses {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, a); err != nil {
			return fmt.Errorf("address %s: %w", text, err)
		}
	}
	for to, by := range routes {
		_, target, err := net.ParseCIDR(to)
		if err != nil {
			return err
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: target, Gw: net.ParseIP(by)}); err != nil {
			return fmt.Errorf("route %s: %w", to, err)
		}
	}
	return nil
}

// do does something in there, on one thread.
func (p place) do(work func() error) error {
	if p.namespace == nil {
		return work()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Setns(int(p.namespace.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = work()
		}
		done <- err
	}()
	return <-done
}

// dial connects to an address from there.
func (p place) dial(network, address string) (c net.Conn, err error) {
	err = p.do(func() error {
		c, err = net.DialTimeout(network, address, time.Second)
		return err
	})
	return c, err
}

// listen listens there, until the test ends.
func (h *harness) listen(p place, address string) net.Listener {
	h.t.Helper()
	var l net.Listener
	h.must(p.do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	}))
	h.t.Cleanup(func() { l.Close() })
	return l
}

// get fetches a page from there.
func (p place) get(url string) (string, error) {
	dial := func(_ context.Context, network, address string) (net.Conn, error) { return p.dial(network, address) }
	client := http.Client{Timeout: patience, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	return string(page), err
}

// gets is get for a page that has to be there.
func (h *harness) gets(p place, want, url string) {
	h.t.Helper()
	if got, err := p.get(url); err != nil || got != want {
		h.t.Errorf("get %s: %q, %v, want %q", url, got, err, want)
	}
}

// unreachable is get for a page that must not be reached.
func (h *harness) unreachable(p place, url string) {
	h.t.Helper()
	if got, err := p.get(url); err == nil {
		h.t.Errorf("get %s: %q, want no connection", url, got)
	}
}

// Pages of the web server that serve starts.
const (
	page   = "hello\n"
	client = "/cgi-bin/client" // says who asks
)

// site makes a root file system with pages below /srv, and a place for the
// names of servers.
func (h *harness) site() string {
	h.t.Helper()
	root := h.rootfs()
	scripts := filepath.Join(root, "srv", "cgi-bin")
	if err := os.MkdirAll(scripts, 0o755); err != nil {
		h.t.Fatal(err)
	}
	h.must(os.WriteFile(filepath.Join(root, "etc", "resolv.conf"), nil, 0o644))
	h.must(os.WriteFile(filepath.Join(root, "srv", "index.html"), []byte(page), 0o644))
	script := "#!/bin/sh\nprintf 'Content-type: text/plain\\r\\n\\r\\n%s' \"$REMOTE_ADDR\" | tr -d '[]' | sed s/::ffff://\n"
	h.must(os.WriteFile(filepath.Join(scripts, "client"), []byte(script), 0o755))
	return root
}

// serve starts a container with a web server on port 80, in the background,
// that listens when serve returns.
func (h *harness) serve(name string, flags ...string) {
	h.t.Helper()
	h.sleeper(name, flags...)
	h.ok("exec", name, "httpd", "-h", "/srv")
}

// sleeper starts a container in the background.
func (h *harness) sleeper(name string, flags ...string) {
	h.t.Helper()
	args := append([]string{"run", "-d", "--name", name, "-v", shared.probe + ":/probe:ro"}, flags...)
	h.ok(append(args, "--rootfs", h.site(), "--", "sleep", "1000")...)
}

// fetch gets a page from inside a container.
func (h *harness) fetch(container, url string) result {
	h.t.Helper()
	return h.run("exec", container, "timeout", "5", "wget", "-q", "-O", "-", url) // its own time-out crashes
}

// fetches is fetch for a page that has to be there.
func (h *harness) fetches(want, container, url string) {
	h.t.Helper()
	if r := h.fetch(container, url); r.code != 0 || r.stdout != want {
		h.t.Errorf("want %q: %v", want, r)
	}
}

// cut is fetch for a page that must not be reached.
func (h *harness) cut(container, url string) {
	h.t.Helper()
	if r := h.fetch(container, url); r.code == 0 {
		h.t.Errorf("want no connection: %v", r)
	}
}

// pings has a container ping an address, which has to answer.
func (h *harness) pings(container, address string) {
	h.t.Helper()
	if r := h.run("exec", container, "ping", "-c", "1", "-W", "5", address); r.code != 0 {
		h.t.Error(r)
	}
}

// field is what inspect says by a template.
func (h *harness) field(name, template string) string {
	h.t.Helper()
	return strings.TrimSpace(h.ok("inspect", "--format", template, name))
}

// address is a container's on a network.
func (h *harness) address(name, network string) string {
	h.t.Helper()
	a := h.field(name, `{{(index .NetworkSettings.Networks "`+network+`").IPAddress}}`)
	if net.ParseIP(a) == nil {
		h.t.Fatalf("%s has the address %q on %s", name, a, network)
	}
	return a
}
