package table

import (
	"slices"

	"golang.org/x/sys/unix"

	"minict/internal/netlink"
)

// The sets and maps. Elements of the first three are names of bridges.
const (
	bridges  = "bridges"
	internal = "internal"
	hairpin  = "hairpin" // a bridge, twice
	ports4   = "ports4"  // address . protocol . port → address . port
	ports6   = "ports6"
	any4     = "any4" // protocol . port, of any of the host's addresses → address . port
	any6     = "any6"
)

// Numbers of types, by which the nft tool shows elements. A concatenation is a
// number with six bits for each part.
const (
	typeIPv4    = 7
	typeIPv6    = 8
	typeProto   = 12
	typeService = 13
	typeDevice  = 41
)

type set struct {
	name      string
	keyType   uint32
	keyLen    uint32 // bytes; each part of a concatenation fills whole registers
	valueType uint32 // 0 for a set
	valueLen  uint32
}

var sets = [...]set{
	{name: bridges, keyType: typeDevice, keyLen: 16},
	{name: internal, keyType: typeDevice, keyLen: 16},
	{name: hairpin, keyType: typeDevice<<6 | typeDevice, keyLen: 32},
	{ports4, typeIPv4<<12 | typeProto<<6 | typeService, 12, typeIPv4<<6 | typeService, 8},
	{any4, typeProto<<6 | typeService, 8, typeIPv4<<6 | typeService, 8},
	{ports6, typeIPv6<<12 | typeProto<<6 | typeService, 24, typeIPv6<<6 | typeService, 20},
	{any6, typeProto<<6 | typeService, 8, typeIPv6<<6 | typeService, 20},
}

// chain is a list of rules that the kernel goes through at a hook.
type chain struct {
	name     string
	kind     string // filter or nat: that one sees a connection's first packet alone
	hook     uint32
	priority int32 // the lower, the earlier
	rules    []rule
}

type rule struct {
	comment string
	match   []expr
}

// Priorities as the nft tool names them: raw, dstnat, filter, srcnat.
const (
	raw    = -300
	dstnat = -100
	filter = 0
	srcnat = 100
)

// chains are the rules. There is none that a container or a network adds.
//
// What another table accepts can still be dropped here, and the other way
// round: each table decides for itself, and a packet has to pass all.
func chains() []chain {
	return []chain{
		{"raw", "filter", unix.NF_INET_PRE_ROUTING, raw, []rule{
			// The bridges have route_localnet, so that the host's loopback
			// reaches published ports. Nothing else may come of it
			// (CVE-2020-8558).
			{"loopback addresses from a container", slices.Concat(from(bridges), source(loopback), decide(verdict(drop)))},
			{"loopback addresses for a container", slices.Concat(from(bridges), destination(loopback), decide(verdict(drop)))},
		}},
		{"prerouting", "nat", unix.NF_INET_PRE_ROUTING, dstnat, slices.Concat([]rule{
			// Before the kernel could refuse it, such a packet would have
			// another destination: one could reach from outside what is
			// published on 127.0.0.1 alone.
			{"loopback is not for others", slices.Concat(notFromLoopback(), destination(loopback), decide(verdict(unix.NFT_RETURN)))},
		}, published())},
		{"output", "nat", unix.NF_INET_LOCAL_OUT, dstnat, published()},
		{"forward", "filter", unix.NF_INET_FORWARD, filter, []rule{
			{"connections that were let in", slices.Concat(ctBits(unix.NFT_CT_STATE, established|related), decide(verdict(accept)))},
			// Seen with bridge-nf-call-iptables, and of published ports.
			{"the answer has to come back through the host", slices.Concat(sameBridge(), ctBits(unix.NFT_CT_STATUS, translated), mark())},
			{"inside a network", slices.Concat(sameBridge(), decide(verdict(accept)))},
			{"into an internal network", slices.Concat(to(internal, false), decide(verdict(drop)))},
			{"out of an internal network", slices.Concat(from(internal), decide(verdict(drop)))},
			{"published ports", slices.Concat(to(bridges, false), ctBits(unix.NFT_CT_STATUS, translated), decide(verdict(accept)))},
			{"other networks and the outside", slices.Concat(to(bridges, false), decide(verdict(drop)))},
		}},
		{"postrouting", "nat", unix.NF_INET_POST_ROUTING, srcnat, []rule{
			{"a published port from its own network", slices.Concat(marked(), decide(masquerade()))},
			{"a published port from the host's loopback", slices.Concat(to(bridges, false), source(loopback), decide(masquerade()))},
			// Which interface it came by, Linux tells since 5.7.
			{"to the outside", slices.Concat(from(bridges), to(bridges, true), decide(masquerade()))},
		}},
	}
}

// published are the rules that lead published ports to their containers.
func published() []rule {
	return []rule{
		{"published on an address", slices.Concat(ipv4(), key(16, 4, true), dnat4(ports4))},
		{"published on all addresses", slices.Concat(ipv4(), toHost(), key(16, 4, false), dnat4(any4))},
		{"published on an address", slices.Concat(ipv6(), key(24, 16, true), dnat6(ports6))},
		{"published on all addresses", slices.Concat(ipv6(), notLoopback6(), toHost(), key(24, 16, false), dnat6(any6))},
	}
}

// key loads what ports are found by: the destination address if wanted, the
// protocol and the port. The address is at an offset of the network header.
func key(offset, length uint32, address bool) []expr {
	const portOffset = 2 // of the destination's, in TCP and UDP
	var exprs []expr
	next := uint32(0)
	if address {
		exprs = append(exprs, payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, length, reg(0)))
		next = length / 4
	}
	return append(exprs,
		meta(unix.NFT_META_L4PROTO, reg(next)),
		payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, portOffset, 2, reg(next+1)))
}

func dnat4(name string) []expr {
	return []expr{translate(name, reg(8)), dnat(unix.NFPROTO_IPV4, reg(8), reg(9))}
}

func dnat6(name string) []expr {
	return []expr{translate(name, reg(8)), dnat(unix.NFPROTO_IPV6, reg(8), reg(12))}
}

func ipv4() []expr {
	return []expr{meta(unix.NFT_META_NFPROTO, reg(0)), cmp(unix.NFT_CMP_EQ, []byte{unix.NFPROTO_IPV4})}
}

func ipv6() []expr {
	return []expr{meta(unix.NFT_META_NFPROTO, reg(0)), cmp(unix.NFT_CMP_EQ, []byte{unix.NFPROTO_IPV6})}
}

// Parts of addresses at the begin of an IPv4 header: the first byte of each.
const (
	sourceAt      = 12
	destinationAt = 16
	loopback      = 127
)

func source(first byte) []expr      { return firstByte(sourceAt, first) }
func destination(first byte) []expr { return firstByte(destinationAt, first) }

func firstByte(at uint32, is byte) []expr {
	return append(ipv4(), payload(unix.NFT_PAYLOAD_NETWORK_HEADER, at, 1, reg(0)), cmp(unix.NFT_CMP_EQ, []byte{is}))
}

// notLoopback6 leaves out ::1: what has it as its source never leaves the host,
// and the client would wait for an answer.
func notLoopback6() []expr {
	return []expr{payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 24, 16, reg(0)), cmp(unix.NFT_CMP_NEQ, []byte{15: 1})}
}

func toHost() []expr {
	return []expr{addressType(), cmp(unix.NFT_CMP_EQ, netlink.Word(unix.RTN_LOCAL))}
}

func from(name string) []expr {
	return []expr{meta(unix.NFT_META_IIFNAME, reg(0)), lookup(name, false)}
}

func to(name string, not bool) []expr {
	return []expr{meta(unix.NFT_META_OIFNAME, reg(0)), lookup(name, not)}
}

// backBit is the bit of a packet's mark by which the rules after routing know
// what the rules before them have seen: with bridge-nf-call-iptables they are
// not told by which interface it came. The bit is gone when the packet is in
// the container.
const backBit = 1 << 28

func marked() []expr {
	return []expr{meta(unix.NFT_META_MARK, reg(0)), mask(backBit), cmp(unix.NFT_CMP_NEQ, netlink.Word(0))}
}

func sameBridge() []expr {
	return []expr{meta(unix.NFT_META_IIFNAME, reg(0)), meta(unix.NFT_META_OIFNAME, reg(4)), lookup(hairpin, false)}
}

func notFromLoopback() []expr {
	return []expr{meta(unix.NFT_META_IIFNAME, reg(0)), cmp(unix.NFT_CMP_NEQ, device("lo"))}
}

// Bits of a connection's state and status, linux/netfilter/nf_conntrack_common.h.
const (
	established = 1 << 1
	related     = 1 << 2
	translated  = 1 << 5 // its destination: IPS_DST_NAT
)

func ctBits(key, bits uint32) []expr {
	return []expr{ct(key), mask(bits), cmp(unix.NFT_CMP_NEQ, netlink.Word(0))}
}

func decide(e expr) []expr { return []expr{e} }
