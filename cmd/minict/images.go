package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"minict/image"
	"minict/store"
)

// imageRow is a line of images, under the names that Docker's templates use.
type imageRow struct {
	Repository, Tag, Digest, ID, CreatedSince, CreatedAt, Size string
}

var imageHeader = imageRow{
	Repository: "REPOSITORY", Tag: "TAG", Digest: "DIGEST", ID: "IMAGE ID",
	CreatedSince: "CREATED", CreatedAt: "CREATED AT", Size: "SIZE",
}

func (a *app) imagesCommand() *cobra.Command {
	var quiet, noTrunc, digests bool
	var format string
	cmd := &cobra.Command{
		Use:     "images [flags] [REPOSITORY[:TAG]]",
		Short:   "List images",
		Example: "  minict images\n  minict images --format '{{.Repository}} {{.Size}}'",
		Args:    needs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client := a.images()
			images, err := client.List(cmd.Context())
			if err != nil {
				return err
			}
			rows := imageRows(images, noTrunc)
			if len(args) == 1 {
				if rows, err = matching(rows, args[0]); err != nil {
					return err
				}
			}
			switch {
			case quiet:
				for _, r := range uniqueIDs(rows) {
					fmt.Fprintln(a.out, r.ID)
				}
				return nil
			case format != "":
				return formatted(a.out, format, imageHeader, rows)
			}
			return a.imageTable(rows, digests)
		},
	}
	f := cmd.Flags()
	f.BoolP("all", "a", false, "all of them, as without it: none is hidden")
	f.BoolVarP(&quiet, "quiet", "q", false, "print ids only")
	f.BoolVar(&noTrunc, "no-trunc", false, "print ids in full")
	f.BoolVar(&digests, "digests", false, "print digests")
	f.StringVar(&format, "format", "", formatUsage)
	return cmd
}

func (a *app) imageTable(rows []imageRow, digests bool) error {
	header := "REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE"
	if digests {
		header = "REPOSITORY\tTAG\tDIGEST\tIMAGE ID\tCREATED\tSIZE"
	}
	var cells [][]string
	for _, r := range rows {
		line := []string{r.Repository, r.Tag, r.ID, r.CreatedSince, r.Size}
		if digests {
			line = slices.Insert(line, 2, r.Digest)
		}
		cells = append(cells, line)
	}
	return table(a.out, header, cells)
}

// imageRows has a row for each name, and one for an image without; the newest
// come first.
func imageRows(images []store.Image, noTrunc bool) []imageRow {
	images = slices.Clone(images)
	slices.SortStableFunc(images, func(a, b store.Image) int { return b.Created.Compare(a.Created) })
	var rows []imageRow
	for _, img := range images {
		id := image.ShortID(img.ID)
		if noTrunc {
			id = string(img.ID)
		}
		row := imageRow{Repository: "<none>", Tag: "<none>", Digest: "<none>", ID: id,
			CreatedSince: ago(img.Created), CreatedAt: img.Created.String(), Size: size(img.Size)}
		if len(img.Names) == 0 {
			rows = append(rows, row)
		}
		for _, n := range img.Names {
			name, err := image.Parse(n)
			if err != nil {
				continue // not a name that anybody could use
			}
			r := row
			r.Repository, r.Digest = name.FamiliarRepository(), digestFor(img, name)
			if name.Tag != "" {
				r.Tag = name.Tag
			}
			rows = append(rows, r)
		}
	}
	return rows
}

// digestFor is the digest by which an image was pulled from a repository.
func digestFor(img store.Image, name image.Name) string {
	for _, d := range img.Digests {
		if repo, digest, ok := strings.Cut(d, "@"); ok && repo == name.Repository() {
			return digest
		}
	}
	return "<none>"
}

// matching keeps the rows of a repository, or of one of its tags.
func matching(rows []imageRow, ref string) ([]imageRow, error) {
	name, err := image.Parse(ref)
	if err != nil {
		return nil, err
	}
	tagged := strings.HasSuffix(ref, ":"+name.Tag)
	return slices.DeleteFunc(rows, func(r imageRow) bool {
		return r.Repository != name.FamiliarRepository() || tagged && r.Tag != name.Tag
	}), nil
}

func uniqueIDs(rows []imageRow) []imageRow {
	seen := make(map[string]bool)
	return slices.DeleteFunc(rows, func(r imageRow) bool {
		twice := seen[r.ID]
		seen[r.ID] = true
		return twice
	})
}
