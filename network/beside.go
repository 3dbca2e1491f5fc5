package network

import (
	"golang.org/x/sys/unix"

	"minict/network/table"
)

// Others' rules have to let containers through too. The tables of minict can't
// see to that: a packet has to pass all tables. Docker, for one, has what is
// forwarded dropped, as far as its own rules don't accept it.

// admission is a rule that has to be in a chain of somebody else's.
type admission struct {
	place  table.Foreign
	bridge string // the begin of its name
}

// lacking lists the rules that are not there, and the chains of which only their
// owners can let containers through.
func (m *Manager) lacking(k kernel) (list []admission, owned []table.Foreign, err error) {
	places, owned, err := table.Dropping(k.rules)
	if err != nil || len(places) == 0 {
		return nil, owned, err
	}
	names := m.chosenBridges()
	for _, place := range places {
		for _, name := range names {
			there, err := table.Admitted(k.rules, place, name)
			if err != nil {
				return nil, owned, err
			}
			if !there {
				list = append(list, admission{place, name})
			}
		}
	}
	return list, owned, nil
}

// admit adds what is lacking. What can't be put right is no reason not to
// start; it is said, if that is wanted.
func (m *Manager) admit(k kernel, say bool) {
	list, owned, err := m.lacking(k)
	if err != nil && say {
		m.warn("the rules of others could not be read: they may keep containers from the outside", "error", err)
	}
	for _, a := range list {
		if err := table.Admit(k.rules, a.place, a.bridge); err != nil && say {
			m.warn("a chain drops what is forwarded, and takes no rule for containers: "+describe(a.place), "error", err)
		}
	}
	if say {
		m.tellOwners(owned)
	}
}

// tellOwners says which chains keep containers in that only their owners can
// change.
func (m *Manager) tellOwners(owned []table.Foreign) {
	var names []string
	for _, chain := range owned {
		names = append(names, describe(chain))
	}
	for _, l := range legacyFilters() {
		drops, err := l.drops()
		if err != nil {
			m.warn("the rules of "+l.name+" could not be read: they may keep containers from the outside", "error", err)
		}
		if drops {
			names = append(names, l.name)
		}
	}
	for _, name := range names {
		m.warn("a chain drops what is forwarded, for containers too unless it accepts interfaces " + bridgePrefix + "*: " + name)
	}
}

// chosenBridges are the beginnings of all bridges' names: one for those that
// nobody has chosen, and each of the others.
func (m *Manager) chosenBridges() []string {
	names := []string{bridgePrefix}
	all, err := m.definitions()
	if err != nil {
		return names // what is defined wrongly is said elsewhere
	}
	for _, n := range all {
		if len(n.Bridge) < len(bridgePrefix) || n.Bridge[:len(bridgePrefix)] != bridgePrefix {
			names = append(names, n.Bridge+"\x00") // the whole name, and not its beginning
		}
	}
	return names
}

func describe(c table.Foreign) string {
	family := map[byte]string{unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_INET: "inet"}[c.Family]
	return family + " " + c.Table + " " + c.Chain
}
