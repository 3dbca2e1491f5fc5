package faults

import "golang.org/x/sys/unix"

// setCall makes the system call that a tracee is about to make another one;
// -1 is none.
func setCall(tid int, number int64) error {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	regs.Orig_rax = uint64(number)
	return unix.PtraceSetRegs(tid, &regs)
}

// setResult makes the result of the system call that has ended another one.
func setResult(tid int, result int64) error {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	regs.Rax = uint64(result)
	return unix.PtraceSetRegs(tid, &regs)
}
