package main

import (
	"fmt"

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
			name, err := image.Parse(args[0])
			if err != nil {
				return err
			}
			to := a.out
			if quiet {
				to = nil
			}
			if err := a.pull(cmd.Context(), args[0], platform, to); err != nil {
				return err
			}
			fmt.Fprintln(a.out, name)
			return nil
		},
	}
	cmd.Flags().StringVar(&platform, "platform", "", platformUsage)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print only the image's name")
	cmd.Flags().Var((*values)(&a.mirrors), "mirror", mirrorUsage)
	return cmd
}
