package e2e

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Fifty containers that are started at once have fifty addresses.
func TestFiftyAtOnce(t *testing.T) {
	h := newHarness(t)
	root := h.site()
	h.ok("network", "create", "web")
	addresses := make([]string, 50)
	var wg sync.WaitGroup
	for i := range addresses {
		wg.Go(func() {
			r := h.run("run", "-d", "--name", fmt.Sprint("web", i), "--network", "web", "--rootfs", root, "--", "sleep", "1000")
			if r.code != 0 {
				t.Error(r)
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for i := range addresses {
		a := h.address(fmt.Sprint("web", i), "web")
		if seen[a] {
			t.Errorf("%s is given twice", a)
		}
		seen[a] = true
	}
	h.pings("web0", "web49")
	h.ok(append([]string{"rm", "-f"}, strings.Fields(h.ok("ps", "-aq"))...)...)
	for i := range addresses {
		wg.Go(func() {
			if r := h.run("run", "--rm", "-p", fmt.Sprintf("%d:80", 9000+i), "--rootfs", root, "--", "true"); r.code != 0 || r.stderr != "" {
				t.Error(r)
			}
		})
	}
	wg.Wait()
	h.ok("network", "rm", "web")
}

func TestTwoHundredOnOneBridge(t *testing.T) {
	h := newHarness(t)
	root := h.site()
	var wg sync.WaitGroup
	names := make(chan int)
	for range runtime.NumCPU() {
		wg.Go(func() {
			for i := range names {
				if r := h.run("run", "-d", "--name", fmt.Sprint("web", i), "-p", "80", "--rootfs", root, "--", "sleep", "1000"); r.code != 0 {
					t.Error(r)
				}
			}
		})
	}
	for i := range 200 {
		names <- i
	}
	close(names)
	wg.Wait()
	h.pings("web0", h.address("web199", "bridge"))
	if n := strings.Count(h.ok("ps", "-q"), "\n"); n != 200 {
		t.Errorf("%d run", n)
	}
	h.ok(append([]string{"rm", "-f"}, strings.Fields(h.ok("ps", "-aq"))...)...)
}

// What a container had of networks is free again however it ended.
func TestKilledMonitorsLeaveNoNetwork(t *testing.T) {
	h := newHarness(t)
	h.ok("network", "create", "--subnet", "10.99.0.0/29", "tiny") // five for containers
	for range 8 {
		h.serve("web", "--rm", "--network", "tiny", "-p", "8080:80", "--ip", "10.99.0.5")
		h.gets(place{}, page, "http://127.0.0.1:8080/")
		pid := h.inspect("web").State.Pid
		monitor := h.parent(pid)
		h.must(syscall.Kill(monitor, syscall.SIGKILL))
		h.gone(pid)
		h.gone(monitor)
		h.prints("", "ps", "-aq")
	}
	h.ok("network", "rm", "tiny")
}

// Somebody flushes the rules: the next command that starts something, or
// network reload, puts them back.
func TestFlushedRules(t *testing.T) {
	h := newHarness(t)
	out := h.neighbour()
	h.serve("web", "-p", "8080:80")
	url := "http://" + hostAddress + ":8080/"
	h.gets(out, page, url)
	for _, again := range [][]string{{"network", "reload"}, {"run", "--rm", "--rootfs", h.rootfs(), "--", "true"}} {
		nft, err := nftables.New()
		h.must(err)
		nft.FlushRuleset()
		h.must(nft.Flush())
		h.unreachable(out, url)
		h.ok(again...)
		h.gets(out, page, url)
		h.gets(place{}, page, "http://127.0.0.1:8080/")
		h.pings("web", neighbour)
	}
	h.ok("rm", "-f", "web")
}

func TestPruneNetworks(t *testing.T) {
	h := newHarness(t)
	for _, name := range []string{"used", "wished", "idle", "labelled"} {
		h.ok("network", "create", "--label", name, name)
	}
	h.sleeper("web", "--network", "used")
	h.ok("create", "--name", "late", "--network", "wished", "--rootfs", h.rootfs(), "--", "true")
	h.prints("", "network", "prune", "--filter", "label=moon", "-f")
	h.prints("Deleted Networks:\nlabelled\n", "network", "prune", "-f", "--filter", "label=labelled")
	if r := h.runWith("n\n", "network", "prune"); r.code != 0 || r.stdout != "" {
		t.Error(r)
	}
	if r := h.runWith("y\n", "network", "prune"); r.code != 0 || r.stdout != "Deleted Networks:\nidle\n" {
		t.Error(r)
	}
	h.prints("bridge\nhost\nnone\nused\nwished\n", "network", "ls", "--format", "{{.Name}}")
	h.ok("rm", "-f", "web", "late")
	h.ok("network", "rm", "used", "wished")
}

// A bridge that nobody uses is taken down by whatever command comes next.
func TestIdleBridges(t *testing.T) {
	h := newHarness(t)
	h.ok("run", "--rm", "--rootfs", h.rootfs(), "--", "true")
	h.ok("ps")
	if left := bridges(t); len(left) > 0 {
		t.Errorf("%v stay up", left)
	}
	h.sleeper("web")
	h.ok("run", "--rm", "--rootfs", h.rootfs(), "--", "true")
	h.ok("ps")
	if up := bridges(t); len(up) != 1 {
		t.Errorf("%v are up", up)
	}
	h.ok("rm", "-f", "web")
	if left := bridges(t); len(left) > 0 {
		t.Errorf("%v stay up", left)
	}
}

func bridges(t *testing.T) []string {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, link := range links {
		if link.Type() == "bridge" {
			names = append(names, link.Attrs().Name)
		}
	}
	return names
}

// Without the right to set up networks there is one line that says so.
func TestNoNetAdmin(t *testing.T) {
	h := newHarness(t)
	root := h.site()
	r := h.without(unix.CAP_NET_ADMIN, "run", "--rm", "--rootfs", root, "--", "true")
	h.failed(r, 2, []string{"CAP_NET_ADMIN", "--network none and host"})
	for _, network := range []string{"none", "host"} {
		r := h.without(unix.CAP_NET_ADMIN, "run", "--rm", "--network", network, "--rootfs", root, "--", "echo", "hello")
		if r.code != 0 || r.stdout != "hello\n" || r.stderr != "" {
			t.Error(r)
		}
	}

	// Of a network of its own there is the loopback alone, and nobody who could
	// bring it up.
	r = h.without(unix.CAP_NET_ADMIN, "run", "--rm", "--network", "none", "--log-level", "warn", "--rootfs", root, "--", "ip", "-o", "link")
	if r.code != 0 || !strings.Contains(r.stdout, "lo: <LOOPBACK> ") || strings.Count(r.stdout, "\n") != 1 || !strings.Contains(r.stderr, "127.0.0.1") {
		t.Error(r)
	}
	r = h.without(unix.CAP_SYS_ADMIN, "run", "--rm", "--network", "none", "--rootfs", root, "--", "true")
	h.failed(r, 2, []string{"operation not permitted"})
}

// without runs minict without a capability.
func (h *harness) without(capability uintptr, args ...string) (r result) {
	h.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread ends with this: it can't get the capability back.
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
			h.t.Error(err)
			return
		}
		r = h.finish(h.command(args...))
	}()
	<-done
	return r
}
