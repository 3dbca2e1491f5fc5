package main

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"minict/container"
)

// containerRow is a line of ps, under the names that Docker's templates use.
type containerRow struct {
	ID, Image, Command, RunningFor, CreatedAt, Status, State, Ports, Names, Labels string
}

type psFlags struct {
	all, quiet, noTrunc, latest bool
	last                        int
	format                      string
	filters                     []string
}

func (a *app) psCommand() *cobra.Command {
	var p psFlags
	cmd := &cobra.Command{
		Use:     "ps [flags]",
		Short:   "List containers",
		Example: "  minict ps -a\n  minict ps -q --filter label=app=web",
		Args:    needs(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.ps(cmd, p) },
	}
	f := cmd.Flags()
	f.BoolVarP(&p.all, "all", "a", false, "those that don't run, too")
	f.BoolVarP(&p.quiet, "quiet", "q", false, "print ids only")
	f.BoolVar(&p.noTrunc, "no-trunc", false, "print ids and commands in full")
	f.BoolVarP(&p.latest, "latest", "l", false, "the newest, in any state")
	f.IntVarP(&p.last, "last", "n", -1, "the newest so many, in any state")
	f.StringVar(&p.format, "format", "", "print by a Go template, or json")
	f.StringArrayVarP(&p.filters, "filter", "f", nil, "KEY=VALUE: id, name, status, exited, label, ancestor")
	return cmd
}

func (a *app) ps(cmd *cobra.Command, p psFlags) error {
	if p.latest {
		p.last = 1
	}
	wanted, any, err := parseFilters(p.filters)
	if err != nil {
		return err
	}
	list, err := a.manager().List(cmd.Context(), p.all || p.last >= 0 || any)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(s container.Summary) bool { return !wanted(s) })
	if p.last >= 0 && len(list) > p.last {
		list = list[:p.last]
	}
	rows := make([]containerRow, 0, len(list))
	for _, s := range list {
		rows = append(rows, rowOf(s, p.noTrunc))
	}
	switch {
	case p.quiet:
		for _, r := range rows {
			fmt.Fprintln(a.out, r.ID)
		}
		return nil
	case p.format != "":
		return formatted(a.out, p.format, rows)
	}
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, []string{r.ID, r.Image, r.Command, r.RunningFor, r.Status, r.Ports, r.Names})
	}
	return table(a.out, "CONTAINER ID\tIMAGE\tCOMMAND\tCREATED\tSTATUS\tPORTS\tNAMES", cells)
}

func rowOf(s container.Summary, noTrunc bool) containerRow {
	id, command := s.ID[:12], strings.Join(s.Args, " ")
	const most = 20 // as Docker shortens it, with the ellipsis
	if runes := []rune(oneLine(command)); len(runes) > most && !noTrunc {
		command = string(runes[:most-1]) + "…"
	}
	if noTrunc {
		id = s.ID
	}
	return containerRow{
		ID: id, Image: imageText(s), Command: strconv.Quote(oneLine(command)), RunningFor: ago(s.Created),
		CreatedAt: s.Created.Local().String(), Status: status(s), State: string(s.State),
		Names: s.Name, Labels: labelText(s.Labels),
	}
}

func imageText(s container.Summary) string {
	if s.ImageID == "" {
		return s.Image
	}
	return familiar(s.Image)
}

func labelText(labels map[string]string) string {
	var list []string
	for k, v := range labels {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

// status is Docker's sentence about a state: Exited (0) 2 minutes ago.
func status(s container.Summary) string {
	switch s.State {
	case container.Running:
		return "Up " + units.HumanDuration(time.Since(s.StartedAt))
	case container.Paused:
		return "Up " + units.HumanDuration(time.Since(s.StartedAt)) + " (Paused)"
	case container.Exited:
		return fmt.Sprintf("Exited (%d) %s", s.ExitCode, ago(s.FinishedAt))
	}
	return "Created"
}

// parseFilters makes one condition of --filter flags: of the same key one has
// to hold, of different keys all. Any says that the states are not those of
// ps's own default.
func parseFilters(filters []string) (keep func(container.Summary) bool, any bool, err error) {
	byKey := make(map[string][]string)
	for _, f := range filters {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return nil, false, fmt.Errorf("--filter: %q is not KEY=VALUE", f)
		}
		if _, known := matchers[key]; !known {
			return nil, false, fmt.Errorf("--filter: %q is none of ancestor, exited, id, label, name, status", key)
		}
		byKey[key] = append(byKey[key], value)
		any = any || key == "status" || key == "exited"
	}
	return func(s container.Summary) bool {
		for key, values := range byKey {
			if !slices.ContainsFunc(values, func(v string) bool { return matchers[key](s, v) }) {
				return false
			}
		}
		return true
	}, any, nil
}

var matchers = map[string]func(s container.Summary, value string) bool{
	"id":     func(s container.Summary, v string) bool { return strings.HasPrefix(s.ID, v) },
	"name":   func(s container.Summary, v string) bool { return nameMatches(s.Name, v) },
	"status": func(s container.Summary, v string) bool { return string(s.State) == v },
	"exited": func(s container.Summary, v string) bool {
		return s.State == container.Exited && strconv.Itoa(s.ExitCode) == v
	},
	"label": func(s container.Summary, v string) bool {
		key, value, valued := strings.Cut(v, "=")
		got, ok := s.Labels[key]
		return ok && (!valued || got == value)
	},
	"ancestor": func(s container.Summary, v string) bool {
		return familiar(s.Image) == familiar(v) || s.ImageID != "" && strings.HasPrefix(s.ImageID.Encoded(), v)
	},
}

// nameMatches takes a part of the name, or a pattern with * and ?.
func nameMatches(name, v string) bool {
	v = strings.TrimPrefix(v, "/")
	matched, err := path.Match(v, name)
	return err == nil && matched || strings.Contains(name, v)
}
