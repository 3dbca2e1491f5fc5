package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"minict/container"
	"minict/image"
	"minict/store"
)

func (a *app) rmiCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "rmi [flags] IMAGE [IMAGE...]",
		Short:   "Remove images",
		Example: "  minict rmi alpine",
		Args:    needs(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.eachQuietly(cmd.Context(), args, func(ctx context.Context, ref string) error {
				return a.rmi(ctx, ref, force)
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "remove it though it has several names, or a stopped container")
	return cmd
}

func (a *app) rmi(ctx context.Context, ref string, force bool) error {
	m := a.manager()
	if err := m.Sweep(ctx); err != nil {
		return err
	}
	client := a.images()
	result, err := client.Remove(ctx, ref, image.RemoveOptions{Force: force, Users: func() ([]image.User, error) { return users(ctx, m) }})
	if err != nil {
		return err
	}
	for _, name := range result.Untagged {
		fmt.Fprintln(a.out, "Untagged: "+name)
	}
	for _, d := range result.Deleted {
		fmt.Fprintln(a.out, "Deleted: "+string(d))
	}
	return nil
}

// users are the containers that need an image. Which layers are whose doesn't
// matter: none that any container has may go.
func users(ctx context.Context, m *container.Manager) ([]image.User, error) {
	claims, err := m.InUse()
	if err != nil {
		return nil, err
	}
	list, err := m.List(ctx, false)
	if err != nil {
		return nil, err
	}
	running := make(map[string]bool)
	for _, s := range list {
		running[s.ID] = true
	}
	var layers []store.Digest
	for key := range claims.Layers {
		layers = append(layers, key)
	}
	var users []image.User
	for id, containers := range claims.Images {
		for _, c := range containers {
			users = append(users, image.User{Container: c, Running: running[c], Image: id, Layers: layers})
		}
	}
	return users, nil
}
