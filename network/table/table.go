// Package table is the nftables table of minict: its rules, which never
// change, and the sets and maps that change with networks and published ports.
//
// The small monitor takes a container's ports out of it, so it imports
// x/sys/unix alone.
package table

import (
	"golang.org/x/sys/unix"

	"minict/internal/netlink"
)

// Name of the table, in the family inet: its rules see IPv4 and IPv6.
const Name = "minict"

// Bridge is a network as the rules see it.
type Bridge struct {
	Name     string // of the interface
	Internal bool
}

// Content is what the sets and maps have to hold.
type Content struct {
	Bridges []Bridge
	Ports   []Port
}

// Make makes the table with a content, in one transaction: whatever it was
// before, there is no moment without it.
func Make(s *netlink.Socket, c Content) error {
	return s.Do(netlink.Batch(func(r *netlink.Request) {
		// What is there already is no error, and what is not can't be removed.
		begin(r, unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE)
		r.Text(unix.NFTA_TABLE_NAME, Name)
		begin(r, unix.NFT_MSG_DELTABLE, 0)
		r.Text(unix.NFTA_TABLE_NAME, Name)
		define(r)
		addBridges(r, c.Bridges)
		addPorts(r, c.Ports)
	}), nil)
}

// begin begins a message about the table.
func begin(r *netlink.Request, kind, flags uint16) {
	r.Netfilter(unix.NFNL_SUBSYS_NFTABLES, kind, flags, unix.NFPROTO_INET)
}

// define makes the table without any elements.
func define(r *netlink.Request) {
	begin(r, unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	r.Text(unix.NFTA_TABLE_NAME, Name)
	for i, s := range sets {
		begin(r, unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
		r.Text(unix.NFTA_SET_TABLE, Name)
		r.Text(unix.NFTA_SET_NAME, s.name)
		r.Big(unix.NFTA_SET_ID, uint32(i+1))
		r.Big(unix.NFTA_SET_KEY_TYPE, s.keyType)
		r.Big(unix.NFTA_SET_KEY_LEN, s.keyLen)
		if s.keyType == typeDevice {
			r.Attr(unix.NFTA_SET_USERDATA, hostOrder)
		}
		if s.valueLen != 0 {
			r.Big(unix.NFTA_SET_FLAGS, unix.NFT_SET_MAP)
			r.Big(unix.NFTA_SET_DATA_TYPE, s.valueType)
			r.Big(unix.NFTA_SET_DATA_LEN, s.valueLen)
		}
	}
	for _, c := range chains() {
		c.define(r)
	}
}

func (c *chain) define(r *netlink.Request) {
	begin(r, unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	r.Text(unix.NFTA_CHAIN_TABLE, Name)
	r.Text(unix.NFTA_CHAIN_NAME, c.name)
	r.Text(unix.NFTA_CHAIN_TYPE, c.kind)
	r.Nest(unix.NFTA_CHAIN_HOOK, func() {
		r.Big(unix.NFTA_HOOK_HOOKNUM, c.hook)
		r.Big(unix.NFTA_HOOK_PRIORITY, uint32(c.priority))
	})
	for _, rule := range c.rules {
		begin(r, unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
		r.Text(unix.NFTA_RULE_TABLE, Name)
		r.Text(unix.NFTA_RULE_CHAIN, c.name)
		r.Nest(unix.NFTA_RULE_EXPRESSIONS, func() { write(r, rule.match) })
		r.Attr(unix.NFTA_RULE_USERDATA, comment(rule.comment))
	}
}

// hostOrder tells the nft tool how to show names: type 0, length, and the
// number for the machine's byte order.
var hostOrder = append([]byte{0, 4}, netlink.Word(1)...)

// comment is a comment as the nft tool keeps it with a rule: type 0, length,
// text with its final zero.
func comment(text string) []byte {
	return append([]byte{0, byte(len(text) + 1)}, text+"\x00"...)
}

// Generation is the number that each change of any rules of the network
// namespace counts up.
func Generation(s *netlink.Socket) (uint32, error) {
	r := &netlink.Request{}
	r.Netfilter(unix.NFNL_SUBSYS_NFTABLES, unix.NFT_MSG_GETGEN, 0, unix.AF_UNSPEC)
	var generation uint32
	err := s.Do(r, func(kind uint16, body []byte) {
		if kind == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN && len(body) > sizeofNfgenmsg {
			generation = netlink.GetBig(netlink.Find(body[sizeofNfgenmsg:], unix.NFTA_GEN_ID))
		}
	})
	return generation, err
}

const sizeofNfgenmsg = 4

// Whole says whether the table is there with all its chains and as many rules
// as they should have, which is what flushing rules takes away.
func Whole(s *netlink.Socket) (bool, error) {
	want := map[string]uint32{}
	r := &netlink.Request{}
	for _, c := range chains() {
		want[c.name] = uint32(len(c.rules))
		begin(r, unix.NFT_MSG_GETCHAIN, 0)
		r.Text(unix.NFTA_CHAIN_TABLE, Name)
		r.Text(unix.NFTA_CHAIN_NAME, c.name)
	}
	err := s.Do(r, func(_ uint16, body []byte) {
		if len(body) < sizeofNfgenmsg {
			return
		}
		attrs := body[sizeofNfgenmsg:]
		name := netlink.String(netlink.Find(attrs, unix.NFTA_CHAIN_NAME))
		if n, known := want[name]; known && netlink.GetBig(netlink.Find(attrs, unix.NFTA_CHAIN_USE)) == n {
			delete(want, name)
		}
	})
	if refused(err) == unix.ENOENT {
		return false, nil
	}
	return err == nil && len(want) == 0, err
}

// refused is the kernel's reason for an error, 0 if it has none.
func refused(err error) unix.Errno {
	if e, ok := err.(*netlink.Error); ok {
		return e.Errno
	}
	return 0
}
