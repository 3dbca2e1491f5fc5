// Package netlink speaks netlink(7): requests of any number of messages that
// go to the kernel in one system call, and its answers.
//
// It imports x/sys/unix alone, since the small monitor needs it too. The
// libraries for the same take longer to initialize than a container takes to
// be connected, and send each message by itself.
package netlink

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Request is a number of messages for the kernel, which it handles in their
// order. The zero value is an empty one. What is written goes to the last
// message that was begun.
type Request struct {
	buf   []byte
	start int // of the last message
	count int
	ack   int // the message that is acknowledged, if it is not the last one
}

// Begin begins a message with a header of its kind: struct ifinfomsg, for
// example. NLM_F_REQUEST is in the flags already.
func (r *Request) Begin(kind, flags uint16, header []byte) {
	r.finish()
	r.start = len(r.buf)
	r.count++
	r.buf = append(r.buf, make([]byte, unix.SizeofNlMsghdr)...)
	put16(r.buf[r.start+4:], kind)
	put16(r.buf[r.start+6:], flags|unix.NLM_F_REQUEST)
	r.Raw(header)
}

// finish writes the last message's length.
func (r *Request) finish() {
	if r.count > 0 {
		put32(r.buf[r.start:], uint32(len(r.buf)-r.start))
	}
}

// Len is the number of messages.
func (r *Request) Len() int { return r.count }

// Link is struct ifinfomsg, the header of messages about links. Flags that are
// not in change stay as they are.
func Link(index int, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	put32(b[4:], uint32(index))
	put32(b[8:], flags)
	put32(b[12:], change)
	return b
}

// Raw appends bytes, and fills up to a multiple of four.
func (r *Request) Raw(data []byte) {
	r.buf = append(r.buf, data...)
	for len(r.buf)%4 != 0 {
		r.buf = append(r.buf, 0)
	}
}

// Attr appends an attribute: struct nlattr with its data.
func (r *Request) Attr(kind uint16, data []byte) {
	at := len(r.buf)
	r.buf = append(r.buf, 0, 0, 0, 0)
	put16(r.buf[at:], uint16(4+len(data)))
	put16(r.buf[at+2:], kind)
	r.Raw(data)
}

// Text appends an attribute that is a string with its final zero.
func (r *Request) Text(kind uint16, s string) { r.Attr(kind, append([]byte(s), 0)) }

// Byte appends an attribute of one byte.
func (r *Request) Byte(kind uint16, v byte) { r.Attr(kind, []byte{v}) }

// Word appends an attribute of 32 bits in the machine's order, as rtnetlink
// has them.
func (r *Request) Word(kind uint16, v uint32) { r.Attr(kind, Word(v)) }

// Big appends an attribute of 32 bits in the network's order, as netfilter has
// them.
func (r *Request) Big(kind uint16, v uint32) { r.Attr(kind, Big(v)) }

// Nest appends an attribute whose data are the attributes that are appended by
// inside.
func (r *Request) Nest(kind uint16, inside func()) {
	at := len(r.buf)
	r.buf = append(r.buf, 0, 0, 0, 0)
	put16(r.buf[at+2:], kind|unix.NLA_F_NESTED)
	inside()
	put16(r.buf[at:], uint16(len(r.buf)-at))
}

// Word is v in the machine's order.
func Word(v uint32) []byte {
	b := make([]byte, 4)
	put32(b, v)
	return b
}

// Big is v in the network's order.
func Big(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }

// Attributes goes through a sequence of attributes, as far as it is whole. The
// bits that tell of nesting and byte order are not in the kind.
func Attributes(b []byte) func(yield func(kind uint16, data []byte) bool) {
	return func(yield func(kind uint16, data []byte) bool) {
		for len(b) >= 4 {
			length := int(get16(b))
			if length < 4 || length > len(b) {
				return
			}
			if !yield(get16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[4:length]) {
				return
			}
			b = b[min((length+3)&^3, len(b)):]
		}
	}
}

// Find gives the data of the first attribute of a kind, nil if there is none.
func Find(b []byte, kind uint16) []byte {
	for k, data := range Attributes(b) {
		if k == kind {
			return data
		}
	}
	return nil
}

// GetWord reads 32 bits in the machine's order; 0 if there are less.
func GetWord(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return get32(b)
}

// GetBig reads 32 bits in the network's order; 0 if there are less.
func GetBig(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// String is an attribute's text without the zero at its end.
func String(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// Package encoding/binary would do the same, and bring reflection with it.
func put16(b []byte, v uint16) { *(*uint16)(unsafe.Pointer(&b[:2][0])) = v }
func put32(b []byte, v uint32) { *(*uint32)(unsafe.Pointer(&b[:4][0])) = v }
func get16(b []byte) uint16    { return *(*uint16)(unsafe.Pointer(&b[:2][0])) }
func get32(b []byte) uint32    { return *(*uint32)(unsafe.Pointer(&b[:4][0])) }
