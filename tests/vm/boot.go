package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// boot runs the machine until it powers itself off. Its first serial port is
// the kernel's console, kept to be shown when something goes wrong; the
// second is the standard output of the tests, the third their exit code.
// Instructions are emulated in software: that works on every host, also on one
// that is itself a guest.
func boot(ctx context.Context, o options, kernel, dir, disk string) (int, error) {
	console, status := filepath.Join(dir, "console"), filepath.Join(dir, "status")
	args := []string{
		"-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", strconv.Itoa(o.memory),
		"-nodefaults", "-display", "none", "-no-reboot",
		"-kernel", kernel,
		"-append", "console=ttyS0 root=/dev/nvme0n1 rootfstype=ext4 rw init=/init panic=-1 mitigations=off tsc=unstable random.trust_cpu=on loglevel=5",
		"-drive", "file=" + disk + ",if=none,id=disk,format=raw,cache=unsafe",
		"-device", "nvme,drive=disk,serial=minict",
		"-serial", "file:" + console, "-serial", "stdio", "-serial", "file:" + status,
	}
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	qemu.Stdout, qemu.Stderr = os.Stdout, os.Stderr
	qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	err := qemu.Run()
	if o.verbose {
		show(console)
	}
	if ctx.Err() != nil {
		show(console)
		return 0, context.Cause(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("qemu-system-x86_64: %w", err)
	}
	said, err := os.ReadFile(status)
	if err != nil {
		return 0, err
	}
	code, err := strconv.Atoi(strings.TrimSpace(string(said)))
	if err != nil {
		show(console)
		return 0, errors.New("the machine ended without the tests' exit code")
	}
	return code, nil
}

func show(console string) {
	text, err := os.ReadFile(console)
	if err == nil {
		os.Stderr.Write(text)
	}
}
