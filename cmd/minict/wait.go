package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) waitCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "wait CONTAINER [CONTAINER...]",
		Short:   "Wait for the end of containers and print their exit codes",
		Example: "  minict wait web",
		Args:    needs(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.eachQuietly(cmd.Context(), args, func(ctx context.Context, ref string) error {
				code, err := a.manager().Wait(ctx, ref)
				if err == nil {
					fmt.Fprintln(a.out, code)
				}
				return err
			})
		},
	}
}
