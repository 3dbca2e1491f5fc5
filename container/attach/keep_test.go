package attach

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"minict/internal/thread"
	"minict/network/resolver"
)

// networked is a host with a network namespace for its container, which is on a
// network where one name is known: its own.
type networked struct {
	*host
	namespace *os.File
}

func newNetworked(t *testing.T) *networked {
	t.Helper()
	n := &networked{host: newHost(t)}
	if err := thread.Run(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			n.namespace, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.namespace.Close() })
	id := strings.Repeat("c0ffee00", 8)
	n.run = filepath.Join(n.state, "containers", id)
	names := filepath.Join(n.state, "networks/blue/names/self")
	for _, dir := range []string{n.run + "/net", names} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{n.run + "/net/blue": filepath.Join(n.state, "networks/blue"), names + "/10.1.0.2": id} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n *networked) sockets() *resolver.Sockets {
	n.t.Helper()
	s, err := resolver.OpenIn(int(n.namespace.Fd()))
	if err != nil {
		n.t.Fatal(err)
	}
	return &s
}

// lookUp asks from inside for the container's name.
func (n *networked) lookUp() {
	n.t.Helper()
	r := net.Resolver{PreferGo: true, Dial: func(_ context.Context, kind, _ string) (c net.Conn, err error) {
		err = thread.Run(func() (err error) {
			if err = unix.Setns(int(n.namespace.Fd()), unix.CLONE_NEWNET); err == nil {
				c, err = net.Dial(kind, resolver.Address+":53")
			}
			return err
		})
		return c, err
	}}
	got, err := r.LookupNetIP(n.t.Context(), "ip4", "self")
	if err != nil || !slices.Equal(got, []netip.Addr{netip.MustParseAddr("10.1.0.2")}) {
		n.t.Errorf("got %v, %v", got, err)
	}
}

// free says whether nobody has the name server's place in the namespace.
func (n *networked) free() bool {
	n.t.Helper()
	s, err := resolver.OpenIn(int(n.namespace.Fd()))
	if err == nil {
		s.Close()
	} else if !errors.Is(err, resolver.ErrThere) {
		n.t.Fatal(err)
	}
	return err == nil
}

// port is a port of the host's that is reserved.
type port struct {
	file *os.File
	addr *unix.SockaddrInet4
}

func reserve(t *testing.T) port {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "port")
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return port{file, addr.(*unix.SockaddrInet4)}
}

func (p port) free(t *testing.T) bool {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	err = unix.Bind(fd, p.addr)
	if err != nil && err != unix.EADDRINUSE {
		t.Fatal(err)
	}
	return err == nil
}

// What a monitor is given to keep it keeps as long as there is a container, and
// no longer; so does a command that is one.
func TestKept(t *testing.T) {
	for _, here := range []bool{false, true} {
		for _, missing := range []bool{false, true} {
			n, p := newNetworked(t), reserve(t)
			sockets := n.sockets()
			c := Container{Held: []*os.File{p.file}, Resolver: sockets, Process: Process{Stdin: true, StdinOnce: true}}
			start, script := n.host.start, program{script: "read line"}
			if here {
				start, script.flags = n.host.startHere, unix.CLONE_NEWPID
			}
			if missing {
				script.exec = []string{"/missing"}
			}
			s, err := start(script, c)
			p.file.Close()
			sockets.Close()
			if (err != nil) != missing {
				t.Fatal(err)
			}
			if !missing {
				if p.free(t) || n.free() {
					t.Error("nothing is kept")
				}
				r, w := mustPipe(t)
				go func() {
					n.lookUp()
					w.Close()
				}()
				if _, err := s.Relay(t.Context(), Streams{In: r}); err != nil {
					t.Error(err)
				}
			}
			if !here {
				n.monitor.Wait()
			}
			if !p.free(t) || !n.free() {
				t.Errorf("here %v, missing %v: something is kept", here, missing)
			}
		}
	}
}

// What the networks left in files goes with the container, however it ends, while
// its lock is still held; if it can't go, the run directory stays for the sweep.
func TestNetworksAreReleased(t *testing.T) {
	for _, here := range []bool{false, true} {
		for name, script := range map[string]program{
			"ends": {script: "true"}, "does not begin": {exec: []string{"/missing"}}, "has no plan that fits": {script: "true", extra: []string{"console"}},
		} {
			for _, stuck := range []bool{false, true} {
				n := newNetworked(t)
				link := filepath.Join(n.state, "networks/blue/names/self/10.1.0.2")
				lock := n.state + "/networks/.lock"
				if stuck {
					lock = n.state + "/missing/.lock"
				}
				lines := "container " + filepath.Base(n.run) + "\nlock " + lock + "\nlink " + link + "\n"
				for file, content := range map[string]string{n.run + "/release": lines, n.state + "/networks/.lock": ""} {
					if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				start := n.host.start
				if here {
					start, script.flags = n.host.startHere, unix.CLONE_NEWPID
				}
				s, err := start(script, Container{Process: Process{Output: true}})
				if err == nil {
					relayed(t, s, nil)
				}
				if !here {
					n.monitor.Wait()
				}
				_, linked := os.Lstat(link)
				_, ran := os.Lstat(n.run)
				if stuck != (linked == nil) || stuck != (ran == nil) {
					t.Errorf("here %v, stuck %v, %s: link %v, run directory %v", here, stuck, name, linked, ran)
				}
			}
		}
	}
}

// More can be given to a monitor later, and much.
func TestKeepLater(t *testing.T) {
	n := newNetworked(t)
	s := n.mustStart(program{script: "read line"}, Container{Process: Process{Stdin: true, StdinOnce: true}})
	var held []*os.File
	var ports []port
	for range 600 {
		p := reserve(t)
		ports, held = append(ports, p), append(held, p.file)
	}
	sockets := n.sockets()
	if err := Keep(n.run, held, sockets); err != nil {
		t.Fatal(err)
	}
	for _, f := range held {
		f.Close()
	}
	if err := Keep(n.run, nil, sockets); !errors.Is(err, unix.EEXIST) {
		t.Errorf("a second name server: %v", err)
	}
	sockets.Close()
	if err := Keep(n.run, nil, nil); err != nil {
		t.Error(err)
	}
	n.lookUp()
	if slices.ContainsFunc(ports, func(p port) bool { return p.free(t) }) {
		t.Error("not all are kept")
	}
	equal(t, "code", relayed(t, s, strings.NewReader("")).Code, 1)
	n.gone()
	if slices.ContainsFunc(ports, func(p port) bool { return !p.free(t) }) || !n.free() {
		t.Error("something is kept")
	}
	if err := Keep(n.run, nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a container: %v", err)
	}
}
