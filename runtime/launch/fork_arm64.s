#include "textflag.h"

#define SYS_clone3 435

// func cloneShared(args *cloneArgs, size uintptr, m *machine, ops uintptr) (pid uintptr, errno unix.Errno)
//
// The kernel keeps all registers of the child but the stack pointer.
TEXT ·cloneShared(SB),NOSPLIT|NOFRAME,$0-48
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	m+16(FP), R9
	MOVD	ops+24(FP), R10
	MOVD	$SYS_clone3, R8
	SVC
	CMN	$4095, R0
	BCS	failed
	CBZ	R0, child
	MOVD	R0, pid+32(FP)
	MOVD	$0, errno+40(FP)
	RET
failed:
	NEG	R0, R0
	MOVD	$0, pid+32(FP)
	MOVD	R0, errno+40(FP)
	RET
child:
	SUB	$32, RSP
	MOVD	R9, 8(RSP)
	MOVD	R10, 16(RSP)
	B	·becomeChild(SB) // does not return
