#include "textflag.h"

#define SYS_read 0
#define SYS_write 1
#define SYS_close 3
#define SYS_execve 59
#define SYS_fcntl 72
#define SYS_prctl 157
#define SYS_exit_group 231
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
//	BX   link
//	R8   gate
//	R10  started
//	R9   files that are left
//	R12  where in argv the next of them stands
//	R13  the user's argv
//	R14  envp
//	R15  what was wrong with the files so far, as the kernel gives it
TEXT code<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ	0(SP), R15	// argc
	MOVQ	8(SP), AX	// control
	MOVBQZX	1(AX), BX
	MOVBQZX	2(AX), CX
	MOVBQZX	3(AX), R9
	DECQ	BX
	DECQ	CX
	DECQ	R9
	SHLQ	$6, CX
	ORQ	CX, BX
	LEAQ	1(R9), CX
	CMPQ	CX, R15
	JCC	quit	// there are not so many
	LEAQ	16(SP), R12
	LEAQ	(R12)(R9*8), R13
	LEAQ	16(SP)(R15*8), R14
	XORQ	R15, R15

	MOVBQZX	0(AX), CX
	CMPQ	CX, $'g'
	JNE	opened
	MOVBQZX	4(AX), R8
	MOVBQZX	5(AX), CX
	DECQ	R8
	DECQ	CX
	SHLQ	$6, CX
	ORQ	CX, R8
	MOVBQZX	6(AX), R10
	MOVBQZX	7(AX), CX
	DECQ	R10
	DECQ	CX
	SHLQ	$6, CX
	ORQ	CX, R10

	MOVB	$'g', -8(SP)
	MOVQ	BX, DI
	LEAQ	-8(SP), SI
	MOVQ	$1, DX
	MOVQ	$SYS_write, AX
	SYSCALL
known:
	MOVQ	BX, DI
	LEAQ	-8(SP), SI
	MOVQ	$1, DX
	MOVQ	$SYS_read, AX
	SYSCALL
	CMPQ	AX, $-EINTR
	JEQ	known
	CMPQ	AX, $1
	JNE	quit
	MOVQ	$PR_SET_PDEATHSIG, DI
	XORQ	SI, SI
	MOVQ	$SYS_prctl, AX
	SYSCALL
	MOVQ	BX, DI
	MOVQ	$SYS_close, AX
	SYSCALL
	MOVQ	R10, BX
wait:
	MOVQ	R8, DI
	LEAQ	-8(SP), SI
	MOVQ	$1, DX
	MOVQ	$SYS_read, AX
	SYSCALL
	CMPQ	AX, $-EINTR
	JEQ	wait
	CMPQ	AX, $1
	JNE	quit
	MOVQ	R8, DI
	MOVQ	$SYS_close, AX
	SYSCALL
opened:
	MOVQ	BX, DI
	MOVQ	$F_SETFD, SI
	MOVQ	$FD_CLOEXEC, DX
	MOVQ	$SYS_fcntl, AX
	SYSCALL
	TESTQ	AX, AX
	JNE	failed
next:
	TESTQ	R9, R9
	JEQ	over
	MOVQ	(R12), DI
	MOVQ	R13, SI
	MOVQ	R14, DX
	MOVQ	$SYS_execve, AX
	SYSCALL
	ADDQ	$8, R12
	DECQ	R9
	CMPQ	AX, $-EACCES
	JEQ	note
	CMPQ	AX, $-ENOENT
	JEQ	absent
	CMPQ	AX, $-ENOTDIR
	JNE	failed
absent:
	TESTQ	R15, R15
	JNE	next	// that one is there and may not be executed counts more
note:
	MOVQ	AX, R15
	JMP	next
over:
	MOVQ	R15, AX
failed:
	NEGQ	AX
	ORQ	$0x80, AX
	MOVB	AX, -8(SP)
	MOVQ	BX, DI
	LEAQ	-8(SP), SI
	MOVQ	$1, DX
	MOVQ	$SYS_write, AX
	SYSCALL
quit:
	MOVQ	$127, DI
	MOVQ	$SYS_exit_group, AX
	SYSCALL
	JMP	quit

TEXT end<>(SB),NOSPLIT|NOFRAME,$0
	RET

// func airlockCode() (begin, end uintptr)
TEXT ·airlockCode(SB),NOSPLIT,$0-16
	LEAQ	code<>(SB), AX
	MOVQ	AX, begin+0(FP)
	LEAQ	end<>(SB), AX
	MOVQ	AX, end+8(FP)
	RET
