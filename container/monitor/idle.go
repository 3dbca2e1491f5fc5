package monitor

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"minict/runtime/plan"
)

// idle is called when nothing has happened for a second: what a short run need
// not wait for is done then, once. It gives memory back that was needed to get
// here and to pass data on.
func (m *monitor) idle() {
	m.active = false
	if m.oomScore == "" {
		score, err := readFile(oomScoreFile)
		if err == nil && writeFile(oomScoreFile, lowestOOMScore) == nil {
			m.oomScore = score
		}
	}
	for _, buf := range [][]byte{m.data[:], m.log.buf[:], m.recv.Memory()} {
		s := pages(uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		discard(&s)
	}
	for _, p := range m.processes {
		p.forgetPlan()
	}
	if m.resolver != nil {
		m.resolver.Idle()
	}
}

// forgetPlan drops the pages of the plan that carrying it out has changed. What
// is left to be done of it, the Undo phase, is read from the file once more;
// what it has to know of the Host phase, such as which cgroups are its own, is
// kept.
func (p *process) forgetPlan() {
	if p.forgotten || p.program == nil {
		return
	}
	p.results = p.program.Results(plan.Host)
	unix.Madvise(p.mem, unix.MADV_DONTNEED)
	p.forgotten = true
}

// recallPlan makes what forgetPlan has dropped fit to be carried out again.
func (p *process) recallPlan() {
	if p.forgotten {
		plan.Load(p.mem) // makes its addresses absolute again, in place
		p.program.SetResults(plan.Host, p.results)
		p.forgotten = false
	}
}

// segment is a part of memory.
type segment struct{ begin, size uintptr }

// pages gives the whole pages in a part of memory.
func pages(begin, size uintptr) segment {
	page := uintptr(unix.Getpagesize())
	end := (begin + size) &^ (page - 1)
	begin = (begin + page - 1) &^ (page - 1)
	return segment{begin, max(end, begin) - begin}
}

// discard drops pages: those of a file's private mapping come back as they
// were, others as zeros.
//
//go:nosplit
func discard(s *segment) {
	unix.RawSyscall(unix.SYS_MADVISE, s.begin, s.size, unix.MADV_DONTNEED)
}

// Go's runtime is told by these that a thread is in a system call for long. Its
// other threads need the program's text once more then, and are still.
//
//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// doze is poll(2) without an end. When nothing comes for a moment, the text of
// the program, which is most of its memory, is dropped from the process just
// before the wait goes on, so that nothing but this function and the system
// call is there while it lasts. In the page cache the text stays, for this
// monitor and the next.
//
//go:nosplit
func doze(polls []unix.PollFd, program *[2]segment) (n int, errno unix.Errno) {
	const moment = 100 // milliseconds
	fds, count := uintptr(unsafe.Pointer(&polls[0])), uintptr(len(polls))
	pause := unix.Timespec{Nsec: moment * 1e6}
	entersyscall()
	r, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, fds, count, uintptr(unsafe.Pointer(&pause)), 0, 0, 0)
	if r == 0 && errno == 0 {
		discard(&program[0])
		discard(&program[1])
		r, _, errno = unix.RawSyscall6(unix.SYS_PPOLL, fds, count, 0, 0, 0, 0)
	}
	exitsyscall()
	return int(r), errno
}

// readOnly gives the parts of the program in memory that nobody can have
// changed, text and constants, from where the kernel says that the program's
// headers are (elf(5), getauxval(3)).
func readOnly() (parts [2]segment) {
	type header struct { // Elf64_Phdr
		Kind, Flags                      uint32
		Offset, Vaddr, Paddr, File, Size uint64
		Align                            uint64
	}
	const (
		atPhdr, atPhnum = 3, 5
		load, writable  = 1, 2
	)
	auxv, err := unix.Auxv()
	if err != nil {
		return parts
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
	n := 0
	for i := range count {
		at := first + i*unsafe.Sizeof(header{})
		h := *(**header)(unsafe.Pointer(&at))
		if h.Kind == load && h.Flags&writable == 0 && n < len(parts) {
			parts[n] = pages(uintptr(h.Vaddr), uintptr(h.Size))
			n++
		}
	}
	return parts
}
