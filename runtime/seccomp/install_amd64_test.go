package seccomp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// nativeAttempts are calls by x32 and i386 under the default profile.
var nativeAttempts = []attempt{
	// Kernels without x32 answer ENOSYS to what the filter lets through.
	{Number: x32Bit | unix.SYS_MOUNT, Want: unix.EPERM},
	{Number: x32Bit | unix.SYS_CLONE3, Want: unix.ENOSYS},
	{Number: x32Bit | 9999, Want: unix.ENOSYS},
	{Int80: true, Number: 20},                   // getpid
	{Int80: true, Number: 21, Want: unix.EPERM}, // mount
	{Int80: true, Number: 435, Want: unix.ENOSYS},
	{Int80: true, Number: 9999, Want: unix.ENOSYS},
	{Int80: true, Number: 359, Args: [4]uint64{unix.AF_ALG, unix.SOCK_SEQPACKET}, Want: unix.EPERM},
	{Int80: true, Number: 136, Args: [4]uint64{0xffffffff}}, // personality
	{Int80: true, Number: 136, Args: [4]uint64{0x40000}, Want: unix.EPERM},
	// Docker's default profile permits socketcall whole: a filter can't see
	// which family is asked for, and programs of i386 have no other sockets.
	{Int80: true, Number: 102, Args: [4]uint64{1, 0}, Want: unix.EFAULT},
}

// int80Code is a function that takes, in Go's way, a pointer to four words in
// RAX: a number and three arguments for a system call of i386. It puts the
// result where the number was.
var int80Code = []byte{
	0x53,             // push rbx
	0x50,             // push rax
	0x8b, 0x58, 0x04, // mov ebx, [rax+4]
	0x8b, 0x48, 0x08, // mov ecx, [rax+8]
	0x8b, 0x50, 0x0c, // mov edx, [rax+12]
	0x8b, 0x00, // mov eax, [rax]
	0xcd, 0x80, // int 0x80
	0x59,       // pop rcx
	0x89, 0x01, // mov [rcx], eax
	0x5b, // pop rbx
	0xc3, // ret
}

func int80(nr, a, b, c uint32) unix.Errno {
	page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return unix.ENOMEM
	}
	defer unix.Munmap(page)
	copy(page, int80Code)
	code := &page[0]
	enter := *(*func(*[4]uint32))(unsafe.Pointer(&[1]unsafe.Pointer{unsafe.Pointer(&code)}))
	words := [4]uint32{nr, a, b, c}
	enter(&words)
	if r := int32(words[0]); r < 0 && r >= -maxErrno {
		return unix.Errno(-r)
	}
	return 0
}
