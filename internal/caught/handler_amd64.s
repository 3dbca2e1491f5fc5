#include "textflag.h"

#define SYS_write 1
#define SYS_rt_sigreturn 15

// The kernel restores all registers when the handler is over.
TEXT handler<>(SB),NOSPLIT|NOFRAME,$0
	DECL	DI
	MOVQ	$1, AX
	MOVL	DI, CX
	SHLQ	CX, AX
	LOCK
	ORQ	AX, ·pending(SB)
	MOVLQSX	·wakeFD(SB), DI
	MOVQ	$·one(SB), SI
	MOVQ	$8, DX
	MOVQ	$SYS_write, AX
	SYSCALL
	RET

TEXT restorer<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ	$SYS_rt_sigreturn, AX
	SYSCALL
	INT	$3

// func addresses() (handler, restorer uintptr)
TEXT ·addresses(SB),NOSPLIT,$0-16
	LEAQ	handler<>(SB), AX
	MOVQ	AX, handler+0(FP)
	LEAQ	restorer<>(SB), AX
	MOVQ	AX, restorer+8(FP)
	RET
