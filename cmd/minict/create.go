package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) createCommand() *cobra.Command {
	r := new(runFlags)
	cmd := &cobra.Command{
		Use:     "create [flags] IMAGE [--] [COMMAND [ARG...]]",
		Short:   "Make a container that is started later",
		Example: "  minict create --name web alpine -- sleep 1000\n  minict start web",
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := r.options(args)
			if err != nil {
				return err
			}
			find, err := a.finder(cmd.Context(), o, r)
			if err != nil {
				return err
			}
			cidfile, err := newCidfile(r.cidfile)
			if err != nil {
				return err
			}
			defer cidfile.close()
			id, err := a.manager().Create(cmd.Context(), o, find)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, id)
			return cidfile.write(id)
		},
	}
	r.register(cmd.Flags())
	cmd.Flags().StringArrayVar(&a.mirrors, "mirror", nil, "REGISTRY=ENDPOINT to pull from")
	return cmd
}
