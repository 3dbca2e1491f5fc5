package resolver

import (
	"golang.org/x/sys/unix"

	"minict/internal/netlink"
)

const tableName = "minict"

// redirect makes rules in the namespace that change the port of what is sent to
// the name server, and back of what it sends. They keep no state, so the
// namespace needs no connection tracking. If the container has that for rules of
// its own, it sees one connection: the way there is changed before it looks, the
// way back after that.
//
//	table ip minict {
//		chain to {
//			type filter hook output priority raw;
//			ip daddr 127.0.0.11 udp dport 53 udp dport set 54
//			ip daddr 127.0.0.11 tcp dport 53 tcp dport set 54
//		}
//		chain from {
//			type filter hook output priority 300;
//			ip saddr 127.0.0.11 udp sport 54 udp sport set 53
//			ip saddr 127.0.0.11 tcp sport 54 tcp sport set 53
//		}
//	}
func redirect() error {
	s, err := netlink.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return &failure{"open nf_tables", err}
	}
	defer s.Close()
	if err := s.Do(netlink.Batch(rules), nil); err != nil {
		return &failure{"set nf_tables rules", err}
	}
	return nil
}

func rules(r *netlink.Request) {
	const (
		to, raw        = "to", -300
		from, last     = "from", 300
		udp, tcp       = unix.IPPROTO_UDP, unix.IPPROTO_TCP
		source, dest   = 12, 16 // addresses in the header of IPv4
		sport, dport   = 0, 2   // ports in the header of both protocols
		sumUDP, sumTCP = 6, 16
	)
	begin(r, unix.NFT_MSG_NEWTABLE, 0)
	r.Text(unix.NFTA_TABLE_NAME, tableName)
	chain(r, to, raw)
	chain(r, from, last)
	rule{to, dest, udp, dport, domainPort, port, sumUDP}.write(r)
	rule{to, dest, tcp, dport, domainPort, port, sumTCP}.write(r)
	rule{from, source, udp, sport, port, domainPort, sumUDP}.write(r)
	rule{from, source, tcp, sport, port, domainPort, sumTCP}.write(r)
}

func begin(r *netlink.Request, kind, flags uint16) {
	r.Netfilter(unix.NFNL_SUBSYS_NFTABLES, kind, unix.NLM_F_CREATE|flags, unix.NFPROTO_IPV4)
}

func chain(r *netlink.Request, name string, priority int32) {
	begin(r, unix.NFT_MSG_NEWCHAIN, 0)
	r.Text(unix.NFTA_CHAIN_TABLE, tableName)
	r.Text(unix.NFTA_CHAIN_NAME, name)
	r.Nest(unix.NFTA_CHAIN_HOOK, func() {
		r.Big(unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_LOCAL_OUT)
		r.Big(unix.NFTA_HOOK_PRIORITY, uint32(priority))
	})
	r.Text(unix.NFTA_CHAIN_TYPE, "filter")
}

// rule sets a port that is old to new, where the name server's address is at
// addr in the header of IPv4. Offsets are in bytes.
type rule struct {
	chain    string
	addr     uint32
	protocol byte
	at       uint32 // of the port in the protocol's header
	old, new byte
	sum      uint32 // of the checksum there
}

func (u rule) write(r *netlink.Request) {
	const ip, transport, protocolAt = unix.NFT_PAYLOAD_NETWORK_HEADER, unix.NFT_PAYLOAD_TRANSPORT_HEADER, 9
	begin(r, unix.NFT_MSG_NEWRULE, unix.NLM_F_APPEND)
	r.Text(unix.NFTA_RULE_TABLE, tableName)
	r.Text(unix.NFTA_RULE_CHAIN, u.chain)
	r.Nest(unix.NFTA_RULE_EXPRESSIONS, func() {
		match(r, ip, u.addr, addressBytes[:])
		match(r, ip, protocolAt, []byte{u.protocol})
		match(r, transport, u.at, []byte{0, u.old})
		expression(r, "immediate", func() {
			r.Big(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_1)
			value(r, unix.NFTA_IMMEDIATE_DATA, []byte{0, u.new})
		})
		expression(r, "payload", func() {
			r.Big(unix.NFTA_PAYLOAD_SREG, unix.NFT_REG_1)
			place(r, transport, u.at, 2)
			r.Big(unix.NFTA_PAYLOAD_CSUM_TYPE, unix.NFT_PAYLOAD_CSUM_INET)
			r.Big(unix.NFTA_PAYLOAD_CSUM_OFFSET, u.sum)
		})
	})
}

// match goes on only if there is a value at an offset in a header.
func match(r *netlink.Request, header, offset uint32, want []byte) {
	expression(r, "payload", func() {
		r.Big(unix.NFTA_PAYLOAD_DREG, unix.NFT_REG_1)
		place(r, header, offset, len(want))
	})
	expression(r, "cmp", func() {
		r.Big(unix.NFTA_CMP_SREG, unix.NFT_REG_1)
		r.Big(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ)
		value(r, unix.NFTA_CMP_DATA, want)
	})
}

func expression(r *netlink.Request, name string, data func()) {
	r.Nest(unix.NFTA_LIST_ELEM, func() {
		r.Text(unix.NFTA_EXPR_NAME, name)
		r.Nest(unix.NFTA_EXPR_DATA, data)
	})
}

func place(r *netlink.Request, header, offset uint32, length int) {
	r.Big(unix.NFTA_PAYLOAD_BASE, header)
	r.Big(unix.NFTA_PAYLOAD_OFFSET, offset)
	r.Big(unix.NFTA_PAYLOAD_LEN, uint32(length))
}

func value(r *netlink.Request, kind uint16, data []byte) {
	r.Nest(kind, func() { r.Attr(unix.NFTA_DATA_VALUE, data) })
}
