package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/template"

	"github.com/spf13/cobra"

	"minict/container"
	"minict/image"
)

func (a *app) inspectCommand() *cobra.Command {
	var format, kind string
	cmd := &cobra.Command{
		Use:   "inspect [flags] NAME [NAME...]",
		Short: "Print everything about containers or images, as JSON",
		Example: "  minict inspect web\n" +
			"  minict inspect --format '{{.State.ExitCode}}' web",
		Args: needs(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if kind != "" && kind != "container" && kind != "image" {
				return fmt.Errorf("--type: %q is neither container nor image", kind)
			}
			var found []any
			var last error
			for _, ref := range args {
				item, err := a.inspect(cmd.Context(), ref, kind)
				if err != nil {
					if last != nil {
						a.report(last)
					}
					last = err
					continue
				}
				found = append(found, item)
			}
			return errors.Join(a.printInspected(found, format), last)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", formatUsage)
	cmd.Flags().StringVar(&kind, "type", "", "look for this `kind` only: container or image")
	return cmd
}

// printInspected prints what was found: a list, as there may be several.
func (a *app) printInspected(found []any, format string) error {
	switch {
	case len(found) == 0:
		return nil
	case format == "":
		return encodeJSON(a.out, found, "    ")
	case format == "json":
		return encodeJSON(a.out, found, "")
	}
	t, err := parseFormat(format)
	if err != nil {
		return err
	}
	for _, item := range found {
		if err := executeInspected(a.out, t, item); err != nil {
			return fmt.Errorf("--format: %w", err)
		}
	}
	return nil
}

// executeInspected prints by a template. The names in it may be those of Go or
// those of the JSON ({{.Id}}), which are not always the same; Docker does so.
func executeInspected(w io.Writer, t *template.Template, item any) error {
	var text bytes.Buffer
	err := t.Execute(&text, item)
	if err != nil {
		var raw bytes.Buffer
		if err := encodeJSON(&raw, item, ""); err != nil {
			return err
		}
		d := json.NewDecoder(&raw)
		d.UseNumber() // or a large one would come out as 1e+09
		var fields any
		if err := d.Decode(&fields); err != nil {
			return err
		}
		text.Reset()
		if t.Option("missingkey=error").Execute(&text, fields) != nil {
			return err // the first says what is wrong in the words of the type
		}
	}
	fmt.Fprintln(w, text.String())
	return nil
}

// inspect looks for a container, and then for an image.
func (a *app) inspect(ctx context.Context, ref, kind string) (any, error) {
	if kind != "image" {
		c, err := a.manager().Inspect(ctx, ref)
		if err == nil {
			return c, nil
		}
		if kind == "container" || !errors.Is(err, container.ErrNotFound) {
			return nil, err
		}
	}
	img, err := a.inspectImage(ctx, ref)
	if kind == "" && (errors.Is(err, image.ErrUnknown) || errors.Is(err, image.ErrReference)) {
		return nil, fmt.Errorf("no such container or image: %s", ref)
	}
	return img, err
}

// inspectedImage is an image under the names that docker inspect uses.
type inspectedImage struct {
	ID           string `json:"Id"`
	RepoTags     []string
	RepoDigests  []string
	Created      string
	Author       string
	Architecture string
	Variant      string `json:",omitempty"`
	Os           string
	Size         int64
	Config       any
	RootFS       struct {
		Type   string
		Layers []string
	}
}

func (a *app) inspectImage(ctx context.Context, ref string) (*inspectedImage, error) {
	client := a.images()
	img, config, err := client.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	out := &inspectedImage{
		ID: string(img.ID), RepoTags: []string{}, RepoDigests: []string{}, Author: config.Author,
		Architecture: config.Architecture, Variant: config.Variant, Os: config.OS, Size: img.Size, Config: config.Config,
	}
	if !img.Created.IsZero() {
		out.Created = img.Created.UTC().Format("2006-01-02T15:04:05.999999999Z07:00")
	}
	for _, n := range img.Names {
		if name, err := image.Parse(n); err == nil && name.Tag != "" {
			out.RepoTags = append(out.RepoTags, name.Familiar())
		}
	}
	for _, d := range img.Digests {
		out.RepoDigests = append(out.RepoDigests, familiar(d))
	}
	out.RootFS.Type = "layers"
	for _, l := range img.Layers {
		out.RootFS.Layers = append(out.RootFS.Layers, string(l.DiffID))
	}
	return out, nil
}
