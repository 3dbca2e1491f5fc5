package store

import (
	"encoding/binary"
	"fmt"
	"os"
)

// bbolt's file, as far as its shape goes (all integers as the machine has
// them). A page begins with id uint64, flags uint16, count uint16, overflow
// uint32; the current meta page is the one of the number transaction % 2.
const (
	pageHeader  = 16
	pageBranch  = 1 // flags: elements are pos uint32, ksize uint32, page uint64
	pageLeaf    = 2 // flags: elements are flags uint32, pos uint32, ksize uint32, vsize uint32
	elementSize = 16
	leafBucket  = 1              // flags of an element: its value begins with the page of a bucket, 0 if it is within
	metaRoot    = 16 + 4*4       // where a meta page has the page of the root bucket
	metaFree    = metaRoot + 2*8 // and that of the list of free pages; all ones for none
	noFree      = 1<<64 - 1
)

// tree walks the pages of an index before bbolt does, only to see that each is
// met once and ends within the file: bbolt follows a page that leads back to one
// above it until the stack takes all memory, and writes down each of the pages
// that it takes one for that it frees. Neither can be caught.
type tree struct {
	file     *os.File
	pageSize int64
	high     uint64 // pages that are in use are below it
	seen     map[uint64]bool
}

func checkTree(file *os.File, pageSize int, size int64, txid int) error {
	t := tree{file: file, pageSize: int64(pageSize), seen: make(map[uint64]bool)}
	t.high = uint64(size / t.pageSize)
	var meta [metaFree + 8]byte
	if _, err := file.ReadAt(meta[:], int64(txid%2)*t.pageSize); err != nil {
		return t.damaged(err)
	}
	if free := binary.NativeEndian.Uint64(meta[metaFree:]); free != noFree {
		if _, err := t.head(free); err != nil {
			return err
		}
	}
	return t.page(binary.NativeEndian.Uint64(meta[metaRoot:]), true)
}

// head reads the header of a page that is met for the first time.
func (t *tree) head(id uint64) (head [pageHeader]byte, err error) {
	if id < 2 || id >= t.high || t.seen[id] {
		return head, t.damaged(fmt.Errorf("page %d where none can be", id))
	}
	t.seen[id] = true
	if _, err := t.file.ReadAt(head[:], int64(id)*t.pageSize); err != nil {
		return head, t.damaged(err)
	}
	if more := binary.NativeEndian.Uint32(head[12:]); uint64(more) >= t.high-id {
		return head, t.damaged(fmt.Errorf("page %d goes on for %d pages", id, more))
	}
	return head, nil
}

// page walks the tree below one page. In the root bucket's leaves are buckets.
func (t *tree) page(id uint64, root bool) error {
	head, err := t.head(id)
	if err != nil {
		return err
	}
	at := int64(id) * t.pageSize
	flags := binary.NativeEndian.Uint16(head[8:])
	if flags != pageBranch && (flags != pageLeaf || !root) {
		return nil // a leaf; whatever else it is, bbolt says so
	}
	elements := make([]byte, int(binary.NativeEndian.Uint16(head[10:]))*elementSize)
	if _, err := t.file.ReadAt(elements, at+pageHeader); err != nil {
		return t.damaged(err)
	}
	for i := 0; i < len(elements); i += elementSize {
		e := elements[i : i+elementSize]
		below, ok, err := binary.NativeEndian.Uint64(e[8:]), true, error(nil)
		if flags == pageLeaf {
			below, ok, err = t.bucket(e, at+pageHeader+int64(i))
		}
		if err == nil && ok {
			err = t.page(below, root && flags == pageBranch)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket finds the root page of the bucket that an element at the offset is,
// if it is one with pages of its own.
func (t *tree) bucket(element []byte, at int64) (page uint64, ok bool, err error) {
	if binary.NativeEndian.Uint32(element)&leafBucket == 0 {
		return 0, false, nil
	}
	pos, ksize := binary.NativeEndian.Uint32(element[4:]), binary.NativeEndian.Uint32(element[8:])
	var value [8]byte
	if _, err := t.file.ReadAt(value[:], at+int64(pos)+int64(ksize)); err != nil {
		return 0, false, t.damaged(err)
	}
	page = binary.NativeEndian.Uint64(value[:])
	return page, page != 0, nil
}

func (t *tree) damaged(why error) error { return fmt.Errorf("%w (%w)", ErrCorrupt, why) }
