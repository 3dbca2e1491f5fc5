package monitor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// idle is called when nothing has happened for a second: what a short run need
// not wait for is done then, once.
func (m *monitor) idle() {
	m.active = false
	if m.oomScore == "" {
		score, err := readFile(oomScoreFile)
		if err == nil && writeFile(oomScoreFile, lowestOOMScore) == nil {
			m.oomScore = score
		}
	}
	m.shrink()
}

// shrink gives memory back that was needed to get here, and to pass data on.
// What the program is made of stays in the page cache, where the first monitor
// that needs it finds it again.
func (m *monitor) shrink() {
	for _, buf := range [][]byte{m.data[:], m.log.buf[:], m.recv.Memory()} {
		begin := uintptr(unsafe.Pointer(&buf[0]))
		release(begin, begin+uintptr(len(buf)))
	}
	for _, s := range readOnly() {
		release(s.begin, s.end)
	}
}

// release drops the whole pages between two addresses: of a file's private
// mapping they come back as they were, of other memory as zeros.
func release(begin, end uintptr) {
	page := uintptr(unix.Getpagesize())
	begin = (begin + page - 1) &^ (page - 1)
	end &^= page - 1
	if begin < end {
		unix.RawSyscall(unix.SYS_MADVISE, begin, end-begin, unix.MADV_DONTNEED)
	}
}

type segment struct{ begin, end uintptr }

// readOnly gives the parts of the program in memory that nobody can have
// changed, elf(5), from where the kernel says that its headers are.
func readOnly() (list []segment) {
	type header struct { // Elf64_Phdr
		Kind, Flags                      uint32
		Offset, Vaddr, Paddr, File, Size uint64
		Align                            uint64
	}
	const (
		atPhdr, atPhnum = 3, 5 // getauxval(3)
		load, writable  = 1, 2
	)
	auxv, err := unix.Auxv()
	if err != nil {
		return nil
	}
	var first, count uintptr
	for _, pair := range auxv {
		switch pair[0] {
		case atPhdr:
			first = pair[1]
		case atPhnum:
			count = pair[1]
		}
	}
	for i := range count {
		h := *(**header)(unsafe.Pointer(&[]uintptr{first + i*unsafe.Sizeof(header{})}[0]))
		if h.Kind == load && h.Flags&writable == 0 {
			list = append(list, segment{uintptr(h.Vaddr), uintptr(h.Vaddr + h.Size)})
		}
	}
	return list
}
