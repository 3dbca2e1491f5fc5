package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/docker/go-units"
)

// table prints rows under a header, with columns that line up.
func table(w io.Writer, header string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	fmt.Fprintln(t, header)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

// formatted prints each item by --format: json, or a template of Go, with
// Docker's functions json, join, lower, upper and title left to the names.
func formatted[T any](w io.Writer, format string, items []T) error {
	if format == "json" {
		for _, item := range items {
			if err := json.NewEncoder(w).Encode(item); err != nil {
				return err
			}
		}
		return nil
	}
	format = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(strings.TrimPrefix(format, "table "))
	t, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		},
		"join":  strings.Join,
		"lower": strings.ToLower,
		"upper": strings.ToUpper,
	}).Parse(format)
	if err != nil {
		return fmt.Errorf("--format: %w", err)
	}
	for _, item := range items {
		if err := t.Execute(w, item); err != nil {
			return fmt.Errorf("--format: %w", err)
		}
		fmt.Fprintln(w)
	}
	return nil
}

// ago is how long ago something was, in Docker's words.
func ago(t time.Time) string {
	if t.IsZero() {
		return "N/A"
	}
	return units.HumanDuration(time.Since(t)) + " ago"
}

// size is a number of bytes in Docker's form: 7.8MB.
func size(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }
