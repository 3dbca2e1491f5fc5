package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"minict/container"
	"minict/image"
	"minict/runtime"
	"minict/store"
)

func (a *app) runCommand() *cobra.Command {
	r := new(runFlags)
	var detachKeys, explain string
	var sigProxy bool
	cmd := &cobra.Command{
		Use:   "run [flags] IMAGE [--] [COMMAND [ARG...]]",
		Short: "Make a container and run a command in it",
		Long: "Make a container of an image, or of a directory with --rootfs, and run a command\n" +
			"in it. On a terminal it is interactive unless -i, -t or -d say otherwise.",
		Example: "  minict run --rm alpine -- /bin/echo hello\n" +
			"  minict run -d --name web -m 128m alpine -- sleep 1000\n" +
			"  minict run --rootfs ./rootfs -- /bin/sh\n" +
			"  minict run --config minict.yaml -- /bin/sh",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.run(cmd.Context(), r, args, runExtras{detachKeys, explain, !sigProxy})
		},
	}
	r.register(cmd.Flags())
	f := cmd.Flags()
	f.BoolVarP(&r.detach, "detach", "d", false, "run in the background and print the id")
	f.BoolVar(&r.remove, "rm", false, "remove the container when it has ended")
	f.StringVar(&detachKeys, "detach-keys", "", "keys that leave it running (default ctrl-p,ctrl-q)")
	f.BoolVar(&sigProxy, "sig-proxy", true, "pass signals on to the container")
	f.StringVar(&explain, "explain", "", "print each step of the set-up and its time; =plan only prints the steps")
	f.Lookup("explain").NoOptDefVal = "times"
	f.StringArrayVar(&a.mirrors, "mirror", nil, "REGISTRY=ENDPOINT to pull from")
	return cmd
}

type runExtras struct {
	detachKeys, explain string
	noSignals           bool
}

func (a *app) run(ctx context.Context, r *runFlags, args []string, x runExtras) error {
	if x.explain != "" && x.explain != "times" && x.explain != "plan" {
		return fmt.Errorf("--explain: %q is neither times nor plan", x.explain)
	}
	o, err := r.options(args)
	if err != nil {
		return err
	}
	a.interact(o, r)
	find, err := a.finder(ctx, o, r)
	if err != nil {
		return err
	}
	if x.explain == "plan" {
		e, err := a.manager().Explain(ctx, o, find)
		if err != nil {
			return err
		}
		return runtime.Explain(a.out, e.Plan, nil)
	}
	ro := container.RunOptions{Timed: x.explain != ""}
	ro.Explained = func(e container.Explanation) { runtime.Explain(a.err, e.Plan, e.Clocks) }
	if !o.Detach {
		ro.Streams = &container.Streams{Out: a.out, Err: a.err, DetachKeys: x.detachKeys, NoSignals: x.noSignals}
		if o.OpenStdin {
			ro.Streams.In = a.in
		}
	}
	cidfile, err := newCidfile(r.cidfile)
	if err != nil {
		return err
	}
	defer cidfile.close()
	ro.Created = cidfile.write
	return a.launch(ctx, o, find, ro)
}

// launch runs a container, of an image that is pulled first if it is missing
// and may be pulled.
func (a *app) launch(ctx context.Context, o *container.Options, find container.Find, ro container.RunOptions) error {
	ended, err := a.manager().Run(ctx, o, find, ro)
	if err != nil {
		return err
	}
	if o.Detach {
		fmt.Fprintln(a.out, ended.ID)
		return nil
	}
	return outcome(ended)
}

// outcome is what a foreground command ends with.
func outcome(e container.Ended) error {
	if e.Exit == 0 || e.Detached {
		return nil
	}
	return exited(e.Exit)
}

// interact makes a run on a terminal interactive, if nothing was said.
func (a *app) interact(o *container.Options, r *runFlags) {
	said := r.fileStdio || o.Detach
	for _, flag := range []string{"interactive", "tty", "detach"} {
		said = said || r.given(flag)
	}
	if !said && isTerminal(a.in) && isTerminal(a.out) {
		o.OpenStdin, o.TTY = true, true
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// finder gives the way to the image. What has to be pulled is pulled before.
func (a *app) finder(ctx context.Context, o *container.Options, r *runFlags) (container.Find, error) {
	if o.Rootfs != "" {
		return nil, nil
	}
	find := func(tx *store.Tx) (store.Image, error) { return image.Find(tx, o.Image) }
	switch r.pull {
	case "always":
		return find, a.pullFor(ctx, o.Image, r.platform)
	case "never":
		return find, nil
	case "missing":
	default:
		return nil, fmt.Errorf("--pull: %q is none of missing, always, never", r.pull)
	}
	have, err := a.have(ctx, o.Image, r.platform)
	if have || err != nil {
		return find, err
	}
	fmt.Fprintf(a.err, "Unable to find image '%s' locally\n", familiar(o.Image))
	return find, a.pullFor(ctx, o.Image, r.platform)
}

// have says whether an image is in the store, for the platform if one is
// asked for.
func (a *app) have(ctx context.Context, ref, platform string) (bool, error) {
	want, err := image.ParsePlatform(platform)
	if err != nil {
		return false, err
	}
	var img store.Image
	err = a.store.View(ctx, func(tx *store.Tx) (err error) {
		img, err = image.Find(tx, ref)
		return err
	})
	if errors.Is(err, image.ErrUnknown) {
		return false, nil
	}
	return err == nil && (platform == "" || image.Runs(want, img.Platform)), err
}

// pullFor pulls an image that a run needs: what it says goes to stderr, for
// stdout is the container's.
func (a *app) pullFor(ctx context.Context, ref, platform string) error {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	_, err := a.pull(ctx, ref, platform, a.err)
	return err
}

func familiar(ref string) string {
	if name, err := image.Parse(ref); err == nil {
		return name.Familiar()
	}
	return ref
}

// cidfile takes the id of a container. It must not exist before.
type cidfile struct{ file *os.File }

func newCidfile(path string) (*cidfile, error) {
	if path == "" {
		return &cidfile{}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("--cidfile: %w", err)
	}
	return &cidfile{f}, nil
}

func (c *cidfile) write(id string) error {
	if c.file == nil {
		return nil
	}
	if _, err := c.file.WriteString(id); err != nil {
		return fmt.Errorf("--cidfile: %w", err)
	}
	return nil
}

// close removes a file that got no id.
func (c *cidfile) close() {
	if c.file == nil {
		return
	}
	if at, err := c.file.Seek(0, 1); err == nil && at == 0 {
		os.Remove(c.file.Name())
	}
	c.file.Close()
}
