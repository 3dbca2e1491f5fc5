// Command minict manages images and containers.
//
// The program has one part for each verb, all of them thin: flags become a
// container.Options, and package container does the rest. What a person
// reads, and which exit code a command ends with, is decided in exit.go.
//
// A command ends before the limits of its cgroup change: the Go runtime need
// not look at them at the start, nor again and again. That is 0.1 ms of each
// start.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"os"

	"golang.org/x/sys/unix"

	"minict/cmd/minict/oci"
	_ "minict/internal/quiet"
)

// version is set by the linker.
var version = "devel"

func main() {
	growStack(len(os.Args))
	unix.Umask(0o022) // modes are as they are written down, whoever calls
	if args, ok := oci.Arguments(os.Args); ok {
		os.Exit(oci.Main(version, args, oci.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}
	os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// growStack makes room for the deepest calls at once, 64 KiB, while there is
// little on the stack to be moved. Doubled time and again, each time with more on
// it, it took a fiftieth of a run.
//
//go:noinline
func growStack(n int) byte {
	if n > 0 { // there always is an argument: the room is asked for, not used
		return 0
	}
	var room [40 << 10]byte
	room[-n] = 1
	return room[0]
}
