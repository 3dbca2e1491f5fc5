package table

import (
	"slices"

	"golang.org/x/sys/unix"

	"minict/internal/netlink"
)

// Foreign is a chain of somebody else's, in which what goes to and comes from
// containers has to be accepted too: each table that has a say can drop.
type Foreign struct {
	Family byte
	Table  string
	Chain  string
}

// hook is a chain at a hook, as the kernel lists it.
type hooked struct {
	Foreign
	hook  uint32
	drops bool // what none of its rules has decided on
	base  bool // is called by the kernel, and not by other chains
}

// Dropping lists the chains of others by which forwarded packets are dropped
// that none of their rules accepts, and for each the chain where a rule of ours
// has its place: Docker leaves DOCKER-USER to others and never changes it,
// while it puts its own rules before all in FORWARD. Those that are for nobody
// else to write into are in refused: only their owner can let containers out.
func Dropping(s *netlink.Socket) (places, refused []Foreign, err error) {
	all, err := listChains(s)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range all {
		if c.firewalld() {
			places = append(places, c.Foreign)
		}
		if !c.base || c.hook != unix.NF_INET_FORWARD || !c.drops || c.Table == Name && c.Family == unix.NFPROTO_INET {
			continue
		}
		user := slices.IndexFunc(all, func(o hooked) bool {
			return o.Family == c.Family && o.Table == c.Table && o.Chain == "DOCKER-USER"
		})
		switch {
		case c.Table != "filter" || c.Chain != "FORWARD":
			refused = append(refused, c.Foreign)
		case user >= 0:
			places = append(places, all[user].Foreign)
		default:
			places = append(places, c.Foreign)
		}
	}
	return places, refused, nil
}

// firewalld says whether it is a chain of firewalld's, which rejects in its
// last rule what comes from interfaces that it was not told of.
func (c *hooked) firewalld() bool {
	return c.base && c.Table == "firewalld" && (c.Chain == "filter_FORWARD" || c.Chain == "filter_INPUT")
}

func listChains(s *netlink.Socket) (all []hooked, err error) {
	r := &netlink.Request{}
	r.Netfilter(unix.NFNL_SUBSYS_NFTABLES, unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, unix.AF_UNSPEC)
	err = s.Do(r, func(_ uint16, body []byte) {
		if len(body) < sizeofNfgenmsg {
			return
		}
		attrs := body[sizeofNfgenmsg:]
		hook := netlink.Find(attrs, unix.NFTA_CHAIN_HOOK)
		policy := netlink.Find(attrs, unix.NFTA_CHAIN_POLICY)
		all = append(all, hooked{
			Foreign: Foreign{
				Family: body[0],
				Table:  netlink.String(netlink.Find(attrs, unix.NFTA_CHAIN_TABLE)),
				Chain:  netlink.String(netlink.Find(attrs, unix.NFTA_CHAIN_NAME)),
			},
			base:  hook != nil,
			hook:  netlink.GetBig(netlink.Find(hook, unix.NFTA_HOOK_HOOKNUM)),
			drops: policy != nil && netlink.GetBig(policy) == drop,
		})
	})
	return all, err
}

// Admit puts rules at the head of a chain that accept what comes from, or goes
// to, a bridge whose name begins with a prefix. They are of the form that the
// tools of iptables write and understand.
func Admit(s *netlink.Socket, c Foreign, prefix string) error {
	return s.Do(netlink.Batch(func(r *netlink.Request) {
		for _, key := range []uint32{unix.NFT_META_IIFNAME, unix.NFT_META_OIFNAME} {
			r.Netfilter(unix.NFNL_SUBSYS_NFTABLES, unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE, c.Family)
			r.Text(unix.NFTA_RULE_TABLE, c.Table)
			r.Text(unix.NFTA_RULE_CHAIN, c.Chain)
			r.Nest(unix.NFTA_RULE_EXPRESSIONS, func() {
				// A comparison with less than a whole name compares its begin.
				write(r, []expr{meta(key, reg(0)), cmp(unix.NFT_CMP_EQ, []byte(prefix)), counter(), verdict(accept)})
			})
			r.Attr(unix.NFTA_RULE_USERDATA, comment(admission(prefix)))
		}
	}), nil)
}

func admission(prefix string) string {
	return "minict: containers on " + netlink.String([]byte(prefix))
}

// Admitted says whether Admit has put its rules into a chain.
func Admitted(s *netlink.Socket, c Foreign, prefix string) (bool, error) {
	count, want := 0, comment(admission(prefix))
	err := eachRule(s, c, func(attrs []byte) {
		if slices.Equal(netlink.Find(attrs, unix.NFTA_RULE_USERDATA), want) {
			count++
		}
	})
	return count >= 2, err
}

// eachRule gives each the attributes of a chain's rules, one after the other.
func eachRule(s *netlink.Socket, c Foreign, each func(attrs []byte)) error {
	r := &netlink.Request{}
	r.Netfilter(unix.NFNL_SUBSYS_NFTABLES, unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, c.Family)
	r.Text(unix.NFTA_RULE_TABLE, c.Table)
	r.Text(unix.NFTA_RULE_CHAIN, c.Chain)
	return s.Do(r, func(_ uint16, body []byte) { each(body[min(sizeofNfgenmsg, len(body)):]) })
}
