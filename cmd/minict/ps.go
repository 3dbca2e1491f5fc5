package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"minict/container"
	"minict/network"
)

// containerRow is a line of ps, under the names that Docker's templates use.
type containerRow struct {
	ID, Image, Command, RunningFor, CreatedAt, Status, State, Ports, Names, Labels, Networks string

	label func(key string) string
}

// Label is the value of one label: {{.Label "tier"}}.
func (r containerRow) Label(key string) string { return r.label(key) }

var containerHeader = containerRow{
	ID: "CONTAINER ID", Image: "IMAGE", Command: "COMMAND", RunningFor: "CREATED", CreatedAt: "CREATED AT",
	Status: "STATUS", State: "STATE", Ports: "PORTS", Names: "NAMES", Labels: "LABELS", Networks: "NETWORKS",
	label: func(key string) string { return key },
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
	f.IntVarP(&p.last, "last", "n", -1, "the newest `number`, in any state")
	f.StringVar(&p.format, "format", "", formatUsage)
	f.VarP((*values)(&p.filters), "filter", "f", "`key=value`: ancestor, exited, expose, id, label, name, network, publish, status")
	return cmd
}

func (a *app) ps(cmd *cobra.Command, p psFlags) error {
	if p.latest {
		p.last = 1
	}
	wanted, any, err := a.containerFilters().parse(p.filters)
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
		return formatted(a.out, p.format, containerHeader, rows)
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
		Ports: portText(s), Networks: strings.Join(s.Networks, ","), Names: s.Name, Labels: oneLine(labelText(s.Labels)), label: func(key string) string { return oneLine(s.Labels[key]) },
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

// containerFilters are those of ps.
func (a *app) containerFilters() filters[container.Summary] {
	return filters[container.Summary]{
		"id":       {read: idFilter},
		"name":     {read: nameFilter},
		"status":   {read: statusFilter, any: true},
		"exited":   {read: exitedFilter, any: true},
		"label":    {read: labelFilter, all: true},
		"ancestor": {read: ancestorFilter},
		"network":  {read: a.networkFilter},
		"publish":  {read: publishFilter},
		"expose":   {read: exposeFilter},
	}
}

func idFilter(v string) (func(container.Summary) bool, error) {
	return func(s container.Summary) bool { return strings.HasPrefix(s.ID, v) }, nil
}

// nameFilter takes a regular expression, for which a name may begin with a
// slash, as in Docker.
func nameFilter(v string) (func(container.Summary) bool, error) {
	re, err := regexp.Compile(v)
	if err != nil {
		return nil, err
	}
	return func(s container.Summary) bool { return re.MatchString(s.Name) || re.MatchString("/"+s.Name) }, nil
}

func statusFilter(v string) (func(container.Summary) bool, error) {
	known := []container.State{container.Created, container.Running, container.Paused, container.Exited}
	if !slices.Contains(known, container.State(v)) {
		return nil, fmt.Errorf("%q is none of created, running, paused, exited", v)
	}
	return func(s container.Summary) bool { return string(s.State) == v }, nil
}

func exitedFilter(v string) (func(container.Summary) bool, error) {
	code, err := strconv.Atoi(v)
	if err != nil {
		return nil, fmt.Errorf("%q is not an exit code", v)
	}
	return func(s container.Summary) bool { return s.State == container.Exited && s.ExitCode == code }, nil
}

func labelFilter(v string) (func(container.Summary) bool, error) {
	fits := labelled(v)
	return func(s container.Summary) bool { return fits(s.Labels) }, nil
}

// networkFilter takes a network's name, or the beginning of its id. On one that
// is not there, not any more for instance, there may be containers all the same.
func (a *app) networkFilter(v string) (func(container.Summary) bool, error) {
	n, err := a.networks().Get(v)
	switch {
	case err == nil:
		v = n.Name
	case !errors.Is(err, network.ErrNotFound):
		return nil, err
	}
	return func(s container.Summary) bool { return slices.Contains(s.Networks, v) }, nil
}

func ancestorFilter(v string) (func(container.Summary) bool, error) {
	id := strings.TrimPrefix(v, "sha256:")
	return func(s container.Summary) bool {
		if s.ImageID == "" {
			return s.Image == v
		}
		return familiar(s.Image) == familiar(v) || id != "" && strings.HasPrefix(s.ImageID.Hex(), id)
	}, nil
}
