package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

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

	store      *store.Store
	swept      bool        // the verb has swept what killed containers left
	interrupts *interrupts // nil with --sig-proxy=false
}

// run is the whole command, as a function.
func run(args []string, s streams) int {
	a := &app{streams: s}
	defer a.close()
	cmd := a.command(args)
	cmd.SetArgs(args)
	cmd.SetIn(s.in)
	cmd.SetOut(s.out)
	cmd.SetErr(s.err)
	code := a.report(cmd.ExecuteContext(context.Background()))
	a.tidy()
	return code
}

// command is the tree of verbs. If the first argument is a verb, the others
// are left out: most commands end sooner than the tree would be grown.
func (a *app) command(args []string) *cobra.Command {
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
	root.SetHelpFunc(help)
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g, Title: g})
	}
	root.SetHelpCommandGroupID(others)
	root.SetCompletionCommandGroupID(others)
	f := root.PersistentFlags()
	f.StringVar(&a.root, "root", envOr("MINICT_ROOT", "/var/lib/minict"), "`directory` of images and containers")
	f.StringVar(&a.state, "state", envOr("MINICT_STATE", "/run/minict"), "`directory` of what a reboot forgets")
	f.StringVar(&a.config, "config-file", os.Getenv("MINICT_CONFIG"), "`file` of settings (default /etc/minict/config.yaml)")
	a.log.register(f)
	if len(args) > 0 {
		if v, ok := find(args[0]); ok {
			root.CompletionOptions.DisableDefaultCmd = true
			root.AddCommand(v.command(a))
			return root
		}
	}
	for _, v := range verbs {
		root.AddCommand(v.command(a))
	}
	root.AddCommand(a.group("container"), a.group("image"))
	if c := a.fetchCommand(); c != nil {
		root.AddCommand(c)
	}
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Example = "  minict completion bash >/etc/bash_completion.d/minict"
		}
	}
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		plainUsages(root)
	}
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
	if err := a.handOver(cmd); err != nil {
		return err
	}
	if err := a.interruptible(cmd); err != nil {
		return err
	}
	var err error
	if a.log.logger, err = a.log.open(a.err); err != nil {
		return err
	}
	slog.SetDefault(a.log.logger)
	slog.Debug("command", "verb", cmd.CommandPath(), "root", a.root, "state", a.state)
	a.store, err = store.Open(a.root)
	_, a.swept = cmd.Annotations[sweeps]
	return err
}

// interruptible makes Ctrl-C and its like the end of the command's context:
// what was begun is undone then. Once a container runs, they are passed on to
// it (see container.Streams), unless --sig-proxy=false leaves them alone. What
// this process was told to ignore, as by nohup, it ignores.
func (a *app) interruptible(cmd *cobra.Command) error {
	if f := cmd.Flags().Lookup("sig-proxy"); f != nil && f.Value.String() == "false" {
		return nil
	}
	var err error
	if a.interrupts, err = interruptContext(cmd.Context()); err == nil {
		cmd.SetContext(a.interrupts)
	}
	return err
}

// tidy removes, when a command has done its work, what killed ones left.
func (a *app) tidy() {
	if a.store == nil {
		return
	}
	ctx, m := context.Background(), a.manager()
	if !a.swept {
		if err := m.Sweep(ctx); err != nil {
			a.log.logger.Warn("sweep", "error", err)
		}
	}
	if !a.store.Abandoned() {
		return
	}
	if _, err := a.store.Collect(ctx, func() (map[store.Digest]bool, error) { return inUse(m) }); err != nil {
		a.log.logger.Warn("collect garbage", "error", err)
	}
}

// inUse are the images and layers that containers need.
func inUse(m *container.Manager) (map[store.Digest]bool, error) {
	claims, err := m.InUse()
	if err != nil {
		return nil, err
	}
	for id := range claims.Images {
		claims.Layers[id] = true
	}
	return claims.Layers, nil
}

// needsNothing are the verbs that any user may call.
func needsNothing(cmd *cobra.Command) bool {
	for c := cmd; c != nil; c = c.Parent() {
		switch c.Name() {
		case "help", "version", "completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
			return true
		}
	}
	return cmd.HasSubCommands()
}

func (a *app) manager() *container.Manager {
	return &container.Manager{Root: a.root, State: a.state, Store: a.store, Log: a.log.logger}
}

func (a *app) images() *image.Client { return &image.Client{Store: a.store} }

func (a *app) close() {
	if a.interrupts != nil {
		a.interrupts.signals.Stop()
	}
	a.log.close()
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
