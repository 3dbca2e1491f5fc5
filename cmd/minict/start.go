package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"minict/container"
	"minict/container/attach"
)

func (a *app) startCommand() *cobra.Command {
	var attach, interactive bool
	var detachKeys string
	cmd := &cobra.Command{
		Use:     "start [flags] CONTAINER [CONTAINER...]",
		Short:   "Start containers that don't run",
		Example: "  minict start web\n  minict start -ai shell",
		Args:    needs(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !attach && !interactive {
				return a.each(cmd.Context(), args, func(ctx context.Context, ref string) error {
					_, err := a.manager().Start(ctx, ref, container.RunOptions{})
					return err
				})
			}
			if len(args) > 1 {
				return errors.New("only one container can be attached to")
			}
			s, err := a.foreground(interactive, false, detachKeys)
			if err != nil {
				return err
			}
			ended, err := a.manager().Start(cmd.Context(), args[0], container.RunOptions{Streams: s})
			if err != nil {
				return err
			}
			return outcome(ended)
		},
	}
	cmd.Flags().BoolVarP(&attach, "attach", "a", false, "show its output and wait for its end")
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "also pass on stdin")
	cmd.Flags().StringVar(&detachKeys, "detach-keys", "", detachKeysUsage)
	return cmd
}

// foreground connects this command's streams. A container's terminal is fed by
// one: at the end of a file or a pipe, its programs would wait for ever.
func (a *app) foreground(stdin, tty bool, detachKeys string) (*container.Streams, error) {
	if stdin && tty && !isTerminal(a.in) {
		return nil, errors.New("-it: the input is not a terminal (leave -t out)")
	}
	if _, err := attach.ParseKeys(detachKeys); err != nil {
		return nil, fmt.Errorf("--detach-keys: %w", err)
	}
	s := &container.Streams{Out: a.out, Err: a.err, DetachKeys: detachKeys}
	if stdin {
		s.In = a.in
	}
	if a.interrupts != nil {
		s.Signals = a.interrupts.take
	}
	return s, nil
}

func (a *app) attachCommand() *cobra.Command {
	var noStdin bool
	var detachKeys string
	cmd := &cobra.Command{
		Use:     "attach [flags] CONTAINER",
		Short:   "Connect to a running container's streams",
		Example: "  minict attach shell    # ctrl-p ctrl-q leaves it running",
		Args:    needs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.foreground(!noStdin, false, detachKeys)
			if err != nil {
				return err
			}
			ended, err := a.manager().Attach(cmd.Context(), args[0], *s)
			if err != nil {
				return err
			}
			return outcome(ended)
		},
	}
	cmd.Flags().BoolVar(&noStdin, "no-stdin", false, "don't pass on stdin")
	cmd.Flags().Bool("sig-proxy", true, sigProxyUsage)
	cmd.Flags().StringVar(&detachKeys, "detach-keys", "", detachKeysUsage)
	return cmd
}

func (a *app) restartCommand() *cobra.Command {
	var signal string
	var seconds int
	cmd := &cobra.Command{
		Use:     "restart [flags] CONTAINER [CONTAINER...]",
		Short:   "Stop containers and start them again",
		Example: "  minict restart web",
		Args:    needs(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			timeout := timeoutFlag(cmd, seconds)
			return a.each(cmd.Context(), args, func(ctx context.Context, ref string) error {
				if err := a.manager().StopBy(ctx, ref, signal, timeout); err != nil {
					return err
				}
				_, err := a.manager().Start(ctx, ref, container.RunOptions{})
				return err
			})
		},
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "", "`signal` to ask by (default: the container's own)")
	registerTimeout(cmd, &seconds)
	return cmd
}

// registerTimeout registers -t, under Docker's new name and under its old one.
func registerTimeout(cmd *cobra.Command, seconds *int) {
	f := cmd.Flags()
	f.IntVarP(seconds, "timeout", "t", 10, "`seconds` to wait before it is killed, -1 for ever (default: the container's own, 10)")
	f.Lookup("timeout").DefValue = "0" // the text says it better
	f.IntVar(seconds, "time", 10, "")
	f.Lookup("time").Hidden = true
}

// timeoutFlag is the value of -t, or nil if the container's own holds.
func timeoutFlag(cmd *cobra.Command, seconds int) *time.Duration {
	if !cmd.Flags().Changed("timeout") && !cmd.Flags().Changed("time") {
		return nil
	}
	d := time.Duration(seconds) * time.Second
	return &d
}
