package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// containerVerbs are the commands about containers.
func (a *app) containerVerbs() []*cobra.Command {
	return []*cobra.Command{
		a.runCommand(), a.createCommand(), a.startCommand(), a.execCommand(), a.attachCommand(),
		a.psCommand(), a.logsCommand(), a.inspectCommand(), a.waitCommand(),
		a.stopCommand(), a.killCommand(), a.restartCommand(), a.pauseCommand(), a.unpauseCommand(), a.rmCommand(),
	}
}

// imageVerbs are the commands about images.
func (a *app) imageVerbs() []*cobra.Command {
	return []*cobra.Command{a.pullCommand(), a.imagesCommand(), a.rmiCommand()}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  minict version",
		Args:    needs(0, 0),
		Run:     func(*cobra.Command, []string) { fmt.Fprintln(a.out, "minict version "+version) },
	}
}

// each does something to each of several containers and prints its name, as
// Docker does: those that fail don't keep the others from it, and each gets a
// line of its own.
func (a *app) each(ctx context.Context, refs []string, do func(ctx context.Context, ref string) error) error {
	var last error
	for _, ref := range refs {
		err := do(ctx, ref)
		if err == nil {
			fmt.Fprintln(a.out, ref)
			continue
		}
		if last != nil {
			a.report(last)
		}
		last = err
		if errors.Is(err, context.Canceled) {
			break
		}
	}
	return last
}
