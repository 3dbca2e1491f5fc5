package main

import (
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
			for _, ref := range args {
				code, err := a.manager().Wait(cmd.Context(), ref)
				if err != nil {
					return err
				}
				fmt.Fprintln(a.out, code)
			}
			return nil
		},
	}
}
