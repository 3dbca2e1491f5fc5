//go:build !split

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
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
		return fmt.Errorf("%s:%s", name, yamlError(data, err))
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more than one document", name)
	}
	return nil
}

// yamlError is the first of the library's errors, without its words about Go:
// "3: unknown key "memroy"", to be put behind the file's name.
func yamlError(data []byte, err error) string {
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
	return line + ": " + plainYAMLError(data, line, text)
}

func plainYAMLError(data []byte, line, text string) string {
	if key, ok := between(text, "field ", " not found in type "); ok {
		return fmt.Sprintf("unknown key %q", key)
	}
	if key, ok := between(text, `mapping key "`, `" already defined`); ok {
		return fmt.Sprintf("key %q is given twice", key)
	}
	text, ok := strings.CutPrefix(text, "cannot unmarshal ")
	if !ok {
		return text
	}
	what, kind, _ := strings.Cut(text, " into ")
	tag, value, _ := strings.Cut(what, " ")
	value = strings.Trim(value, "`")
	var key string
	var document yaml.Node
	if n, err := strconv.Atoi(line); err == nil && yaml.Unmarshal(data, &document) == nil {
		if key = keyAt(&document, n, tag, value); key != "" {
			key += ": "
		}
	}
	if value == "" {
		value = tagName(tag)
	}
	return fmt.Sprintf("%s%s is not %s", key, value, kindName(kind))
}

// keyAt finds the key of a value that the library has complained of: on this
// line, of this kind, and beginning so.
func keyAt(n *yaml.Node, line int, tag, value string) string {
	for i, child := range n.Content {
		value := strings.TrimSuffix(value, "...")
		if n.Kind == yaml.MappingNode && i%2 == 1 && child.Line == line && child.ShortTag() == tag && strings.HasPrefix(child.Value, value) {
			return n.Content[i-1].Value
		}
		if key := keyAt(child, line, tag, value); key != "" {
			return key
		}
	}
	return ""
}

func between(s, before, after string) (string, bool) {
	_, s, ok := strings.Cut(s, before)
	s, _, found := strings.Cut(s, after)
	return s, ok && found
}

// tagName says what a YAML tag is in words.
func tagName(tag string) string {
	switch tag {
	case "!!seq":
		return "a list"
	case "!!map":
		return "a map"
	}
	return "this"
}

// kindName says what a Go type is in words.
func kindName(kind string) string {
	switch {
	case strings.HasPrefix(kind, "struct"), strings.HasPrefix(kind, "main."), strings.HasPrefix(kind, "registry."):
		return "a section with keys of its own"
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
	}
	return "a string"
}
