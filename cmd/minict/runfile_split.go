//go:build split

package main

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// registerFile makes a flag of --config that hands over to the whole program,
// which can read YAML. That is done while the flags are read: nothing else has
// been done by then.
func (r *runFlags) registerFile(f *pflag.FlagSet) { f.Var(handOver{}, "config", fileUsage) }

// readFile has nothing to do: with a file, this program would not be here.
func (r *runFlags) readFile() error { return nil }

// handOver is the value of a flag that this program has no answer to.
type handOver struct{}

// Set executes the whole program, with the same arguments, in the place of
// this one.
func (handOver) Set(string) error {
	program, err := inMemory("minict", whole)
	if err != nil {
		return fmt.Errorf("start the part that reads it: %w", err)
	}
	defer program.Close()
	err = unix.Exec(fmt.Sprintf("/proc/self/fd/%d", program.Fd()), os.Args, os.Environ())
	return fmt.Errorf("start the part that reads it: %w", err)
}

func (handOver) String() string { return "" }
func (handOver) Type() string   { return "string" }
