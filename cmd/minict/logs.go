package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"minict/container"
)

func (a *app) logsCommand() *cobra.Command {
	var o container.LogOptions
	var tail, since, until string
	cmd := &cobra.Command{
		Use:     "logs [flags] CONTAINER",
		Short:   "Print what a container wrote",
		Example: "  minict logs -f --tail 10 web\n  minict logs --since 5m web",
		Args:    needs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Tail, err = parseTail(tail); err != nil {
				return err
			}
			now := time.Now()
			if o.Since, err = parseTime("--since", since, now); err != nil {
				return err
			}
			if o.Until, err = parseTime("--until", until, now); err != nil {
				return err
			}
			err = a.manager().Logs(cmd.Context(), args[0], o, a.out, a.err)
			if errors.Is(err, context.Canceled) {
				return exited(codeInterrupted) // this is how one stops to follow
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.Follow, "follow", "f", false, "go on until the container ends")
	f.StringVarP(&tail, "tail", "n", "all", "`number` of lines from the end")
	f.BoolVarP(&o.Timestamps, "timestamps", "t", false, "print the time of each line")
	f.StringVar(&since, "since", "", "from this `time` on: 2026-11-23T10:00:00Z, or 42m for so long ago")
	f.StringVar(&until, "until", "", "up to this `time`")
	return cmd
}

func parseTail(s string) (int, error) {
	if s == "all" || s == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("--tail: %q is neither a number nor all", s)
	}
	return n, nil
}

// parseTime reads a time, seconds since 1970, or a duration before now. A time
// without a zone is local.
func parseTime(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && f >= 0 && f < 1e11 {
		return time.Unix(0, int64(f*1e9)), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s: %q is neither a time nor a duration", flag, s)
}
