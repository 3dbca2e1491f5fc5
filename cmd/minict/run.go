package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"minict/container"
	"minict/image"
	"minict/store"
)

func (a *app) runCommand() *cobra.Command {
	r := new(runFlags)
	var x runExtras
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
			return a.run(cmd.Context(), r, args, x)
		},
	}
	f := cmd.Flags()
	r.register(f)
	r.registerRun(f)
	a.completeNetwork(cmd)
	f.StringVar(&x.detachKeys, "detach-keys", "", detachKeysUsage)
	f.Bool("sig-proxy", true, sigProxyUsage)
	f.StringVar(&x.explain, "explain", "", "print each step of the set-up and its time; =plan prints the steps and runs nothing")
	f.Lookup("explain").NoOptDefVal = "times"
	return cmd
}

// runExtras are the flags that run has and create has not.
type runExtras struct{ detachKeys, explain string }

func (a *app) run(ctx context.Context, r *runFlags, args []string, x runExtras) error {
	if x.explain != "" && x.explain != "times" && x.explain != "plan" {
		return fmt.Errorf("--explain: %q is neither times nor plan", x.explain)
	}
	o, err := r.options(args)
	if err != nil {
		return err
	}
	a.interact(o, r)
	if x.explain == "plan" {
		return a.explain(ctx, o, r)
	}
	ro := container.RunOptions{Timed: x.explain != ""}
	ro.Explained = func(e container.Explanation) { explainSteps(a.err, e) }
	if !o.Detach {
		if ro.Streams, err = a.foreground(o.OpenStdin, o.TTY, x.detachKeys); err != nil {
			return err
		}
	}
	cidfile, err := newCidfile(r.cidfile)
	if err != nil {
		return err
	}
	ro.Created = cidfile.write
	var ended container.Ended
	err = a.withImage(ctx, o, r, func(find container.Find) error {
		ended, err = a.manager().Run(ctx, o, find, ro)
		return err
	})
	if err := errors.Join(err, cidfile.close(err == nil)); err != nil {
		return err
	}
	if o.Detach {
		fmt.Fprintln(a.out, ended.ID)
		return nil
	}
	return outcome(ended)
}

// explain prints the plan of a container that is not made.
func (a *app) explain(ctx context.Context, o *container.Options, r *runFlags) error {
	return a.withImage(ctx, o, r, func(find container.Find) error {
		e, err := a.manager().Explain(ctx, o, find)
		if err != nil {
			return err
		}
		return explainSteps(a.out, e)
	})
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

// withImage does something with the way to the image that is asked for, and
// pulls the image as --pull says. That an image is missing shows only when it
// is done: to look before would cost each run a look into the index.
func (a *app) withImage(ctx context.Context, o *container.Options, r *runFlags, do func(container.Find) error) error {
	find, err := r.find(o)
	if err != nil {
		return err
	}
	switch r.pull {
	case "missing", "never":
	case "always":
		if o.Image == "" {
			break
		}
		if err := a.pullFor(ctx, r, o.Image); err != nil {
			return err
		}
	default:
		return fmt.Errorf("--pull: %q is none of missing, always, never", r.pull)
	}
	err = do(find)
	if r.pull != "missing" || !errors.Is(err, image.ErrUnknown) {
		return err
	}
	if !r.quiet {
		fmt.Fprintf(a.err, "Unable to find image '%s' locally\n", familiar(o.Image))
	}
	if err := a.pullFor(ctx, r, o.Image); err != nil {
		return err
	}
	return do(find)
}

// find gives the way to the image; none with --rootfs. An image for another
// platform than the one that is asked for is not the one.
func (r *runFlags) find(o *container.Options) (container.Find, error) {
	if o.Image == "" {
		return nil, nil
	}
	want, err := image.ParsePlatform(r.platform)
	if err != nil {
		return nil, fmt.Errorf("--platform: %w", err)
	}
	return func(tx *store.Tx) (store.Image, error) {
		img, err := image.Find(tx, o.Image)
		if err == nil && r.platform != "" && !image.Runs(want, img.Platform) {
			err = fmt.Errorf("image %s is for %s and not for %s: %w", familiar(o.Image),
				image.FormatPlatform(img.Platform), image.FormatPlatform(want), image.ErrUnknown)
		}
		return img, err
	}, nil
}

// pullFor pulls an image for a container: what it says goes to stderr, for
// stdout is the container's.
func (a *app) pullFor(ctx context.Context, r *runFlags, ref string) error {
	to := a.err
	if r.quiet {
		to = nil
	}
	a.mirrors = r.mirrors
	return a.pull(ctx, ref, r.platform, to)
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

// close closes the file, and removes it if its container was not made.
func (c *cidfile) close(made bool) error {
	if c.file == nil {
		return nil
	}
	err := c.file.Close()
	if !made {
		err = errors.Join(err, os.Remove(c.file.Name()))
	}
	if err != nil {
		return fmt.Errorf("--cidfile: %w", err)
	}
	return nil
}
