package network

import (
	"fmt"

	"github.com/google/nftables"

	"minict/network/table"
)

// ruleset is the host's nftables, as the library sees it.
func ruleset() (*nftables.Conn, *nftables.Table) {
	return &nftables.Conn{}, &nftables.Table{Family: nftables.TableFamilyINet, Name: table.Name}
}

// deleteRules removes minict's table, as somebody who flushes all rules does.
func deleteRules() error {
	c, ours := ruleset()
	there, err := c.ListTableOfFamily(ours.Name, ours.Family)
	if err != nil || there == nil {
		return nil
	}
	c.DelTable(ours)
	return c.Flush()
}

// elements lists what is in the sets and maps of minict's table, if there is one.
func elements() (list []string, err error) {
	c, ours := ruleset()
	if there, err := c.ListTableOfFamily(ours.Name, ours.Family); err != nil || there == nil {
		return nil, nil
	}
	sets, err := c.GetSets(ours)
	if err != nil {
		return nil, err
	}
	for _, set := range sets {
		found, err := c.GetSetElements(set)
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			list = append(list, fmt.Sprintf("%s: %x", set.Name, e.Key))
		}
	}
	return list, nil
}

// countRules counts the rules of somebody's chain.
func countRules(place table.Foreign) (int, error) {
	t := &nftables.Table{Family: nftables.TableFamily(place.Family), Name: place.Table}
	rules, err := (&nftables.Conn{}).GetRules(t, &nftables.Chain{Table: t, Name: place.Chain})
	return len(rules), err
}
