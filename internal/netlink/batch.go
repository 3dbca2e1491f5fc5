package netlink

import "golang.org/x/sys/unix"

// The messages around a transaction of nf_tables.
const (
	batchBegin = unix.NFNL_MSG_BATCH_BEGIN
	batchEnd   = unix.NFNL_MSG_BATCH_END
)

// Netfilter begins a message of a netfilter subsystem, with its struct
// nfgenmsg.
func (r *Request) Netfilter(subsystem, kind, flags uint16, family byte) {
	r.Begin(subsystem<<8|kind, flags, []byte{family, unix.NFNETLINK_V0, 0, 0})
}

// Batch makes a transaction of nf_tables of the messages that fill begins: all
// of them are done, or none.
func Batch(fill func(r *Request)) *Request {
	r := &Request{}
	border := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}
	r.Begin(batchBegin, 0, border)
	fill(r)
	last := r.start
	r.Begin(batchEnd, 0, border)
	r.ack = last
	return r
}
