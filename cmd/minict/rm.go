package main

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) rmCommand() *cobra.Command {
	var force, volumes bool
	cmd := &cobra.Command{
		Use:     "rm [flags] CONTAINER [CONTAINER...]",
		Short:   "Remove containers",
		Example: "  minict rm web\n  minict rm -f $(minict ps -aq)",
		Args:    needs(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd.Context(), args, func(ctx context.Context, ref string) error {
				return a.manager().Remove(ctx, ref, force, volumes)
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "kill it first if it runs")
	cmd.Flags().BoolVarP(&volumes, "volumes", "v", false, "remove its anonymous volumes too")
	return cmd
}
