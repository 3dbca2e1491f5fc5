package network

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"minict/internal/netlink"
	"minict/network/table"
)

// foreign makes a table of somebody else's, with chains of which the first is
// the kernel's to call and drops what no rule accepts.
func (w *world) foreign(family byte, name string, chains ...string) {
	w.t.Helper()
	k, err := openKernel()
	w.must(err)
	defer k.close()
	begin := func(r *netlink.Request, kind, flags uint16) {
		r.Netfilter(unix.NFNL_SUBSYS_NFTABLES, kind, flags, family)
	}
	w.must(k.rules.Do(netlink.Batch(func(r *netlink.Request) {
		begin(r, unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE)
		r.Text(unix.NFTA_TABLE_NAME, name)
		for i, chain := range chains {
			begin(r, unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
			r.Text(unix.NFTA_CHAIN_TABLE, name)
			r.Text(unix.NFTA_CHAIN_NAME, chain)
			if i > 0 {
				continue
			}
			r.Text(unix.NFTA_CHAIN_TYPE, "filter")
			r.Nest(unix.NFTA_CHAIN_HOOK, func() {
				r.Big(unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_FORWARD)
				r.Big(unix.NFTA_HOOK_PRIORITY, 0)
			})
			r.Big(unix.NFTA_CHAIN_POLICY, 0) // drop
		}
		if len(chains) > 1 { // as Docker calls it
			begin(r, unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE)
			r.Text(unix.NFTA_RULE_TABLE, name)
			r.Text(unix.NFTA_RULE_CHAIN, chains[0])
			r.Nest(unix.NFTA_RULE_EXPRESSIONS, func() {
				r.Nest(unix.NFTA_LIST_ELEM, func() {
					r.Text(unix.NFTA_EXPR_NAME, "immediate")
					r.Nest(unix.NFTA_EXPR_DATA, func() {
						r.Big(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
						r.Nest(unix.NFTA_IMMEDIATE_DATA, func() {
							r.Nest(unix.NFTA_DATA_VERDICT, func() {
								jump := int32(unix.NFT_JUMP)
								r.Big(unix.NFTA_VERDICT_CODE, uint32(jump))
								r.Text(unix.NFTA_VERDICT_CHAIN, chains[1])
							})
						})
					})
				})
			})
		}
	}), nil))
	w.t.Cleanup(func() {
		k, err := openKernel()
		w.must(err)
		defer k.close()
		w.must(k.rules.Do(netlink.Batch(func(r *netlink.Request) {
			begin(r, unix.NFT_MSG_DELTABLE, 0)
			r.Text(unix.NFTA_TABLE_NAME, name)
		}), nil))
	})
}

// Beside a Docker that drops what is forwarded, in whichever order the two
// come, containers reach the outside and are reached by published ports, and
// networks stay apart.
func TestBesideDocker(t *testing.T) {
	for _, c := range []struct {
		name   string
		first  bool
		chains []string
		bridge string
		rules  int
	}{
		{"Docker was there", true, []string{"FORWARD", "DOCKER-USER"}, "", 2},
		{"Docker comes later", false, []string{"FORWARD", "DOCKER-USER"}, "", 2},
		{"a firewall of iptables", true, []string{"FORWARD"}, "", 2},
		{"a bridge with a name of the user's", true, []string{"FORWARD"}, "mine", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			docker := func() {
				w.foreign(unix.NFPROTO_IPV4, "filter", c.chains...)
				w.foreign(unix.NFPROTO_IPV6, "filter", c.chains...)
			}
			w.create(Options{Name: "net", IPv6: true, Options: map[string]string{"com.docker.network.bridge.name": c.bridge}})
			if c.first {
				docker()
			} else {
				w.attach("early", nil, "net")
				docker()
			}
			web := w.attach("web", []Port{tcp(8080, 80)}, "net")
			other := w.attach("other", nil, Default)
			web.serve("tcp", 80, "web")
			w.outside.serve("tcp", 80, "outside")
			web.reaches("tcp", outside4+":80", "outside "+home4)
			web.reaches("tcp", "["+outside6+"]:80", "outside "+home6)
			w.outside.reaches("tcp", home4+":8080", "web "+outside4)
			w.outside.reaches("tcp", "["+home6+"]:8080", "web "+outside6)
			other.misses("tcp", web.ip()+":80")

			// It is not done again for each container.
			for i := range 3 {
				w.attach(fmt.Sprintf("more%d", i), []Port{tcp(0, 80)}, "net")
			}
			place := table.Foreign{Family: unix.NFPROTO_IPV4, Table: "filter", Chain: c.chains[len(c.chains)-1]}
			if n, err := countRules(place); err != nil || n != c.rules {
				t.Errorf("%d rules in %s, %v", n, describe(place), err)
			}
		})
	}
}

// What is not forwarded for containers is dropped as before.
func TestOthersStayClosed(t *testing.T) {
	w := newWorld(t)
	w.foreign(unix.NFPROTO_IPV4, "filter", "FORWARD")
	w.attach("a", nil, Default)
	third := newSpace(t)
	third.joins(w, "192.168.99.1", "192.168.99.2")
	w.outside.serve("tcp", 80, "outside")
	w.outside.route("192.168.99.0/24", home4)
	third.misses("tcp", outside4+":80")
}
