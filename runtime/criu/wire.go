package criu

import (
	"encoding/binary"
	"errors"
)

// message is a message in the encoding of Protocol Buffers
// (protobuf.dev/programming-guides/encoding), as far as CRIU's messages use it:
// a field is a number and a whole number, or a number, a length and bytes.
type message []byte

const (
	wireVarint = 0
	wireFixed8 = 1
	wireBytes  = 2
	wireFixed4 = 5
)

func (m *message) tag(field, wire uint64) { *m = binary.AppendUvarint(*m, field<<3|wire) }

// number adds a whole number; a negative one has the ten bytes of its 64 bits.
func (m *message) number(field uint64, n int) {
	m.tag(field, wireVarint)
	*m = binary.AppendUvarint(*m, uint64(int64(n)))
}

// flag adds a flag, if it is set: without it, it is not.
func (m *message) flag(field uint64, set bool) {
	if set {
		m.number(field, 1)
	}
}

// bytes adds a text or a message.
func (m *message) bytes(field uint64, b []byte) {
	m.tag(field, wireBytes)
	*m = append(binary.AppendUvarint(*m, uint64(len(b))), b...)
}

// text adds a text, if there is one.
func (m *message) text(field uint64, s string) {
	if s != "" {
		m.bytes(field, []byte(s))
	}
}

var errMessage = errors.New("bad message")

// fields calls do for each field: with its number, or with its bytes.
func (m message) fields(do func(field, n uint64, b []byte) error) error {
	for len(m) > 0 {
		tag, err := m.varint()
		if err != nil {
			return err
		}
		var n uint64
		var b []byte
		switch tag & 7 {
		case wireVarint:
			n, err = m.varint()
		case wireBytes:
			if n, err = m.varint(); err == nil {
				b, err = m.take(n)
			}
		case wireFixed8:
			_, err = m.take(8)
		case wireFixed4:
			_, err = m.take(4)
		default:
			err = errMessage
		}
		if err == nil {
			err = do(tag>>3, n, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *message) varint() (uint64, error) {
	n, size := binary.Uvarint(*m)
	if size <= 0 {
		return 0, errMessage
	}
	*m = (*m)[size:]
	return n, nil
}

func (m *message) take(n uint64) ([]byte, error) {
	if n > uint64(len(*m)) {
		return nil, errMessage
	}
	b := (*m)[:n]
	*m = (*m)[n:]
	return b, nil
}
