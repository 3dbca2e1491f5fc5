//go:build !split

package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"minict/image/pull"
)

// fetchCommand is pull for a minict that has left pulling to another program,
// this one: see fetch_split.go.
func (a *app) fetchCommand() *cobra.Command {
	var platform string
	var quiet bool
	cmd := &cobra.Command{
		Use:     "fetch [flags] IMAGE",
		Short:   "Fetch an image for another minict",
		Example: "  minict fetch alpine",
		Hidden:  true,
		Args:    needs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			to := a.out
			if quiet {
				to = nil
			}
			return a.pull(cmd.Context(), args[0], platform, to)
		},
	}
	cmd.Flags().StringVar(&platform, "platform", "", platformUsage)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print nothing")
	cmd.Flags().Var((*values)(&a.mirrors), "mirror", mirrorUsage)
	return cmd
}

// pull pulls an image, and tells to how it goes (nil: nobody).
func (a *app) pull(ctx context.Context, ref, platform string, to *os.File) error {
	settings, err := readSettings(a.config)
	if err != nil {
		return err
	}
	registries, err := settings.registries(a.mirrors)
	if err != nil {
		return err
	}
	p := newProgress(to)
	client := &pull.Client{Store: a.store, Config: registries, Progress: p}
	result, err := client.Pull(ctx, ref, pull.PullOptions{Platform: platform})
	p.end(err == nil)
	if err != nil {
		return err
	}
	if to != nil {
		fmt.Fprintf(to, "Digest: %s\nStatus: %s\n", result.Digest, result.Status())
	}
	return nil
}
