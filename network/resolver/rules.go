package resolver

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// rules gives what redirect sends: a batch of messages to nf_tables, netlink(7)
// and linux/netfilter/nf_tables.h.
func rules() []byte {
	var b batch
	const (
		queries, raw = "to", 1<<32 - 300
		answers      = "from"
		last         = 300
		destination  = 16 // in the header of IPv4
		source       = 12
		portTo       = 2 // in the header of UDP and TCP
		portFrom     = 0
	)
	b.begin(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, unix.NFNL_SUBSYS_NFTABLES)
	b.end()
	b.table(unix.NFT_MSG_NEWTABLE, 0)
	b.str(unix.NFTA_TABLE_NAME, tableName)
	b.end()
	b.chain(queries, raw)
	b.chain(answers, last)
	for _, p := range []protocol{{unix.IPPROTO_UDP, 6}, {unix.IPPROTO_TCP, 16}} {
		b.rule(queries, destination, p, portTo, domainPort, port)
		b.rule(answers, source, p, portFrom, port, domainPort)
	}
	b.begin(unix.NFNL_MSG_BATCH_END, 0, unix.NLM_F_ACK, unix.NFNL_SUBSYS_NFTABLES)
	b.end()
	return b.out
}

const tableName = "minict"

// protocol is one above IP, and where the sum is in its header.
type protocol struct{ number, sum byte }

// batch is a row of messages that is being made.
type batch struct {
	out    []byte
	nested []int // where the message and the attributes begin that have no end yet
}

// begin begins a message, of which the length is set by end.
func (b *batch) begin(kind, family, flags, subsystem int) {
	b.nested = append(b.nested, len(b.out))
	b.out = binary.NativeEndian.AppendUint32(b.out, 0)
	b.out = binary.NativeEndian.AppendUint16(b.out, uint16(kind))
	b.out = binary.NativeEndian.AppendUint16(b.out, uint16(unix.NLM_F_REQUEST|flags))
	b.out = append(b.out, 0, 0, 0, 0, 0, 0, 0, 0) // no sequence, no sender
	b.out = append(b.out, byte(family), unix.NFNETLINK_V0)
	b.out = be.AppendUint16(b.out, uint16(subsystem))
}

func (b *batch) table(kind, flags int) {
	b.begin(unix.NFNL_SUBSYS_NFTABLES<<8|kind, unix.NFPROTO_IPV4, unix.NLM_F_CREATE|flags, 0)
}

// nest begins an attribute that has others in it.
func (b *batch) nest(kind int) {
	b.nested = append(b.nested, len(b.out))
	b.out = binary.NativeEndian.AppendUint16(b.out, 0)
	b.out = binary.NativeEndian.AppendUint16(b.out, uint16(kind|unix.NLA_F_NESTED))
}

// end ends what was begun last. A message has its length in four bytes; it is
// never so long that the upper two are not 0.
func (b *batch) end() {
	last := len(b.nested) - 1
	at := b.nested[last]
	b.nested = b.nested[:last]
	binary.NativeEndian.PutUint16(b.out[at:], uint16(len(b.out)-at))
}

func (b *batch) bytes(kind int, data ...byte) {
	b.out = binary.NativeEndian.AppendUint16(b.out, uint16(4+len(data)))
	b.out = binary.NativeEndian.AppendUint16(b.out, uint16(kind))
	b.out = append(b.out, data...)
	for len(b.out)%4 != 0 {
		b.out = append(b.out, 0)
	}
}

func (b *batch) str(kind int, s string) { b.bytes(kind, append([]byte(s), 0)...) }

func (b *batch) u32(kind int, n uint32) { b.bytes(kind, be.AppendUint32(nil, n)...) }

func (b *batch) chain(name string, priority uint32) {
	b.table(unix.NFT_MSG_NEWCHAIN, 0)
	b.str(unix.NFTA_CHAIN_TABLE, tableName)
	b.str(unix.NFTA_CHAIN_NAME, name)
	b.nest(unix.NFTA_CHAIN_HOOK)
	b.u32(unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_LOCAL_OUT)
	b.u32(unix.NFTA_HOOK_PRIORITY, priority)
	b.end()
	b.str(unix.NFTA_CHAIN_TYPE, "filter")
	b.end()
}

// rule adds a rule: where the name server's address is at addr in the header,
// and the port at at is old, that becomes new.
func (b *batch) rule(chain string, addr int, p protocol, at, old, new byte) {
	const protocolAt = 9 // in the header of IPv4
	b.table(unix.NFT_MSG_NEWRULE, unix.NLM_F_APPEND)
	b.str(unix.NFTA_RULE_TABLE, tableName)
	b.str(unix.NFTA_RULE_CHAIN, chain)
	b.nest(unix.NFTA_RULE_EXPRESSIONS)
	b.match(unix.NFT_PAYLOAD_NETWORK_HEADER, addr, addressBytes[:]...)
	b.match(unix.NFT_PAYLOAD_NETWORK_HEADER, protocolAt, p.number)
	b.match(unix.NFT_PAYLOAD_TRANSPORT_HEADER, int(at), 0, old)
	b.expression("immediate", func() {
		b.u32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_1)
		b.value(unix.NFTA_IMMEDIATE_DATA, 0, new)
	})
	b.expression("payload", func() {
		b.u32(unix.NFTA_PAYLOAD_SREG, unix.NFT_REG_1)
		b.place(unix.NFT_PAYLOAD_TRANSPORT_HEADER, int(at), 2)
		b.u32(unix.NFTA_PAYLOAD_CSUM_TYPE, unix.NFT_PAYLOAD_CSUM_INET)
		b.u32(unix.NFTA_PAYLOAD_CSUM_OFFSET, uint32(p.sum))
	})
	b.end()
	b.end()
}

// match goes on only if there is a value at an offset in a header.
func (b *batch) match(header, offset int, value ...byte) {
	b.expression("payload", func() {
		b.u32(unix.NFTA_PAYLOAD_DREG, unix.NFT_REG_1)
		b.place(header, offset, len(value))
	})
	b.expression("cmp", func() {
		b.u32(unix.NFTA_CMP_SREG, unix.NFT_REG_1)
		b.u32(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ)
		b.value(unix.NFTA_CMP_DATA, value...)
	})
}

func (b *batch) expression(name string, data func()) {
	b.nest(unix.NFTA_LIST_ELEM)
	b.str(unix.NFTA_EXPR_NAME, name)
	b.nest(unix.NFTA_EXPR_DATA)
	data()
	b.end()
	b.end()
}

func (b *batch) place(header, offset, size int) {
	b.u32(unix.NFTA_PAYLOAD_BASE, uint32(header))
	b.u32(unix.NFTA_PAYLOAD_OFFSET, uint32(offset))
	b.u32(unix.NFTA_PAYLOAD_LEN, uint32(size))
}

func (b *batch) value(kind int, data ...byte) {
	b.nest(kind)
	b.bytes(unix.NFTA_DATA_VALUE, data...)
	b.end()
}
