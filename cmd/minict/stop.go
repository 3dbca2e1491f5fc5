package main

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) stopCommand() *cobra.Command {
	var signal string
	var seconds int
	cmd := &cobra.Command{
		Use:     "stop [flags] CONTAINER [CONTAINER...]",
		Short:   "Stop containers: ask by a signal, then kill",
		Example: "  minict stop web\n  minict stop -t 30 db",
		Args:    needs(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd.Context(), args, func(ctx context.Context, ref string) error {
				return a.manager().StopBy(ctx, ref, signal, timeoutFlag(cmd, seconds))
			})
		},
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "", "`signal` to ask by (default: the container's own)")
	registerTimeout(cmd, &seconds)
	return cmd
}

func (a *app) killCommand() *cobra.Command {
	var signal string
	cmd := &cobra.Command{
		Use:     "kill [flags] CONTAINER [CONTAINER...]",
		Short:   "Send a signal to containers, KILL if none is named",
		Example: "  minict kill web\n  minict kill -s HUP web",
		Args:    needs(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd.Context(), args, func(ctx context.Context, ref string) error {
				return a.manager().Kill(ctx, ref, signal)
			})
		},
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "KILL", "name or number of the `signal`")
	return cmd
}

func (a *app) pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "pause CONTAINER [CONTAINER...]",
		Short:   "Freeze all processes of containers",
		Example: "  minict pause web",
		Args:    needs(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd.Context(), args, a.manager().Pause)
		},
	}
}

func (a *app) unpauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "unpause CONTAINER [CONTAINER...]",
		Short:   "Let frozen containers go on",
		Example: "  minict unpause web",
		Args:    needs(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd.Context(), args, a.manager().Unpause)
		},
	}
}
