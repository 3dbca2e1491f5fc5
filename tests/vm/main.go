// Command vm runs a test program in a virtual machine with nothing but cgroup
// v2, Debian's cloud kernel and an ext4 root: the machine that the host, with
// its older layout of cgroups, is not. It fits "go test -exec":
//
//	go test -exec "build/vm -binary $PWD/minict" ./tests/e2e
//
// The machine has no network but loopback. The exit code is the test
// program's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

type options struct {
	binary   string
	programs string
	bring    string
	memory   int
	timeout  time.Duration
	verbose  bool
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "minict", "the minict to test; the tests find it by MINICT_BINARY")
	flag.StringVar(&o.programs, "programs", "/bin/busybox,/usr/bin/docker-registry", "programs of the host to bring along, with their libraries")
	flag.StringVar(&o.bring, "bring", "", "directory of the host to bring along; it is in the machine's /srv")
	flag.IntVar(&o.memory, "memory", 2048, "memory of the machine in MiB")
	flag.DurationVar(&o.timeout, "timeout", 15*time.Minute, "when to give the machine up")
	flag.BoolVar(&o.verbose, "verbose", false, "print the kernel's messages and the times")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: vm [flags] TEST-PROGRAM [ARGUMENT...]")
		os.Exit(2)
	}
	code, err := run(o, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		code = 1
	}
	os.Exit(code)
}

func run(o options, command []string) (int, error) {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("no end after %v", o.timeout))
	defer cancel()

	kernel, modules, err := newestKernel()
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "minict-vm-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)

	begin := time.Now()
	disk := filepath.Join(dir, "disk")
	if err := makeDisk(ctx, o, modules, command, disk); err != nil {
		return 0, err
	}
	if o.verbose {
		fmt.Fprintf(os.Stderr, "vm: disk made in %v\n", time.Since(begin).Round(time.Millisecond))
	}
	return boot(ctx, o, kernel, dir, disk)
}

// newestKernel finds Debian's cloud kernel (package linux-image-cloud-amd64)
// and its modules.
func newestKernel() (kernel, modules string, err error) {
	found, err := filepath.Glob("/boot/vmlinuz-*-cloud-amd64")
	if err != nil || len(found) == 0 {
		return "", "", errors.New("no /boot/vmlinuz-*-cloud-amd64: install linux-image-cloud-amd64")
	}
	var newest time.Time
	for _, path := range found {
		info, err := os.Stat(path)
		if err != nil {
			return "", "", err
		}
		if info.ModTime().After(newest) {
			newest, kernel = info.ModTime(), path
		}
	}
	return kernel, filepath.Join("/lib/modules", filepath.Base(kernel)[len("vmlinuz-"):]), nil
}
