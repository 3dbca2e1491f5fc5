package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"minict/container"
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
			cidfile, err := newCidfile(r.cidfile)
			if err != nil {
				return err
			}
			var id string
			err = a.withImage(cmd.Context(), o, r, func(find container.Find) error {
				id, err = a.manager().Create(cmd.Context(), o, find)
				return err
			})
			if err == nil {
				err = cidfile.write(id)
			}
			if err := errors.Join(err, cidfile.close(id != "")); err != nil {
				return err
			}
			fmt.Fprintln(a.out, id)
			return nil
		},
	}
	r.register(cmd.Flags())
	a.completeNetwork(cmd)
	return cmd
}
