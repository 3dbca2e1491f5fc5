#include "textflag.h"

// func rawSyscall6(nr, a, b, c, d, e, f uintptr) (r1, r2 uintptr, errno unix.Errno)
TEXT ·rawSyscall6(SB),NOSPLIT|NOFRAME,$0-80
	MOVD	nr+0(FP), R8
	MOVD	a+8(FP), R0
	MOVD	b+16(FP), R1
	MOVD	c+24(FP), R2
	MOVD	d+32(FP), R3
	MOVD	e+40(FP), R4
	MOVD	f+48(FP), R5
	SVC
	CMN	$4095, R0
	BCS	failed
	MOVD	R0, r1+56(FP)
	MOVD	R1, r2+64(FP)
	MOVD	ZR, errno+72(FP)
	RET
failed:
	NEG	R0, R0
	MOVD	$-1, R4
	MOVD	R4, r1+56(FP)
	MOVD	ZR, r2+64(FP)
	MOVD	R0, errno+72(FP)
	RET
