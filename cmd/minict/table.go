package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/docker/go-units"
)

const formatUsage = "print by a Go `template`, or json"

// table prints rows under a header, with columns that line up.
func table(w io.Writer, header string, rows [][]string) error {
	t := columns(w)
	fmt.Fprintln(t, header)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

// columns lines up what stands between tabs, as wide as Docker does.
func columns(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 10, 1, 3, ' ', 0) }

// formatted prints each row by --format: json, a template of Go, or "table"
// and a template, for lines under a header that line up. The header is a row
// that has the titles of the columns in its fields.
func formatted[T any](w io.Writer, format string, header T, rows []T) error {
	if format == "json" {
		for _, row := range rows {
			if err := encodeJSON(w, row, ""); err != nil {
				return err
			}
		}
		return nil
	}
	format, isTable := strings.CutPrefix(format, "table ")
	t, err := parseFormat(format)
	if err != nil {
		return err
	}
	if isTable {
		lines := columns(w)
		defer lines.Flush()
		w, rows = lines, slices.Insert(slices.Clone(rows), 0, header)
	}
	for _, row := range rows {
		if err := t.Execute(w, row); err != nil {
			return fmt.Errorf("--format: %w", err)
		}
		fmt.Fprintln(w)
	}
	return nil
}

// parseFormat reads a template, with Docker's functions beside Go's own.
func parseFormat(format string) (*template.Template, error) {
	format = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(format)
	t, err := template.New("").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			var b strings.Builder
			err := encodeJSON(&b, v, "")
			return strings.TrimSuffix(b.String(), "\n"), err
		},
		"join":     strings.Join,
		"split":    strings.Split,
		"lower":    strings.ToLower,
		"upper":    strings.ToUpper,
		"title":    title,
		"pad":      pad,
		"truncate": truncate,
	}).Parse(format)
	if err != nil {
		return nil, fmt.Errorf("--format: %w", err)
	}
	return t, nil
}

// encodeJSON writes JSON for people and programs, and not for web pages.
func encodeJSON(w io.Writer, v any, indent string) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	return e.Encode(v)
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func pad(s string, before, after int) string {
	if s == "" {
		return s
	}
	return strings.Repeat(" ", max(0, before)) + s + strings.Repeat(" ", max(0, after))
}

func truncate(s string, most int) string {
	if r := []rune(s); most >= 0 && len(r) > most {
		return string(r[:most])
	}
	return s
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
