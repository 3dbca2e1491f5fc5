package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxYAML bounds a configuration file, in bytes.
const maxYAML = 1 << 20

// decodeFile reads a YAML file into a struct. A key that the struct has no
// field for is an error. Errors are one line that begins with file and line.
func decodeFile(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxYAML+1))
	if err != nil {
		return err
	}
	if len(data) > maxYAML {
		return fmt.Errorf("%s: larger than %d bytes", path, maxYAML)
	}
	return decodeYAML(path, data, into)
}

func decodeYAML(name string, data []byte, into any) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	err := d.Decode(into)
	if errors.Is(err, io.EOF) {
		return nil // an empty file
	}
	if err != nil {
		return fmt.Errorf("%s:%s", name, yamlError(err))
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more than one document", name)
	}
	return nil
}

// yamlError is the first of the library's errors, without its words about Go:
// "3: unknown key "memroy"", to be put behind the file's name.
func yamlError(err error) string {
	text := err.Error()
	var several *yaml.TypeError
	if errors.As(err, &several) && len(several.Errors) > 0 {
		text = several.Errors[0]
	}
	text, _, _ = strings.Cut(strings.TrimPrefix(text, "yaml: "), "\n")
	rest, ok := strings.CutPrefix(text, "line ")
	if !ok {
		return " " + text
	}
	line, text, _ := strings.Cut(rest, ": ")
	return line + ": " + plainYAMLError(text)
}

func plainYAMLError(text string) string {
	if key, ok := between(text, "field ", " not found in type "); ok {
		return fmt.Sprintf("unknown key %q", key)
	}
	if key, ok := between(text, `mapping key "`, `" already defined`); ok {
		return fmt.Sprintf("key %q is given twice", key)
	}
	if value, ok := strings.CutPrefix(text, "cannot unmarshal "); ok {
		value, kind, _ := strings.Cut(value, " into ")
		if _, v, ok := strings.Cut(value, " "); ok {
			value = strings.Trim(v, "`")
		} else {
			value = "a " + strings.TrimPrefix(value, "!!")
		}
		return fmt.Sprintf("%s is not %s", value, kindName(kind))
	}
	return text
}

func between(s, before, after string) (string, bool) {
	_, s, ok := strings.Cut(s, before)
	s, _, found := strings.Cut(s, after)
	return s, ok && found
}

// kindName says what a Go type is in words.
func kindName(kind string) string {
	switch {
	case strings.HasPrefix(kind, "[]"):
		return "a list"
	case strings.HasPrefix(kind, "map"):
		return "a map"
	case strings.HasSuffix(kind, "Duration"):
		return "a duration such as 30s"
	case strings.Contains(kind, "int"), strings.Contains(kind, "float"):
		return "a number"
	case strings.Contains(kind, "bool"):
		return "true or false"
	case strings.Contains(kind, "string"):
		return "a string"
	}
	return "a section with keys of its own"
}
