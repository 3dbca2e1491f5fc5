//go:build !split

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"minict/image/pull"
)

// settings is the program's own configuration file.
type settings struct {
	Registries pull.Registries `yaml:"registries"`
}

// readSettings reads the file at path, or, without a path, the first of the
// usual places that has one.
func readSettings(path string) (s settings, err error) {
	if path != "" {
		return s, decodeFile(path, &s)
	}
	for _, path := range usualSettings() {
		err := decodeFile(path, &s)
		if !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
	}
	return s, nil
}

func usualSettings() []string {
	var paths []string
	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		paths = append(paths, filepath.Join(dir, "minict/config.yaml"))
	}
	return append(paths, "/etc/minict/config.yaml")
}

// registries is the configuration with the mirrors of flags, which go first.
func (s settings) registries(mirrors []string) (pull.Registries, error) {
	r := s.Registries
	if len(mirrors) == 0 {
		return r, nil
	}
	r.Mirrors = maps.Clone(r.Mirrors)
	if r.Mirrors == nil {
		r.Mirrors = make(map[string][]string)
	}
	for _, m := range slices.Backward(mirrors) {
		registry, endpoint, ok := strings.Cut(m, "=")
		if !ok || registry == "" || endpoint == "" {
			return r, fmt.Errorf("--mirror: %q is not REGISTRY=ENDPOINT", m)
		}
		r.Mirrors[registry] = append([]string{endpoint}, r.Mirrors[registry]...)
	}
	return r, nil
}
