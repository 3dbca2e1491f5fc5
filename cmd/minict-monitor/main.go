// Command minict-monitor is the small program inside minict: a container's
// monitor, and the init that is PID 1 where the user wants one. Users never
// start it.

// One processor is enough, so Go's runtime need not look for the limits of its
// cgroup, nor keep their files open.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	_ "minict/internal/quiet"

	_ "unsafe" // for go:linkname

	"golang.org/x/sys/unix"

	"minict/container/monitor"
)

// args are the program's arguments. Package os would give them, at the price
// of all that it makes ready at the start of a program.
//
//go:linkname args os.runtime_args
func args() []string

func main() {
	if list := args(); len(list) > 1 && list[1] == "--" {
		unix.Exit(monitor.Init(list))
	}
	monitor.Main()
}
