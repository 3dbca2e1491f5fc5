package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// helpWidth is the width that a help text has at most, in characters.
const helpWidth = 80

// help prints what a command is for and how it is used. The global flags are
// explained once, by minict --help.
func help(cmd *cobra.Command, _ []string) {
	w := cmd.OutOrStdout()
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	fmt.Fprintf(w, "%s\n\nUsage:\n", text)
	if cmd.HasSubCommands() {
		fmt.Fprintf(w, "  %s [flags] COMMAND\n", cmd.CommandPath())
	} else {
		fmt.Fprintf(w, "  %s\n", cmd.UseLine())
	}
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(w, "\nAliases:\n  %s\n", cmd.NameAndAliases())
	}
	if cmd.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
	for _, g := range cmd.Groups() {
		helpVerbs(w, g.Title, cmd, g.ID)
	}
	helpVerbs(w, "Commands:", cmd, "")
	if f := cmd.LocalFlags(); f.HasAvailableFlags() {
		fmt.Fprintf(w, "\nFlags:\n%s", f.FlagUsagesWrapped(helpWidth))
	}
	if cmd.HasAvailableInheritedFlags() {
		fmt.Fprintf(w, "\nThe flags of all commands are explained by '%s --help'.\n", cmd.Root().Name())
	}
}

// helpVerbs lists the verbs of a group.
func helpVerbs(w io.Writer, title string, cmd *cobra.Command, group string) {
	for _, c := range cmd.Commands() {
		if c.GroupID != group || !c.IsAvailableCommand() && c.Name() != "help" {
			continue
		}
		if title != "" {
			fmt.Fprintf(w, "\n%s\n", title)
			title = ""
		}
		fmt.Fprintf(w, "  %s%s%s\n", c.Name(), strings.Repeat(" ", max(1, 12-len(c.Name()))), c.Short)
	}
}
