package leaks

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// ours is the table of rules of the minict under test. Its rules are the same
// whatever containers there are, and stay; what is in its sets does not.
const ours = "minict"

// OfBridges says whether what is left is all of bridges that nobody uses: the
// next command takes it, so that many that come one after the other don't make
// and remove them again and again.
func OfBridges(left []string) bool {
	for _, line := range left {
		ours := strings.HasPrefix(line, "file ") && strings.HasSuffix(line, "/networks/bridge/up")
		for _, begin := range []string{"link minict", "address minict", "route ", "rules 1 minict set "} {
			ours = ours || strings.HasPrefix(line, begin)
		}
		if !ours {
			return false
		}
	}
	return len(left) > 0
}

// firstCable gives the first of the host's ends of cables that are among what is
// left, as far as it knows: it may be gone by now.
func firstCable(lines []string) (name string, found bool) {
	for _, line := range lines {
		name, ok := strings.CutPrefix(line, "link ")
		if !ok {
			continue
		}
		if link, err := netlink.LinkByName(name); err != nil || link.Type() == "veth" {
			return name, true
		}
	}
	return "", false
}

// disappears waits until a link is gone, and says whether it was in time.
func disappears(name string, deadline time.Time) bool {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		return false
	}
	late := time.After(time.Until(deadline))
	for {
		if _, err := netlink.LinkByName(name); err != nil {
			return true
		}
		select {
		case <-updates:
		case <-late:
			return false
		}
	}
}

// network lists links, addresses, routes, rules, and the ports that somebody
// has.
func (s Snapshot) network() error {
	for _, part := range []func() error{s.links, s.routes, s.rules, s.ports} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// whole asks for a list until nobody has changed it while it was made.
func whole[T any](list func() ([]T, error)) (all []T, err error) {
	for range 100 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

func (s Snapshot) links() error {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("links: %w", err)
	}
	names := map[int]string{}
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
		s.lines["link "+link.Attrs().Name]++
	}
	addresses, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("addresses: %w", err)
	}
	for _, a := range addresses {
		s.lines[fmt.Sprintf("address %s %s", names[a.LinkIndex], a.IPNet)]++
	}
	return nil
}

func (s Snapshot) routes() error {
	routes, err := whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("routes: %w", err)
	}
	for _, r := range routes {
		s.lines[fmt.Sprintf("route %v by %v link %d table %d", r.Dst, r.Gw, r.LinkIndex, r.Table)]++
	}
	return nil
}

// rules lists the tables of nftables, and what is in their sets and maps.
func (s Snapshot) rules() error {
	nft, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	tables, err := nft.ListTables()
	if err != nil {
		return fmt.Errorf("tables of rules: %w", err)
	}
	for _, t := range tables {
		name := fmt.Sprintf("rules %d %s", t.Family, t.Name)
		if t.Name != ours {
			s.lines[name]++
		}
		sets, err := nft.GetSets(t)
		if err != nil {
			return fmt.Errorf("sets of %s: %w", t.Name, err)
		}
		for _, set := range sets {
			if set.Anonymous || set.Constant {
				continue // part of a rule
			}
			elements, err := nft.GetSetElements(set)
			if err != nil {
				return fmt.Errorf("set %s of %s: %w", set.Name, t.Name, err)
			}
			for _, e := range elements {
				s.lines[fmt.Sprintf("%s set %s: %s %s", name, set.Name, hex.EncodeToString(e.Key), hex.EncodeToString(e.Val))]++
			}
		}
	}
	return nil
}

// ports lists the sockets of proc_net(5) that are bound and not connected.
func (s Snapshot) ports() error {
	for _, protocol := range []string{"tcp", "tcp6", "udp", "udp6"} {
		table, err := os.ReadFile("/proc/net/" + protocol)
		if err != nil {
			return err
		}
		const listens, unconnected = "0A", "07"
		for _, line := range strings.Split(string(table), "\n")[1:] {
			if f := strings.Fields(line); len(f) > 3 && (f[3] == listens || f[3] == unconnected) {
				s.lines["port "+protocol+" "+f[1]]++
			}
		}
	}
	return nil
}
