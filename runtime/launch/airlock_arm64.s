#include "textflag.h"

#define SYS_fcntl 25
#define SYS_close 57
#define SYS_read 63
#define SYS_write 64
#define SYS_exit_group 94
#define SYS_prctl 167
#define SYS_execve 221
#define F_SETFD 2
#define FD_CLOEXEC 1
#define PR_SET_PDEATHSIG 1
#define ENOENT 2
#define EINTR 4
#define EACCES 13
#define ENOTDIR 20

// The program of an airlock, see airlock.go. It begins as every program does:
// the stack has argc, argv, a zero, envp, a zero. It is copied, so it uses no
// address of this program's.
//
//	R19  link
//	R25  gate
//	R9   started
//	R20  files that are left
//	R21  where in argv the next of them stands
//	R22  the user's argv
//	R23  envp
//	R24  what was wrong with the files so far, as the kernel gives it
TEXT code<>(SB),NOSPLIT|NOFRAME,$0
	MOVD	0(RSP), R24	// argc
	MOVD	8(RSP), R26	// control
	MOVBU	1(R26), R19
	MOVBU	2(R26), R1
	MOVBU	3(R26), R20
	SUB	$1, R19
	SUB	$1, R1
	SUB	$1, R20
	LSL	$6, R1, R1
	ORR	R1, R19, R19
	ADD	$1, R20, R1
	CMP	R24, R1
	BHS	quit	// there are not so many
	ADD	$16, RSP, R21
	ADD	R20<<3, R21, R22
	ADD	R24<<3, R21, R23
	MOVD	ZR, R24

	MOVBU	0(R26), R1
	CMP	$'g', R1
	BNE	opened
	MOVBU	4(R26), R25
	MOVBU	5(R26), R1
	SUB	$1, R25
	SUB	$1, R1
	LSL	$6, R1, R1
	ORR	R1, R25, R25
	MOVBU	6(R26), R9
	MOVBU	7(R26), R1
	SUB	$1, R9
	SUB	$1, R1
	LSL	$6, R1, R1
	ORR	R1, R9, R9

	MOVD	$'g', R0
	MOVB	R0, -8(RSP)
	MOVD	R19, R0
	SUB	$8, RSP, R1
	MOVD	$1, R2
	MOVD	$SYS_write, R8
	SVC
known:
	MOVD	R19, R0
	SUB	$8, RSP, R1
	MOVD	$1, R2
	MOVD	$SYS_read, R8
	SVC
	CMN	$EINTR, R0
	BEQ	known
	CMP	$1, R0
	BNE	quit
	MOVD	$PR_SET_PDEATHSIG, R0
	MOVD	ZR, R1
	MOVD	$SYS_prctl, R8
	SVC
	MOVD	R19, R0
	MOVD	$SYS_close, R8
	SVC
	MOVD	R9, R19
wait:
	MOVD	R25, R0
	SUB	$8, RSP, R1
	MOVD	$1, R2
	MOVD	$SYS_read, R8
	SVC
	CMN	$EINTR, R0
	BEQ	wait
	CMP	$1, R0
	BNE	quit
	MOVD	R25, R0
	MOVD	$SYS_close, R8
	SVC
opened:
	MOVD	R19, R0
	MOVD	$F_SETFD, R1
	MOVD	$FD_CLOEXEC, R2
	MOVD	$SYS_fcntl, R8
	SVC
	CBNZ	R0, failed
next:
	CBZ	R20, over
	MOVD	(R21), R0
	MOVD	R22, R1
	MOVD	R23, R2
	MOVD	$SYS_execve, R8
	SVC
	ADD	$8, R21
	SUB	$1, R20
	CMN	$EACCES, R0
	BEQ	note
	CMN	$ENOENT, R0
	BEQ	absent
	CMN	$ENOTDIR, R0
	BNE	failed
absent:
	CBNZ	R24, next	// that one is there and may not be executed counts more
note:
	MOVD	R0, R24
	B	next
over:
	MOVD	R24, R0
failed:
	NEG	R0, R0
	ORR	$0x80, R0, R0
	MOVB	R0, -8(RSP)
	MOVD	R19, R0
	SUB	$8, RSP, R1
	MOVD	$1, R2
	MOVD	$SYS_write, R8
	SVC
quit:
	MOVD	$127, R0
	MOVD	$SYS_exit_group, R8
	SVC
	B	quit

TEXT end<>(SB),NOSPLIT|NOFRAME,$0
	RET

// func airlockCode() (begin, end uintptr)
TEXT ·airlockCode(SB),NOSPLIT,$0-16
	MOVD	$code<>(SB), R0
	MOVD	R0, begin+0(FP)
	MOVD	$end<>(SB), R0
	MOVD	R0, end+8(FP)
	RET
