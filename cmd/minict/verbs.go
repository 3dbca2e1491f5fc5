package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// Groups of verbs in the help, in this order.
const (
	containers = "Containers:"
	images     = "Images:"
	nets       = "Networks:"
	others     = "Other:"
)

var groups = []string{containers, images, nets, others}

// verb is a command and how to make it.
type verb struct {
	name, group string
	make        func(*app) *cobra.Command
	// container and image are the verb's names behind minict container and
	// minict image, the first of them its own there; nil if it has none.
	container, image []string
	sweeps           bool // what killed containers left, without being asked to
	// complete makes what shells offer for its arguments; nil for nothing.
	complete func(*app) completion
}

// sweeps is the annotation of commands that do.
const sweeps = "sweeps"

func (v verb) command(a *app) *cobra.Command {
	c := v.make(a)
	c.GroupID = v.group
	c.ValidArgsFunction = noFiles
	if v.complete != nil {
		c.ValidArgsFunction = v.complete(a)
	}
	if v.sweeps {
		c.Annotations = map[string]string{sweeps: ""}
	}
	return c
}

var verbs = []verb{
	{name: "run", group: containers, make: (*app).runCommand, container: []string{"run"}, sweeps: true, complete: imagesOne},
	{name: "create", group: containers, make: (*app).createCommand, container: []string{"create"}, sweeps: true, complete: imagesOne},
	{name: "start", group: containers, make: (*app).startCommand, container: []string{"start"}, sweeps: true, complete: containersAny},
	{name: "exec", group: containers, make: (*app).execCommand, container: []string{"exec"}, complete: runningOne},
	{name: "attach", group: containers, make: (*app).attachCommand, container: []string{"attach"}, complete: runningOne},
	{name: "ps", group: containers, make: (*app).psCommand, container: []string{"ls", "ps", "list"}, sweeps: true},
	{name: "logs", group: containers, make: (*app).logsCommand, container: []string{"logs"}, complete: containersOne},
	{name: "port", group: containers, make: (*app).portCommand, container: []string{"port"}, complete: runningOne},
	{name: "inspect", group: containers, make: (*app).inspectCommand, container: []string{"inspect"}, image: []string{"inspect"}, complete: containersAny},
	{name: "wait", group: containers, make: (*app).waitCommand, container: []string{"wait"}, complete: containersAny},
	{name: "stop", group: containers, make: (*app).stopCommand, container: []string{"stop"}, sweeps: true, complete: runningAny},
	{name: "kill", group: containers, make: (*app).killCommand, container: []string{"kill"}, sweeps: true, complete: runningAny},
	{name: "restart", group: containers, make: (*app).restartCommand, container: []string{"restart"}, sweeps: true, complete: runningAny},
	{name: "pause", group: containers, make: (*app).pauseCommand, container: []string{"pause"}, complete: runningAny},
	{name: "unpause", group: containers, make: (*app).unpauseCommand, container: []string{"unpause"}, complete: runningAny},
	{name: "rm", group: containers, make: (*app).rmCommand, container: []string{"rm", "remove"}, sweeps: true, complete: containersAny},
	{name: "pull", group: images, make: (*app).pullCommand, image: []string{"pull"}, complete: imagesOne},
	{name: "images", group: images, make: (*app).imagesCommand, image: []string{"ls", "list"}, complete: imagesOne},
	{name: "rmi", group: images, make: (*app).rmiCommand, image: []string{"rm", "remove"}, sweeps: true, complete: imagesAny},
	{name: "network", group: nets, make: (*app).networkCommand},
	{name: "version", group: others, make: (*app).versionCommand},
}

func find(name string) (verb, bool) {
	for _, v := range verbs {
		if v.name == name {
			return v, true
		}
	}
	return verb{}, false
}

// group makes minict container or minict image: the same verbs, under the
// names that Docker has for them there.
func (a *app) group(kind string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     kind,
		Short:   "The verbs about " + kind + "s, as minict " + kind + " ls",
		Example: "  minict " + kind + " ls",
		GroupID: others,
		Args:    unknownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, v := range verbs {
		names := v.container
		if kind == "image" {
			names = v.image
		}
		if names == nil {
			continue
		}
		c := v.command(a)
		c.GroupID = ""
		c.Use = names[0] + c.Use[len(v.name):]
		c.Aliases = names[1:]
		if v.name == "inspect" {
			c.Flags().Set("type", kind)
		}
		cmd.AddCommand(c)
	}
	return cmd
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  minict version",
		Args:    needs(0, 0),
		Run:     func(*cobra.Command, []string) { fmt.Fprintln(a.out, "minict version "+version) },
	}
}

// each does something to each of several containers and prints its name, as
// Docker does: those that fail don't keep the others from it, and each gets a
// line of its own.
func (a *app) each(ctx context.Context, refs []string, do func(ctx context.Context, ref string) error) error {
	return a.eachQuietly(ctx, refs, func(ctx context.Context, ref string) error {
		err := do(ctx, ref)
		if err == nil {
			fmt.Fprintln(a.out, ref)
		}
		return err
	})
}

// eachQuietly is each, where do prints what there is to say.
func (a *app) eachQuietly(ctx context.Context, refs []string, do func(ctx context.Context, ref string) error) error {
	var last error
	for _, ref := range refs {
		err := do(ctx, ref)
		if err == nil {
			continue
		}
		if last != nil {
			a.report(last)
		}
		last = err
		if errors.Is(err, context.Canceled) {
			break
		}
	}
	return last
}
