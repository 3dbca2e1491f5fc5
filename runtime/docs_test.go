package runtime

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// fields are the names of all of config.json's fields that are Linux's: those
// of objects in objects with dots, of lists with [], of maps with *.
func fields(kind reflect.Type, prefix string) (names []string) {
	switch kind.Kind() {
	case reflect.Pointer:
		return fields(kind.Elem(), prefix)
	case reflect.Slice:
		return fields(kind.Elem(), prefix+"[]")
	case reflect.Map:
		return fields(kind.Elem(), prefix+".*")
	case reflect.Struct:
	default:
		return nil
	}
	for i := range kind.NumField() {
		f := kind.Field(i)
		if f.Anonymous {
			names = append(names, fields(f.Type, prefix)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		platforms := f.Tag.Get("platform")
		if platforms != "" && !slices.Contains(strings.Split(platforms, ","), "linux") {
			continue
		}
		if prefix != "" {
			name = prefix + "." + name
		}
		names = append(append(names, name), fields(f.Type, name)...)
	}
	return names
}

// docs/oci.md has a row for each field of config.json, and no other, and each
// names functions that are there.
func TestEachFieldIsDocumented(t *testing.T) {
	raw, err := os.ReadFile("../docs/oci.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(raw), "## Options of mounts")
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.+?) \\|")
	where := regexp.MustCompile("`([a-zA-Z0-9/]+\\.go)` ((?:`[A-Za-z0-9_]+`(?:, )?)+)")
	documented := make(map[string]bool)
	for _, m := range row.FindAllStringSubmatch(table, -1) {
		if documented[m[1]] {
			t.Errorf("%s is there twice", m[1])
		}
		documented[m[1]] = true
		places := where.FindAllStringSubmatch(m[2], -1)
		if len(places) == 0 && !strings.HasPrefix(m[2], "–") {
			t.Errorf("%s: nobody is named in %q", m[1], m[2])
		}
		for _, place := range places {
			for _, function := range strings.Split(strings.ReplaceAll(place[2], "`", ""), ", ") {
				defined(t, m[1], place[1], function)
			}
		}
	}
	all := fields(reflect.TypeFor[specs.Spec](), "")
	for _, name := range all {
		if !documented[name] {
			t.Errorf("%s is missing", name)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("%s is no field", name)
	}
	if len(all) < 150 {
		t.Errorf("only %d fields", len(all))
	}
}

// defined checks that a file of this folder has a function.
func defined(t *testing.T, field, file, function string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil {
		t.Errorf("%s: %v", field, err)
		return
	}
	if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + function + `\b`).Match(raw) {
		t.Errorf("%s: no function %s in %s", field, function, file)
	}
}
