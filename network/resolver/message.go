package resolver

import "encoding/binary"

// A message is what RFC 1035, section 4 draws: a header of 12 bytes, one
// question, and records. Of a query only the question is read, and the one
// record that says what its sender can take (OPT, RFC 6891); of an answer that
// is passed on, the header and the question. An answer of our own repeats the
// query's bytes up to the end of the question, so it is made in their place.
const (
	headerSize = 12
	optSize    = 11 // an OPT record without options
	nameMax    = 253

	bitAnswer    = 0x80 // byte 2
	bitTruncated = 0x02
	bitRecursion = 0x80 // byte 3: recursion is available

	typeA    = 1
	typePTR  = 12
	typeAAAA = 28
	typeOPT  = 41
	typeANY  = 255
	classIN  = 1

	rcodeFormat    = 1
	rcodeServer    = 2
	rcodeName      = 3
	rcodeNotImpl   = 4
	rcodeRefused   = 5
	rcodeExtension = 1 // the upper part of BADVERS, 16
)

// ttl is how long somebody may keep an answer of our own, in seconds: not at
// all. An address can be another container's in the next moment, and to ask
// again costs some microseconds. (Docker says 600, and glibc and musl, which
// keep nothing, don't mind; caches inside a container do.)
const ttl = 0

// defaultSize is what anybody can take over UDP, and ourSize the most that is
// sent over UDP: a client's wish counts up to there. Over the loopback device
// no datagram is cut into pieces.
const (
	defaultSize = 512
	ourSize     = 4096
)

var be = binary.BigEndian

// query is what a client asks.
type query struct {
	end   int // of the question in the message
	kind  uint16
	class uint16
	size  int  // of the largest answer over UDP that the client can take, in bytes
	edns  bool // the client has said so, and is to hear our size
	plain bool // name is one that a directory can have

	name   [nameMax + 1]byte // in lower case, with dots between the labels
	length int               // of it
}

// text is the name that is asked for.
func (q *query) text() []byte { return q.name[:q.length] }

// parse reads a query. If it gives an rcode other than 0, that is the answer;
// if ok is false, there is none to be given.
func (q *query) parse(msg []byte) (rcode uint8, ok bool) {
	q.end, q.size, q.edns = headerSize, defaultSize, false
	if len(msg) < headerSize || msg[2]&bitAnswer != 0 {
		return 0, false
	}
	if msg[2]>>3&15 != 0 { // another operation than a query
		return rcodeNotImpl, true
	}
	if be.Uint16(msg[4:]) != 1 {
		return rcodeFormat, true
	}
	end := q.parseName(msg)
	if end < 0 || end+4 > len(msg) {
		return rcodeFormat, true
	}
	q.kind, q.class = be.Uint16(msg[end:]), be.Uint16(msg[end+2:])
	q.end = end + 4
	return q.parseRecords(msg), true
}

// parseName reads the name of the question, which has nothing before it to
// point to. It gives the place behind it, or -1.
func (q *query) parseName(msg []byte) int {
	q.length, q.plain = 0, true
	for at := headerSize; at < len(msg); {
		n := int(msg[at])
		at++
		if n == 0 {
			return at
		}
		if n > 63 || at+n > len(msg) || q.length+1+n > nameMax+1 {
			return -1
		}
		if q.length > 0 {
			q.name[q.length] = '.'
			q.length++
		}
		for _, c := range msg[at : at+n] {
			q.plain = q.plain && c > ' ' && c != '.' && c != '/' && c != 0x7f
			q.name[q.length] = lower(c)
			q.length++
		}
		at += n
	}
	return -1
}

// parseRecords looks for the OPT record behind the question.
func (q *query) parseRecords(msg []byte) (rcode uint8) {
	others := int(be.Uint16(msg[6:])) + int(be.Uint16(msg[8:]))
	count := others + int(be.Uint16(msg[10:]))
	at := q.end
	for i := range count {
		start := at
		if at = skipName(msg, at); at < 0 || at+10 > len(msg) {
			return rcodeFormat
		}
		record := msg[at:]
		if at += 10 + int(be.Uint16(record[8:])); at > len(msg) {
			return rcodeFormat
		}
		if i < others || be.Uint16(record) != typeOPT {
			continue
		}
		if q.edns || msg[start] != 0 {
			return rcodeFormat
		}
		q.edns = true
		q.size = min(max(int(be.Uint16(record[2:])), defaultSize), ourSize)
		if record[5] != 0 { // a version that is not there yet
			return rcodeVersion
		}
	}
	return 0
}

// rcodeVersion stands for BADVERS, which has more bits than the header's four.
const rcodeVersion = 16

// skipName gives the place behind a name, or -1. Where it points to is of no
// interest.
func skipName(msg []byte, at int) int {
	for at < len(msg) {
		n := int(msg[at])
		switch {
		case n == 0:
			return at + 1
		case n >= 0xc0:
			return at + 2
		case n > 63:
			return -1
		}
		at += 1 + n
	}
	return -1
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// answer is an answer that is made in the memory of its query.
type answer struct {
	msg   []byte // all of the memory
	n     int    // how much of it is the answer
	limit int    // how long it may be
	count int    // of the records
	full  bool   // something did not fit
	edns  bool
	rcode uint8
}

// answer begins an answer to a query.
func (q *query) answer(mem []byte, limit int, rcode uint8) answer {
	if q.edns {
		limit -= optSize
	}
	return answer{msg: mem, n: q.end, limit: limit, edns: q.edns, rcode: rcode}
}

// add adds a record for the name that was asked for.
func (a *answer) add(kind uint16, data []byte) {
	const nameHere = 0xc000 | headerSize
	if a.n+12+len(data) > a.limit {
		a.full = true
		return
	}
	to := a.msg[a.n:]
	be.PutUint16(to, nameHere)
	be.PutUint16(to[2:], kind)
	be.PutUint16(to[4:], classIN)
	be.PutUint32(to[6:], ttl)
	be.PutUint16(to[10:], uint16(len(data)))
	copy(to[12:], data)
	a.n += 12 + len(data)
	a.count++
}

// finish gives the whole answer.
func (a *answer) finish() []byte {
	msg := a.msg
	msg[2] = bitAnswer | msg[2]&0x79 // the operation, and whether recursion was wanted
	msg[3] = bitRecursion | a.rcode&15
	if a.full {
		msg[2] |= bitTruncated
	}
	if a.n == headerSize { // the question could not be read
		be.PutUint16(msg[4:], 0)
	}
	be.PutUint16(msg[6:], uint16(a.count))
	be.PutUint32(msg[8:], 0)
	if a.edns {
		be.PutUint16(msg[10:], 1)
		a.n += copy(msg[a.n:], []byte{0, 0, typeOPT, ourSize >> 8, ourSize & 0xff, a.rcode >> 4, 0, 0, 0, 0, 0})
	}
	return msg[:a.n]
}

// matches says whether an answer belongs to a query that was sent with an id.
// One without a question is believed if it says nothing but that something is
// wrong, as servers do that don't know EDNS. Some servers change the letters'
// case.
func matches(answer, query []byte, id uint16) bool {
	if len(answer) < headerSize || be.Uint16(answer) != id || answer[2]&bitAnswer == 0 || answer[2]>>3&15 != 0 {
		return false
	}
	if be.Uint16(answer[4:]) == 0 {
		return len(answer) == headerSize && rcodeOf(answer) != 0
	}
	end := skipName(query, headerSize) + 4
	if be.Uint16(answer[4:]) != 1 || len(answer) < end {
		return false
	}
	for i := headerSize; i < end-4; i++ {
		if lower(answer[i]) != lower(query[i]) {
			return false
		}
	}
	return string(answer[end-4:end]) == string(query[end-4:end])
}

func rcodeOf(msg []byte) uint8 { return msg[3] & 15 }

// cut shortens an answer that is longer than its client can take to nothing
// but its head, from which the client sees that it has to come by TCP.
func cut(msg []byte) []byte {
	end := headerSize
	if be.Uint16(msg[4:]) == 1 {
		end = skipName(msg, headerSize) + 4
	} else {
		be.PutUint16(msg[4:], 0)
	}
	msg[2] |= bitTruncated
	be.PutUint16(msg[6:], 0)
	be.PutUint32(msg[8:], 0)
	return msg[:end]
}
