package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"minict/internal/flock"
	"minict/internal/netlink"
	"minict/network/table"
)

// kernel is the host's two sockets.
type kernel struct{ route, rules *netlink.Socket }

func openKernel() (k kernel, err error) {
	if k.route, err = openRoute(); err != nil {
		return k, err
	}
	if k.rules, err = openRules(); err != nil {
		k.route.Close()
	}
	return k, err
}

// close closes them. Where rules were removed lately, by anybody, closing a
// socket to them waits until nobody can be using what was removed: some
// milliseconds, for which nobody else has to wait.
func (k kernel) close() {
	k.route.Close()
	go k.rules.Close()
}

// entered is the lock, under which a number of networks are defined, up and
// ruled.
type entered struct {
	kernel
	lock     *os.File
	networks []*Network
	bridges  []int // their numbers
}

func (e *entered) close() {
	e.kernel.close()
	e.lock.Close()
}

// enter takes the lock, and before that makes of the networks that are asked
// for what is not there.
func (m *Manager) enter(ctx context.Context, wishes []Wish, mode flock.Mode) (*entered, error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	const rounds = 100 // as often as somebody else could take it down in between
	for range rounds {
		e := &entered{kernel: k}
		if e.lock, err = m.lock(ctx, mode); err != nil {
			break
		}
		var ready bool
		if ready, err = m.look(e, wishes); ready {
			return e, nil
		}
		e.lock.Close()
		if err != nil {
			break
		}
		if err = m.raise(ctx, k, e.networks); err != nil {
			break
		}
	}
	k.close()
	if err == nil {
		err = errors.New("networks are taken down as fast as they are made")
	}
	return nil, err
}

// look finds the networks, and says whether they can be used as they are.
func (m *Manager) look(e *entered, wishes []Wish) (ready bool, err error) {
	ready = true
	for _, w := range wishes {
		n, err := m.Get(w.Network)
		if err != nil {
			return false, err
		}
		if n.Driver != DriverBridge {
			return false, invalidf("network %s can't be one of several: it is no bridge", n.Name)
		}
		index, whole := m.isUp(e.kernel, n)
		ready = ready && whole
		e.networks, e.bridges = append(e.networks, n), append(e.bridges, index)
	}
	if !ready {
		return false, nil
	}
	return m.isRuled(e.kernel)
}

// isUp says whether a network's bridge is there, and was whole.
func (m *Manager) isUp(k kernel, n *Network) (index int, up bool) {
	if len(n.Subnets) == 0 {
		return 0, false
	}
	index, err := k.route.Index(n.Bridge)
	return index, err == nil && readNote(m.upPath(n.Name)) == strconv.Itoa(index)
}

// notWhole is in the place of the bridge's number before the first part of it is
// made, and until the last is gone: as long as the file is there, there may be
// something to take down.
const notWhole = "0"

func (m *Manager) upPath(name string) string { return filepath.Join(m.stateDir(name), "up") }

// isRuled says whether the rules are as they have to be. They are as they were
// if nobody has changed any since somebody looked; if somebody has, it is
// looked for what is missing, since many change rules and few take away ours.
func (m *Manager) isRuled(k kernel) (bool, error) {
	generation, err := table.Generation(k.rules)
	if errors.Is(err, unix.EINVAL) {
		return false, failf(ErrUnavailable, "look at nftables: the kernel has no nf_tables (%w)", err)
	}
	if err != nil {
		return false, unavailable(err, "look at nftables")
	}
	if readNote(m.generationPath()) == strconv.Itoa(int(generation)) {
		return true, nil
	}
	whole, err := table.Whole(k.rules)
	if err != nil || !whole {
		return false, unavailable(err, "look at nftables")
	}
	if lacking, _, err := m.lacking(k); err != nil || len(lacking) > 0 {
		return false, unavailable(err, "look at nftables")
	}
	return true, writeNote(m.generationPath(), strconv.Itoa(int(generation)))
}

func (m *Manager) generationPath() string { return filepath.Join(m.State, ".generation") }

// raise makes what is not there of networks, and the rules.
func (m *Manager) raise(ctx context.Context, k kernel, networks []*Network) error {
	lock, err := m.lock(ctx, flock.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := m.rule(k); err != nil {
		return err
	}
	for _, n := range networks {
		// It may have been removed, or raised, in the meantime.
		now, err := m.Get(n.Name)
		if err != nil {
			return err
		}
		if _, up := m.isUp(k, now); up {
			continue
		}
		if err := m.bringUp(k, now); err != nil {
			return fmt.Errorf("network %s: %w", n.Name, err)
		}
	}
	return nil
}

// rule makes the rules as they have to be, if they are not.
func (m *Manager) rule(k kernel) error {
	if ruled, err := m.isRuled(k); err != nil || ruled {
		return err
	}
	whole, err := table.Whole(k.rules)
	if err == nil && !whole {
		err = m.makeRules(k)
	}
	if err != nil {
		return unavailable(err, "look at nftables")
	}
	// What others do not let through, each start would try again.
	m.admit(k, !whole)
	generation, err := table.Generation(k.rules)
	if err != nil {
		return unavailable(err, "look at nftables")
	}
	return writeNote(m.generationPath(), strconv.Itoa(int(generation)))
}

// bringUp makes a network's bridge. The rules come first: a bridge without
// them would let in what has no business there.
func (m *Manager) bringUp(k kernel, n *Network) error {
	if len(n.Subnets) == 0 {
		all, err := m.definitions()
		if err != nil {
			return err
		}
		if err := m.choose(n, all); err != nil {
			return err
		}
		if err := m.define(n); err != nil {
			return err
		}
	}
	for _, dir := range []string{m.leases(n.Name), m.names(n.Name)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := writeNote(m.upPath(n.Name), notWhole); err != nil {
		return err
	}
	if err := unavailable(table.AddBridge(k.rules, n.ruled()), "add it to the rules"); err != nil {
		return err
	}
	if err := m.forward(n); err != nil {
		return err
	}
	index, err := makeBridge(k.route, n)
	if err != nil {
		return err
	}
	return writeNote(m.upPath(n.Name), strconv.Itoa(index))
}

func (n *Network) ruled() table.Bridge { return table.Bridge{Name: n.Bridge, Internal: n.Internal} }

// makeBridge makes a bridge, or completes the one that is there.
func makeBridge(s *netlink.Socket, n *Network) (index int, err error) {
	index, err = s.Index(n.Bridge)
	if errors.Is(err, unix.ENODEV) {
		r := &netlink.Request{}
		addBridge(r, n)
		if err := s.Do(r, nil); err != nil {
			return 0, unavailable(err, "make the bridge "+n.Bridge)
		}
		index, err = s.Index(n.Bridge)
	}
	if err != nil {
		return 0, unavailable(err, "look for the bridge "+n.Bridge)
	}
	kind, _, err := linkKind(s, index)
	if err != nil {
		return 0, unavailable(err, "look at the bridge "+n.Bridge)
	}
	if kind != "bridge" {
		return 0, failf(ErrUnavailable, "the interface %s is there already, and is no bridge", n.Bridge)
	}
	if err := n.set(); err != nil {
		return 0, failf(ErrUnavailable, "set up the bridge %s: %w", n.Bridge, err)
	}
	r := &netlink.Request{}
	for _, subnet := range n.Subnets {
		addAddress(r, index, netip.PrefixFrom(subnet.Gateway, subnet.Prefix.Bits()))
	}
	setUp(r, index)
	return index, unavailable(s.Do(r, nil), "set up the bridge "+n.Bridge)
}

// set sets what the kernel keeps for the bridge. From its containers the host
// takes no routes and no addresses (CVE-2020-13401).
func (n *Network) set() error {
	six := "ipv6/conf/" + n.Bridge + "/"
	off := "1"
	if n.IPv6 {
		off = "0"
	}
	errs := []error{
		without(setting(six+"accept_ra", "0")),
		// As long as its link-local address is on trial, the host asks
		// nobody on it for theirs: for a second nobody is reached.
		without(setting(six+"accept_dad", "0")),
	}
	err := setting(six+"disable_ipv6", off)
	if !n.IPv6 {
		err = without(err)
	}
	errs = append(errs, err)
	if !n.Internal {
		errs = append(errs, setting("ipv4/conf/"+n.Bridge+"/route_localnet", "1"))
	}
	return errors.Join(errs...)
}

// linkKind gives the kind of an interface that is made by software, and its
// alias.
func linkKind(s *netlink.Socket, index int) (kind, alias string, err error) {
	r := &netlink.Request{}
	r.Begin(unix.RTM_GETLINK, 0, netlink.Link(index, 0, 0))
	err = s.Do(r, func(_ uint16, body []byte) {
		attrs := body[min(unix.SizeofIfInfomsg, len(body)):]
		kind = netlink.String(netlink.Find(netlink.Find(attrs, unix.IFLA_LINKINFO), unix.IFLA_INFO_KIND))
		alias = netlink.String(netlink.Find(attrs, unix.IFLA_IFALIAS))
	})
	return kind, alias, err
}

// takeDown removes a network's bridge and its part in the rules. The caller has
// the exclusive lock, and nobody lives on it. A bridge that was there before
// the network stays.
func (m *Manager) takeDown(k kernel, n *Network) error {
	if _, err := os.Lstat(m.upPath(n.Name)); err == nil {
		if err := writeNote(m.upPath(n.Name), notWhole); err != nil {
			return err
		}
	}
	if err := m.deleteBridge(k.route, n); err != nil && !errors.Is(err, unix.ENODEV) {
		return unavailable(err, "remove the bridge "+n.Bridge)
	}
	if err := table.RemoveBridge(k.rules, n.ruled()); err != nil {
		return unavailable(err, "remove "+n.Bridge+" from the rules")
	}
	return removeIfThere(m.upPath(n.Name))
}

// deleteBridge removes a network's bridge, if it was made for that.
func (m *Manager) deleteBridge(s *netlink.Socket, n *Network) error {
	index, err := s.Index(n.Bridge)
	if err != nil {
		return err
	}
	_, alias, err := linkKind(s, index)
	if err != nil || alias != n.alias() && n.Bridge != defaultBridge {
		return err
	}
	r := &netlink.Request{}
	deleteLink(r, index)
	return s.Do(r, nil)
}

// makeRules makes the table with all that has to be in it: the bridges of the
// networks that are up, and the ports of containers that live.
func (m *Manager) makeRules(k kernel) error {
	content, err := m.content(k)
	if err != nil {
		return err
	}
	err = table.Make(k.rules, content)
	var refused *netlink.Error
	if errors.As(err, &refused) && slices.Contains([]unix.Errno{unix.ENOENT, unix.EOPNOTSUPP, unix.EINVAL}, refused.Errno) {
		return failf(ErrUnavailable, "make the nftables table %s: the kernel lacks a part of nftables that it needs (nf_tables, nft_nat, nft_masq, nft_fib_inet, nft_ct): %w", table.Name, err)
	}
	if err != nil {
		return unavailable(err, "make the nftables table "+table.Name)
	}
	return nil
}

// content is what the sets and maps have to hold.
func (m *Manager) content(k kernel) (c table.Content, err error) {
	all, err := m.definitions()
	if err != nil {
		return c, err
	}
	for _, n := range all {
		if _, up := m.isUp(k, n); up {
			c.Bridges = append(c.Bridges, n.ruled())
		}
	}
	living, err := m.living()
	for _, a := range living {
		c.Ports = append(c.Ports, a.rules()...)
	}
	return c, err
}
