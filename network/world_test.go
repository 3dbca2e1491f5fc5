package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"minict/internal/randomid"
	"minict/tests/host"
)

// The tests run on a private host, which is a network namespace. Another one is
// a host outside, and each container has one.
func TestMain(m *testing.M) { os.Exit(host.Run(m.Run)) }

// space is a network namespace.
type space struct {
	t    testing.TB
	file *os.File
}

// newSpace makes one, with a loopback that is up.
func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{t: t}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock it
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			f, err := os.Open("/proc/thread-self/ns/net")
			s.file = f
			return err
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.within(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	t.Cleanup(func() { s.file.Close() })
	return s
}

// within does something in the space; in the host's own if s is nil.
func (s *space) within(do func() error) {
	s.t.Helper()
	if err := s.try(do); err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) try(do func() error) error {
	if s == nil || s.file == nil {
		return do()
	}
	return within(s.file, do)
}

// world is one minict on the private host.
type world struct {
	t testing.TB
	*Manager
	outside *space // at 192.0.2.1 and 2001:db8::1
	home    *space // the host, at 192.0.2.2 and 2001:db8::2

	mu    sync.Mutex
	alive map[string]bool
}

const (
	outside4, home4 = "192.0.2.1", "192.0.2.2"
	outside6, home6 = "2001:db8::1", "2001:db8::2"
)

// newWorld makes a host with an uplink. At the end of the test nothing may be
// left.
func newWorld(t testing.TB) *world {
	t.Helper()
	top := inMemory(t)
	w := &world{t: t, alive: map[string]bool{}, home: &space{t: t}, outside: newSpace(t)}
	w.Manager = &Manager{
		Root: filepath.Join(top, "root"), State: filepath.Join(top, "state"), Containers: filepath.Join(top, "containers"),
		Alive: func(id string) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.alive[id]
		},
	}
	w.must(os.Mkdir(w.Containers, 0o700))
	w.uplink()
	t.Cleanup(w.check)
	return w
}

// inMemory makes a directory where /run is: in memory.
func inMemory(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// uplink connects the host with the one outside.
func (w *world) uplink() {
	w.t.Helper()
	w.must(netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "uplink"}, PeerName: "uplink", PeerNamespace: netlink.NsFd(w.outside.file.Fd()),
	}))
	set := func(four, six string) func() error {
		return func() error {
			link, err := netlink.LinkByName("uplink")
			if err != nil {
				return err
			}
			errs := []error{netlink.LinkSetUp(link)}
			for _, text := range []string{four + "/24", six + "/64"} {
				a, err := netlink.ParseAddr(text)
				if err != nil {
					return err
				}
				a.Flags = unix.IFA_F_NODAD
				errs = append(errs, netlink.AddrAdd(link, a))
			}
			return errors.Join(errs...)
		}
	}
	w.must(set(home4, home6)())
	w.outside.within(set(outside4, outside6))
}

// check ends the world, and sees that nothing of it is left.
func (w *world) check() {
	w.t.Helper()
	w.mu.Lock()
	clear(w.alive)
	w.mu.Unlock()
	w.must(w.Sweep(context.Background()))
	for _, kind := range []string{"leases", "names"} {
		left, err := filepath.Glob(filepath.Join(w.State, "*", kind, "*"))
		w.must(err)
		if len(left) > 0 {
			w.t.Errorf("left behind: %q", left)
		}
	}
	links, err := netlink.LinkList()
	w.must(err)
	for _, link := range links {
		switch name := link.Attrs().Name; {
		case name == "uplink":
			w.must(netlink.LinkDel(link))
		case link.Type() == "bridge":
			w.t.Errorf("left behind: bridge %s", name)
		}
	}
	left, err := elements()
	w.must(err)
	for _, e := range left {
		w.t.Errorf("left behind: element %s", e)
	}
	w.must(deleteRules())
}

// guest is a container that has nothing but a network.
type guest struct {
	*space
	*Attached
	w   *world
	id  string
	dir string
}

// container makes a request of a container that lives.
func (w *world) container(name string) (Request, *guest) {
	w.t.Helper()
	id := randomid.New()
	g := &guest{space: newSpace(w.t), w: w, id: id, dir: filepath.Join(w.Containers, id)}
	w.must(os.Mkdir(g.dir, 0o700))
	w.mu.Lock()
	w.alive[id] = true
	w.mu.Unlock()
	w.t.Cleanup(func() { w.must(w.Release(g.dir)) })
	return Request{Container: id, Name: name, RunDir: g.dir, Namespace: g.file}, g
}

// attach connects a new container.
func (w *world) attach(name string, ports []Port, networks ...string) *guest {
	w.t.Helper()
	r, g := w.container(name)
	for _, n := range networks {
		r.Wishes = append(r.Wishes, Wish{Network: n})
	}
	r.Ports = ports
	var err error
	g.Attached, err = w.Attach(w.t.Context(), r)
	w.must(err)
	w.t.Cleanup(g.close)
	return g
}

// close is the end of its monitor.
func (g *guest) close() {
	if g.Attached == nil {
		return
	}
	for _, f := range g.Held {
		f.Close()
	}
}

// die kills the container with its monitor.
func (g *guest) die() {
	g.close()
	g.file.Close()
	g.w.mu.Lock()
	delete(g.w.alive, g.id)
	g.w.mu.Unlock()
}

// end ends it as it should be.
func (g *guest) end() {
	g.w.must(g.w.Release(g.dir))
	g.die()
}

func (g *guest) ip() string  { return g.Endpoints[0].address(false).String() }
func (g *guest) ip6() string { return g.Endpoints[0].address(true).String() }

// create makes a network that is removed at the end.
func (w *world) create(o Options) *Network {
	w.t.Helper()
	n, err := w.Create(w.t.Context(), o)
	w.must(err)
	return n
}

// serve answers each connection to a TCP port, or each datagram to a UDP port,
// with the address that it came from and the server's name.
func (s *space) serve(protocol string, port int, name string) {
	s.t.Helper()
	s.within(func() error {
		address := fmt.Sprintf(":%d", port)
		if protocol == "tcp" {
			l, err := net.Listen("tcp", address)
			if err != nil {
				return err
			}
			s.t.Cleanup(func() { l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					fmt.Fprintf(c, "%s %s\n", name, hostOf(c.RemoteAddr()))
					c.Close()
				}
			}()
			return nil
		}
		c, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		s.t.Cleanup(func() { c.Close() })
		go func() {
			for buf := make([]byte, 100); ; {
				_, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				c.WriteTo(fmt.Appendf(nil, "%s %s\n", name, hostOf(from)), from)
			}
		}()
		return nil
	})
}

func hostOf(a net.Addr) string {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	return at.Addr().Unmap().String()
}

// patience is how long an answer may take that comes, and refusal how long one
// is waited for that does not.
const (
	patience = 5 * time.Second
	refusal  = 300 * time.Millisecond
)

// ask gives what a server answers: its name, and the address it saw.
func (s *space) ask(protocol, to string, wait time.Duration) (answer string, err error) {
	err = s.try(func() error {
		c, err := (&net.Dialer{Timeout: wait}).Dial(protocol, to)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(wait))
		if protocol == "udp" {
			if _, err := c.Write([]byte("?")); err != nil {
				return err
			}
		}
		line, err := bufio.NewReader(c).ReadString('\n')
		answer = strings.TrimSpace(line)
		return err
	})
	return answer, err
}

// reaches wants an answer.
func (s *space) reaches(protocol, to, want string) {
	s.t.Helper()
	got, err := s.ask(protocol, to, patience)
	if err != nil {
		s.t.Errorf("%s %s: %v, want %q", protocol, to, err, want)
	} else if got != want {
		s.t.Errorf("%s %s: answer %q, want %q", protocol, to, got, want)
	}
}

// misses wants none.
func (s *space) misses(protocol, to string) {
	s.t.Helper()
	if got, err := s.ask(protocol, to, refusal); err == nil {
		s.t.Errorf("%s %s: answer %q, want none", protocol, to, got)
	}
}

// ping wants an echo, by a socket of its own for each: ICMP without privilege
// is off in a new namespace, so it is a raw one.
func (s *space) ping(to string) {
	s.t.Helper()
	if err := s.echo(netip.MustParseAddr(to), patience); err != nil {
		s.t.Errorf("ping %s: %v", to, err)
	}
}

func (s *space) echo(to netip.Addr, wait time.Duration) error {
	return s.try(func() error {
		network, kind, reply := "ip4:icmp", byte(8), byte(0)
		if to.Is6() {
			network, kind, reply = "ip6:ipv6-icmp", 128, 129
		}
		c, err := net.Dial(network, to.String())
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(wait))
		message := []byte{kind, 0, 0, 0, 0, 1, 0, 1}
		sum := uint32(kind)<<8 + 2
		sum = ^sum & 0xffff
		message[2], message[3] = byte(sum>>8), byte(sum) // the kernel does it itself for IPv6
		if _, err := c.Write(message); err != nil {
			return err
		}
		for buf := make([]byte, 200); ; {
			n, err := c.Read(buf)
			if err != nil {
				return err
			}
			answer := buf[:n]
			if to.Is4() && n > 20 {
				answer = answer[20:] // a raw socket gives the IPv4 header too
			}
			if n > 0 && answer[0] == reply {
				return nil
			}
		}
	})
}

// route adds a route, in the place of what leads there.
func (s *space) route(to, gateway string) {
	s.t.Helper()
	s.within(func() error {
		_, dst, err := net.ParseCIDR(to)
		if err != nil {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{Dst: dst, Gw: net.ParseIP(gateway)})
	})
}

func deadline() time.Time { return time.Now().Add(patience) }

// joins connects a space with the host by a link of their own.
func (s *space) joins(w *world, address, home string) {
	s.t.Helper()
	w.must(netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "third"}, PeerName: "third", PeerNamespace: netlink.NsFd(s.file.Fd()),
	}))
	set := func(text string) error {
		link, err := netlink.LinkByName("third")
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(text + "/24")
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetUp(link), netlink.AddrAdd(link, a))
	}
	w.must(set(home))
	s.within(func() error { return set(address) })
	s.route("0.0.0.0/0", home)
	s.t.Cleanup(func() {
		link, err := netlink.LinkByName("third")
		w.must(err)
		w.must(netlink.LinkDel(link))
	})
}
