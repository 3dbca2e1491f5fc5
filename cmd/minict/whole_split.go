//go:build split

package main

import (
	_ "embed" // the program
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"minict/container/attach"
	"minict/container/embed"
)

// whole is minict built without the tag split: all of it.
//
// What a pull needs — HTTP, TLS, decompression — is most of the program, and
// only to be loaded and initialized it takes as long as a container takes to
// be set up. The parser of YAML is a tenth of that. Every run would pay for
// them. So the program that is built with the tag carries the whole one, and
// executes it only to pull, and for who has a file of options.
//
//go:embed whole
var whole string

// whole gives that program, to be executed by its descriptor.
func (a *app) whole() (*os.File, error) {
	return attach.OpenProgram(a.state, embed.Program{Kind: "minict", Data: whole})
}

// handOver makes this process the whole program if the command has a file of
// options, which only that one can read. Nothing has been done yet.
func (a *app) handOver(cmd *cobra.Command) error {
	if f := cmd.Flags().Lookup("config"); f == nil || f.Value.String() == "" {
		return nil
	}
	program, err := a.whole()
	if err != nil {
		return fmt.Errorf("start the part that reads files: %w", err)
	}
	defer program.Close()
	err = unix.Exec(fmt.Sprintf("/proc/self/fd/%d", program.Fd()), os.Args, os.Environ())
	return fmt.Errorf("start the part that reads files: %w", err)
}

// readFile has nothing to do: with a file, this program would not be here.
func (r *runFlags) readFile() error { return nil }
