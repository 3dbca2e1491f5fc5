#include "textflag.h"

#define SYS_write 64
#define SYS_rt_sigreturn 139

// The kernel restores all registers when the handler is over.
TEXT handler<>(SB),NOSPLIT|NOFRAME,$0
	SUB	$1, R0, R0
	MOVD	$1, R1
	LSL	R0, R1, R1
	MOVD	$·pending(SB), R2
again:
	LDAXR	(R2), R3
	ORR	R1, R3, R3
	STLXR	R3, (R2), R4
	CBNZ	R4, again
	MOVW	·wakeFD(SB), R0
	MOVD	$·one(SB), R1
	MOVD	$8, R2
	MOVD	$SYS_write, R8
	SVC
	RET

TEXT restorer<>(SB),NOSPLIT|NOFRAME,$0
	MOVD	$SYS_rt_sigreturn, R8
	SVC
	BRK

// func addresses() (handler, restorer uintptr)
TEXT ·addresses(SB),NOSPLIT,$0-16
	MOVD	$handler<>(SB), R0
	MOVD	R0, handler+0(FP)
	MOVD	$restorer<>(SB), R0
	MOVD	R0, restorer+8(FP)
	RET
