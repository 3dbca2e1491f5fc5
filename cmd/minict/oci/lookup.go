package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	containers "minict/runtime/oci"
)

func (a *app) state(*flags) func([]string) error {
	return func(args []string) error {
		c, err := a.container(args[0])
		if err != nil {
			return err
		}
		s, err := c.State()
		if err != nil {
			return err
		}
		return a.printIndented(s)
	}
}

func (a *app) printIndented(v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Out, "%s\n", data)
	return err
}

// format reads the flag --format.
func format(f *flags) *string {
	var kind string
	f.text(&kind, "format", "f", "table", "table or json")
	return &kind
}

func checkFormat(kind string) error {
	if kind != "table" && kind != "json" {
		return fmt.Errorf("--format %q is neither table nor json", kind)
	}
	return nil
}

func (a *app) list(f *flags) func([]string) error {
	kind := format(f)
	var quiet bool
	f.bool(&quiet, "quiet", "q", "print the names alone")
	return func([]string) error {
		if err := checkFormat(*kind); err != nil {
			return err
		}
		r, err := a.runtime()
		if err != nil {
			return err
		}
		list, err := r.List()
		if err != nil {
			return err
		}
		states := []containers.State{}
		for _, c := range list {
			if quiet {
				fmt.Fprintln(a.Out, c.ID)
				continue
			}
			s, err := c.State()
			if err != nil {
				return err
			}
			states = append(states, s)
		}
		switch {
		case quiet:
			return nil
		case *kind == "json":
			return json.NewEncoder(a.Out).Encode(states)
		}
		return a.printTable(states)
	}
}

func (a *app) printTable(states []containers.State) error {
	w := tabwriter.NewWriter(a.Out, 12, 1, 3, ' ', 0)
	fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
	for _, s := range states {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.Pid, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner)
	}
	return w.Flush()
}

func (a *app) ps(f *flags) func([]string) error {
	kind := format(f)
	return func(args []string) error {
		if err := checkFormat(*kind); err != nil {
			return err
		}
		c, err := a.container(args[0])
		if err != nil {
			return err
		}
		pids, err := c.Processes()
		if err != nil {
			return err
		}
		if *kind == "json" {
			if pids == nil {
				pids = []int{}
			}
			return json.NewEncoder(a.Out).Encode(pids)
		}
		return a.printProcesses(pids, args[1:])
	}
}

// printProcesses prints what ps(1) of the host says of these processes.
func (a *app) printProcesses(pids []int, options []string) error {
	if len(options) == 0 {
		options = []string{"-ef"}
	}
	cmd := exec.Command("ps", options...)
	cmd.Stderr = a.Err
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("ps: %w", err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	column := -1
	for i, name := range strings.Fields(lines[0]) {
		if name == "PID" {
			column = i
		}
	}
	if column < 0 {
		return errors.New("ps prints no column PID")
	}
	wanted := make(map[string]bool)
	for _, pid := range pids {
		wanted[strconv.Itoa(pid)] = true
	}
	fmt.Fprintln(a.Out, lines[0])
	for _, line := range lines[1:] {
		if fields := strings.Fields(line); len(fields) > column && wanted[fields[column]] {
			fmt.Fprintln(a.Out, line)
		}
	}
	return nil
}
