package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"minict/image"
)

func (a *app) pullCommand() *cobra.Command {
	var platform string
	var quiet bool
	cmd := &cobra.Command{
		Use:     "pull [flags] IMAGE",
		Short:   "Fetch an image from a registry",
		Example: "  minict pull alpine\n  minict pull --mirror docker.io=http://127.0.0.1:5000 alpine:3.20",
		Args:    needs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			to := a.out
			if quiet {
				to = nil
			}
			name, err := a.pull(cmd.Context(), args[0], platform, to)
			if err == nil {
				fmt.Fprintln(a.out, name)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&platform, "platform", "", platformUsage)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print only the image's name")
	cmd.Flags().StringArrayVar(&a.mirrors, "mirror", nil, mirrorUsage)
	return cmd
}

// pull pulls an image, tells to how it goes (nil: nobody), and gives the
// canonical name.
func (a *app) pull(ctx context.Context, ref, platform string, to *os.File) (string, error) {
	p := newProgress(to)
	client, err := a.client(p)
	if err != nil {
		return "", err
	}
	result, err := client.Pull(ctx, ref, image.PullOptions{Platform: platform})
	p.end(err == nil)
	if err != nil {
		return "", err
	}
	if to != nil {
		fmt.Fprintf(to, "Digest: %s\nStatus: %s\n", result.Digest, result.Status())
	}
	return result.Name.String(), nil
}
