package table

import (
	"slices"

	"golang.org/x/sys/unix"

	"minict/internal/netlink"
)

// Attributes and messages of linux/netfilter/nfnetlink_conntrack.h, and two
// bits of a connection's status.
const (
	msgGet    = 1
	msgDelete = 2

	ctaTupleOrig = 1
	ctaStatus    = 3
	ctaID        = 12
	ctaZone      = 18
	ctaFilter    = 25

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaProtoNum   = 1
	ctaDstPort    = 3

	ctaFilterOrigFlags = 1
	byProtocol         = 1 << 3
	byDstPort          = 1 << 5

	sourceTranslated = 1 << 4
)

// Forget ends what the kernel remembers of UDP connections to a published
// port. The rules decide on a connection's first packet alone, so one that
// began before the container came, or that goes to one that is gone, would
// stay on its way for as long as its client sends. Of TCP there is no need:
// its connections end.
func Forget(s *netlink.Socket, p Port) error {
	if p.Protocol != unix.IPPROTO_UDP {
		return nil
	}
	family := byte(unix.AF_INET)
	if len(p.Host) == 16 {
		family = unix.AF_INET6
	}
	forget := &netlink.Request{}
	err := s.Do(p.flows(family), func(_ uint16, body []byte) {
		attrs := body[min(sizeofNfgenmsg, len(body)):]
		if !p.concerns(attrs) {
			return
		}
		forget.Netfilter(unix.NFNL_SUBSYS_CTNETLINK, msgDelete, 0, family)
		for kind, data := range netlink.Attributes(attrs) {
			if kind == ctaTupleOrig || kind == ctaID || kind == ctaZone {
				forget.Attr(kind, data)
			}
		}
	})
	if refused(err) == unix.EINVAL {
		return nil // a kernel that does not tell of connections (CONFIG_NF_CT_NETLINK)
	}
	if err != nil {
		return err
	}
	err = s.Do(forget, nil)
	if refused(err) == unix.ENOENT {
		return nil // it has ended by itself
	}
	return err
}

// flows asks for the connections to a port. Kernels before 5.8 give all.
func (p Port) flows(family byte) *netlink.Request {
	r := &netlink.Request{}
	r.Netfilter(unix.NFNL_SUBSYS_CTNETLINK, msgGet, unix.NLM_F_DUMP, family)
	r.Nest(ctaTupleOrig, func() {
		r.Nest(ctaTupleProto, func() {
			r.Byte(ctaProtoNum, p.Protocol)
			r.Attr(ctaDstPort, p.bigPort())
		})
	})
	r.Nest(ctaFilter, func() { r.Word(ctaFilterOrigFlags, byProtocol|byDstPort) })
	return r
}

func (p Port) bigPort() []byte { return []byte{byte(p.HostPort >> 8), byte(p.HostPort)} }

// concerns says whether a connection goes to the port. One from a container to
// the same port of somebody else, outside, has its source translated alone.
func (p Port) concerns(attrs []byte) bool {
	orig := netlink.Find(attrs, ctaTupleOrig)
	proto := netlink.Find(orig, ctaTupleProto)
	if !slices.Equal(netlink.Find(proto, ctaProtoNum), []byte{p.Protocol}) ||
		!slices.Equal(netlink.Find(proto, ctaDstPort), p.bigPort()) {
		return false
	}
	if netlink.GetBig(netlink.Find(attrs, ctaStatus))&(sourceTranslated|translated) == sourceTranslated {
		return false
	}
	to := uint16(2) // CTA_IP_V4_DST
	if len(p.Host) == 16 {
		to = 4 // CTA_IP_V6_DST
	}
	return p.all() || slices.Equal(netlink.Find(netlink.Find(orig, ctaTupleIP), to), p.Host)
}
