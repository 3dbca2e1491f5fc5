package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"minict/container"
	"minict/image"
	"minict/store"
)

// streams are the standard streams of the command.
type streams struct{ in, out, err *os.File }

// app is what all verbs share: the global flags and what follows from them.
type app struct {
	streams
	root, state string // directories, absolute once ready
	config      string // the program's configuration file
	log         logFlags
	mirrors     []string

	settings settings
	store    *store.Store
}

// run is the whole command, as a function.
func run(args []string, s streams) int {
	a := &app{streams: s}
	defer a.close()
	cmd := a.command()
	cmd.SetArgs(args)
	cmd.SetIn(s.in)
	cmd.SetOut(s.out)
	cmd.SetErr(s.err)
	return a.report(cmd.ExecuteContext(context.Background()))
}

// command is the tree of verbs.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "minict",
		Short: "Manage images and containers, without a daemon",
		Long: "minict pulls images, and runs processes in containers made of them.\n" +
			"There is no daemon: a container starts in the time a process takes.",
		Example: "  minict pull alpine\n" +
			"  minict run --rm alpine -- /bin/echo hello\n" +
			"  minict run -d --name web alpine -- sleep 1000\n" +
			"  minict ps",
		Version:           version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.ready(cmd) },
		Args:              unknownCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("minict version {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	f.StringVar(&a.root, "root", envOr("MINICT_ROOT", "/var/lib/minict"), "directory of what is kept")
	f.StringVar(&a.state, "state", envOr("MINICT_STATE", "/run/minict"), "directory of what a reboot forgets")
	f.StringVar(&a.config, "config-file", os.Getenv("MINICT_CONFIG"), "configuration file of the program")
	a.log.register(f)
	root.AddGroup(
		&cobra.Group{ID: "containers", Title: "Containers:"},
		&cobra.Group{ID: "images", Title: "Images:"},
	)
	for group, verbs := range map[string][]*cobra.Command{
		"containers": a.containerVerbs(),
		"images":     a.imageVerbs(),
	} {
		for _, v := range verbs {
			v.GroupID = group
			root.AddCommand(v)
		}
	}
	root.AddCommand(a.versionCommand())
	return root
}

// errNotRoot is told to those who can't do anything here yet.
var errNotRoot = errors.New("must be run as root (rootless mode is not there yet)")

// ready is called before each verb, with the flags read.
func (a *app) ready(cmd *cobra.Command) error {
	if needsNothing(cmd) {
		return nil
	}
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	for _, dir := range []*string{&a.root, &a.state} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	var err error
	if a.log.logger, err = a.log.open(a.err); err != nil {
		return err
	}
	slog.SetDefault(a.log.logger)
	if a.settings, err = readSettings(a.config); err != nil {
		return err
	}
	a.store, err = store.Open(a.root)
	return err
}

// needsNothing are the verbs that any user may call.
func needsNothing(cmd *cobra.Command) bool {
	for c := cmd; c != nil; c = c.Parent() {
		switch c.Name() {
		case "help", "version", "completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
			return true
		}
	}
	return !cmd.HasParent()
}

func (a *app) manager() *container.Manager {
	return &container.Manager{Root: a.root, State: a.state, Store: a.store, Log: a.log.logger}
}

func (a *app) client(p image.Progress) (*image.Client, error) {
	registries, err := a.settings.registries(a.mirrors)
	if err != nil {
		return nil, err
	}
	return &image.Client{Store: a.store, Config: registries, Progress: p}, nil
}

func (a *app) close() { a.log.close() }

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
