package network

import (
	"golang.org/x/sys/unix"

	"minict/network/table"
)

// besides has the rules of others let containers through. The tables of minict
// can't: a packet has to pass all tables. Docker, for one, has what is
// forwarded dropped, as far as its own rules don't accept it.
//
// It is called whenever rules have changed. What can't be put right is no reason
// not to start; it is said when minict's own rules are made.
func (m *Manager) besides(k kernel, say bool) {
	places, owned, err := table.Dropping(k.rules)
	if err != nil && say {
		m.warn("the rules of others could not be read: they may keep containers from the outside", "error", err)
	}
	names := m.chosenBridges()
	for _, place := range places {
		for _, name := range names {
			if err := table.Admit(k.rules, place, name); err != nil && say {
				m.warn("a chain drops what is forwarded, and takes no rule for containers: "+describe(place), "error", err)
			}
		}
	}
	for _, chain := range owned {
		if !say {
			break
		}
		m.warn("a chain drops what is forwarded, for containers too unless it accepts interfaces " + bridgePrefix + "*: " + describe(chain))
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
