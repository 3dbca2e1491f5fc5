package runtime

import (
	"fmt"
	"os"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minict/internal/thread"
	"minict/runtime/launch"
	"minict/runtime/plan"
)

// Network is a new network namespace that is being made.
type Network struct {
	aside  *launch.Aside
	slot   plan.Slot    // of its result
	steps  []plan.Step  // of its plan
	inside <-chan error // of what is done inside; nil for nothing

	made, done sync.Once
	file       *os.File
	err        error
}

// MakesNetwork says whether a container has a new network namespace that NewNetwork
// can make: one that belongs to a new user namespace is made in there.
func MakesNetwork(s *specs.Spec) bool {
	if s.Linux == nil {
		return false
	}
	made := false
	for _, ns := range s.Linux.Namespaces {
		switch {
		case ns.Type == specs.UserNamespace:
			return false
		case ns.Type == specs.NetworkNamespace:
			made = ns.Path == ""
		}
	}
	return made
}

// NewNetwork begins to make a network namespace with its loopback interface up, if
// that is permitted (LoopbackStaysDown): it takes the kernel half a millisecond,
// which another processor has while the caller goes on (launch.Aside). What is to be
// done inside it, such as to open sockets, is done, on a thread that ends with that,
// before File gives it. Close it.
func NewNetwork(inside ...func() error) *Network {
	n := new(Network)
	n.begin()
	if len(inside) > 0 && n.err == nil {
		n.inside = thread.Start(func() error { return n.do(inside) })
	}
	return n
}

func (n *Network) begin() {
	var b plan.Builder
	n.slot = b.Slot()
	b.Step(plan.Step{Phase: plan.Child, Verb: "new namespace", Object: "network"})
	b.Call(unix.SYS_UNSHARE, plan.Int(unix.CLONE_NEWNET))
	b.Step(plan.Step{Phase: plan.Child, Verb: "open", Object: "/proc/self/ns/net"})
	b.Call(unix.SYS_OPENAT, plan.Int(atFDCWD), b.Str("/proc/self/ns/net"), plan.Int(unix.O_RDONLY|unix.O_CLOEXEC)).Into(n.slot)
	b.Step(plan.Step{Phase: plan.Child, Verb: "bring up", Object: "lo"})
	raiseLoopback(&b, int(unix.EPERM))
	p := b.Plan(0, plan.NoSlot)
	n.steps = p.Steps
	n.aside, n.err = launch.GoAside(p.Ready())
}

// raiseLoopback brings up the interface lo: it is there in each new network
// namespace, but down.
func raiseLoopback(b *plan.Builder, ignore ...int) {
	var ifreq [40]byte // struct ifreq: name, then flags
	copy(ifreq[:], "lo")
	ifreq[16] = unix.IFF_UP
	sock := b.Slot()
	b.Call(unix.SYS_SOCKET, plan.Int(unix.AF_INET), plan.Int(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), plan.Int(0)).Into(sock)
	b.Call(unix.SYS_IOCTL, sock.Value(), plan.Int(unix.SIOCSIFFLAGS), b.Data(ifreq[:])).Ignore(ignore...)
	b.Call(unix.SYS_CLOSE, sock.Value())
}

// wait waits for the namespace.
func (n *Network) wait() {
	if n.err != nil {
		n.err = fmt.Errorf("new namespace network: %w", n.err)
		return
	}
	fd, err := n.aside.Wait(n.slot)
	if err == nil {
		n.file = os.NewFile(uintptr(fd), "network namespace")
		return
	}
	n.err = fmt.Errorf("new namespace network: %w", err)
	if f, ok := err.(*launch.Failure); ok && f.Step >= 0 {
		n.err = fmt.Errorf("%s %s: %w", n.steps[f.Step].Verb, n.steps[f.Step].Object, f.Errno)
	}
}

// do enters the namespace, and does what is to be done there.
func (n *Network) do(inside []func() error) error {
	if n.made.Do(n.wait); n.err != nil {
		return n.err
	}
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("join namespace network: %w", err)
	}
	for _, do := range inside {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// File waits for the namespace, and gives it as input InputNetwork. It stays
// the Network's.
func (n *Network) File() (*os.File, error) {
	n.made.Do(n.wait)
	n.done.Do(func() {
		if n.inside != nil {
			n.err = <-n.inside
		}
	})
	return n.file, n.err
}

// Close lets go of the namespace: it ends when nothing else has it.
func (n *Network) Close() error {
	if n.File(); n.file == nil {
		return nil
	}
	return n.file.Close()
}
