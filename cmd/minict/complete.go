package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"minict/image"
)

// completion is what a shell is offered for the arguments of a command.
type completion = func(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective)

// noFiles is for arguments that nobody can guess.
func noFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// plainUsages takes the marks for the help (`value`) out of the texts about
// flags, which shells show as they are.
func plainUsages(cmd *cobra.Command) {
	plain := func(f *pflag.Flag) { f.Usage = strings.ReplaceAll(f.Usage, "`", "") }
	cmd.Flags().VisitAll(plain)
	cmd.PersistentFlags().VisitAll(plain)
	for _, c := range cmd.Commands() {
		plainUsages(c)
	}
}

// offer completes names that a list gives, for as many arguments as the command
// takes (a negative number is any).
func (a *app) offer(most int, list func(context.Context) ([]string, error)) completion {
	return func(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most || a.ready(cmd) != nil {
			return noFiles(cmd, args, begin)
		}
		names, err := list(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		other := func(name string) bool { return !strings.HasPrefix(name, begin) }
		return slices.DeleteFunc(names, other), cobra.ShellCompDirectiveNoFileComp
	}
}

// containerNames offers the names of containers, of those that run or of all.
func (a *app) containerNames(all bool, most int) completion {
	return a.offer(most, func(ctx context.Context) (names []string, err error) {
		list, err := a.manager().List(ctx, all)
		for _, s := range list {
			names = append(names, s.Name)
		}
		return names, err
	})
}

// imageNames offers the names of images.
func (a *app) imageNames(most int) completion {
	return a.offer(most, func(ctx context.Context) (names []string, err error) {
		images, err := a.images().List(ctx)
		for _, img := range images {
			for _, n := range img.Names {
				if name, err := image.Parse(n); err == nil {
					names = append(names, name.Familiar())
				}
			}
		}
		return names, err
	})
}

// networkNames offers the names of networks.
func (a *app) networkNames(most int) completion {
	return a.offer(most, func(context.Context) (names []string, err error) {
		list, err := a.networks().List()
		for _, n := range list {
			names = append(names, n.Name)
		}
		return names, err
	})
}

// networkAndContainer offers a network, and then a container.
func networkAndContainer(a *app) completion {
	return func(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return a.networkNames(1)(cmd, args, begin)
		case 1:
			return a.containerNames(true, -1)(cmd, args, begin)
		}
		return noFiles(cmd, args, begin)
	}
}

func networksAny(a *app) completion   { return a.networkNames(-1) }
func runningOne(a *app) completion    { return a.containerNames(false, 1) }
func runningAny(a *app) completion    { return a.containerNames(false, -1) }
func containersOne(a *app) completion { return a.containerNames(true, 1) }
func containersAny(a *app) completion { return a.containerNames(true, -1) }
func imagesOne(a *app) completion     { return a.imageNames(1) }
func imagesAny(a *app) completion     { return a.imageNames(-1) }
