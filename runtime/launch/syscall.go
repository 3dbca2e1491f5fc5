package launch

import "golang.org/x/sys/unix"

// rawSyscall6 is unix.RawSyscall6 in the frame of its caller. The one of
// package unix goes through three functions, and their frames are a quarter of
// the stack that code has which must not grow it.
//
//go:noescape
func rawSyscall6(nr, a, b, c, d, e, f uintptr) (r1, r2 uintptr, errno unix.Errno)
