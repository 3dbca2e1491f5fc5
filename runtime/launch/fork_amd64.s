#include "textflag.h"

#define SYS_clone3 435

// func cloneShared(args *cloneArgs, size uintptr, m *machine, ops uintptr) (pid uintptr, errno unix.Errno)
//
// The kernel keeps all registers of the child but the stack pointer.
TEXT ·cloneShared(SB),NOSPLIT,$0-48
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	m+16(FP), R12
	MOVQ	ops+24(FP), R13
	MOVQ	$SYS_clone3, AX
	SYSCALL
	CMPQ	AX, $0xfffffffffffff001
	JCC	failed
	TESTQ	AX, AX
	JEQ	child
	MOVQ	AX, pid+32(FP)
	MOVQ	$0, errno+40(FP)
	RET
failed:
	NEGQ	AX
	MOVQ	$0, pid+32(FP)
	MOVQ	AX, errno+40(FP)
	RET
child:
	SUBQ	$16, SP
	MOVQ	R12, 0(SP)
	MOVQ	R13, 8(SP)
	CALL	·becomeChild(SB)
	INT	$3
