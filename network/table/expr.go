package table

import (
	"golang.org/x/sys/unix"

	"minict/internal/netlink"
)

// expr is one expression of a rule. Expressions hand on what they have loaded
// in registers of four bytes, and the first that does not match ends the rule.
type expr struct {
	name string
	data func(r *netlink.Request)
}

// reg is the n-th register.
func reg(n uint32) uint32 { return unix.NFT_REG32_00 + n }

func write(r *netlink.Request, exprs []expr) {
	for _, e := range exprs {
		r.Nest(unix.NFTA_LIST_ELEM, func() {
			r.Text(unix.NFTA_EXPR_NAME, e.name)
			r.Nest(unix.NFTA_EXPR_DATA, func() { e.data(r) })
		})
	}
}

// meta loads what the kernel knows of a packet beside its bytes.
func meta(key, to uint32) expr {
	return expr{"meta", func(r *netlink.Request) {
		r.Big(unix.NFTA_META_KEY, key)
		r.Big(unix.NFTA_META_DREG, to)
	}}
}

// payload loads bytes of a packet, counted from the begin of a header.
func payload(base, offset, length, to uint32) expr {
	return expr{"payload", func(r *netlink.Request) {
		r.Big(unix.NFTA_PAYLOAD_DREG, to)
		r.Big(unix.NFTA_PAYLOAD_BASE, base)
		r.Big(unix.NFTA_PAYLOAD_OFFSET, offset)
		r.Big(unix.NFTA_PAYLOAD_LEN, length)
	}}
}

// cmp compares the first register with a value.
func cmp(op uint32, value []byte) expr {
	return expr{"cmp", func(r *netlink.Request) {
		r.Big(unix.NFTA_CMP_SREG, reg(0))
		r.Big(unix.NFTA_CMP_OP, op)
		r.Nest(unix.NFTA_CMP_DATA, func() { r.Attr(unix.NFTA_DATA_VALUE, value) })
	}}
}

// mask keeps some bits of the first register.
func mask(bits uint32) expr { return bitwise(bits, 0) }

// mark sets backBit of the packet's mark.
func mark() []expr {
	set := expr{"meta", func(r *netlink.Request) {
		r.Big(unix.NFTA_META_KEY, unix.NFT_META_MARK)
		r.Big(unix.NFTA_META_SREG, reg(0))
	}}
	return []expr{meta(unix.NFT_META_MARK, reg(0)), bitwise(^uint32(backBit), backBit), set}
}

// bitwise keeps some bits of the first register, and turns some around.
func bitwise(keep, turn uint32) expr {
	return expr{"bitwise", func(r *netlink.Request) {
		r.Big(unix.NFTA_BITWISE_SREG, reg(0))
		r.Big(unix.NFTA_BITWISE_DREG, reg(0))
		r.Big(unix.NFTA_BITWISE_LEN, 4)
		r.Nest(unix.NFTA_BITWISE_MASK, func() { r.Attr(unix.NFTA_DATA_VALUE, netlink.Word(keep)) })
		r.Nest(unix.NFTA_BITWISE_XOR, func() { r.Attr(unix.NFTA_DATA_VALUE, netlink.Word(turn)) })
	}}
}

// ct loads what is known of the packet's connection.
func ct(key uint32) expr {
	return expr{"ct", func(r *netlink.Request) {
		r.Big(unix.NFTA_CT_KEY, key)
		r.Big(unix.NFTA_CT_DREG, reg(0))
	}}
}

// addressType loads what the routes say of the destination: local, if the
// host itself has that address.
func addressType() expr {
	return expr{"fib", func(r *netlink.Request) {
		r.Big(unix.NFTA_FIB_DREG, reg(0))
		r.Big(unix.NFTA_FIB_RESULT, unix.NFT_FIB_RESULT_ADDRTYPE)
		r.Big(unix.NFTA_FIB_FLAGS, unix.NFTA_FIB_F_DADDR)
	}}
}

// lookup matches if the registers from the first on are in a set, or are not.
func lookup(set string, inverse bool) expr {
	return expr{"lookup", func(r *netlink.Request) {
		r.Text(unix.NFTA_LOOKUP_SET, set)
		r.Big(unix.NFTA_LOOKUP_SREG, reg(0))
		if inverse {
			r.Big(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV)
		}
	}}
}

// translate loads what a map has for the registers from the first on.
func translate(set string, to uint32) expr {
	return expr{"lookup", func(r *netlink.Request) {
		r.Text(unix.NFTA_LOOKUP_SET, set)
		r.Big(unix.NFTA_LOOKUP_SREG, reg(0))
		r.Big(unix.NFTA_LOOKUP_DREG, to)
	}}
}

// dnat gives the connection another destination, and decides.
func dnat(family, address, port uint32) expr {
	return expr{"nat", func(r *netlink.Request) {
		r.Big(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT)
		r.Big(unix.NFTA_NAT_FAMILY, family)
		r.Big(unix.NFTA_NAT_REG_ADDR_MIN, address)
		r.Big(unix.NFTA_NAT_REG_PROTO_MIN, port)
	}}
}

// masquerade gives the connection the source address of the interface that it
// goes out by, and decides.
func masquerade() expr { return expr{"masq", func(*netlink.Request) {}} }

// counter counts: the tools of iptables put one into each rule.
func counter() expr {
	return expr{"counter", func(r *netlink.Request) {
		r.Attr(unix.NFTA_COUNTER_BYTES, make([]byte, 8))
		r.Attr(unix.NFTA_COUNTER_PACKETS, make([]byte, 8))
	}}
}

// verdict decides.
func verdict(code int32) expr {
	return expr{"immediate", func(r *netlink.Request) {
		r.Big(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
		r.Nest(unix.NFTA_IMMEDIATE_DATA, func() {
			r.Nest(unix.NFTA_DATA_VERDICT, func() { r.Big(unix.NFTA_VERDICT_CODE, uint32(code)) })
		})
	}}
}

// What verdicts are, linux/netfilter.h.
const (
	drop   = 0
	accept = 1
)

// device is an interface's name as the kernel compares it.
func device(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}
