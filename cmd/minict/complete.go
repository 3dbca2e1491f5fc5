package main

import (
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

// containerNames offers the names of containers, of those that run or of all,
// for as many arguments as the command takes (a negative number is any).
func (a *app) containerNames(all bool, most int) completion {
	return func(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most || a.ready(cmd) != nil {
			return noFiles(cmd, args, begin)
		}
		list, err := a.manager().List(cmd.Context(), all)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, s := range list {
			if strings.HasPrefix(s.Name, begin) {
				names = append(names, s.Name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// imageNames offers the names of images.
func (a *app) imageNames(most int) completion {
	return func(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most || a.ready(cmd) != nil {
			return noFiles(cmd, args, begin)
		}
		client := a.images()
		images, err := client.List(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, img := range images {
			for _, n := range img.Names {
				if name, err := image.Parse(n); err == nil && strings.HasPrefix(name.Familiar(), begin) {
					names = append(names, name.Familiar())
				}
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func runningOne(a *app) completion    { return a.containerNames(false, 1) }
func runningAny(a *app) completion    { return a.containerNames(false, -1) }
func containersOne(a *app) completion { return a.containerNames(true, 1) }
func containersAny(a *app) completion { return a.containerNames(true, -1) }
func imagesOne(a *app) completion     { return a.imageNames(1) }
func imagesAny(a *app) completion     { return a.imageNames(-1) }
