package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// filters are the keys that --filter takes for one kind of thing.
type filters[T any] map[string]filter[T]

// filter is a key of --filter: what it makes of a value. Of the values of one
// key one has to fit, or all; of different keys all.
type filter[T any] struct {
	read func(value string) (func(T) bool, error)
	all  bool // of its values
	any  bool // it says which states are meant, instead of ps's default
}

// parse makes one condition of --filter flags. Any says that they are about
// things in any state.
func (known filters[T]) parse(flags []string) (keep func(T) bool, any bool, err error) {
	conditions := make(map[string][]func(T) bool)
	for _, flag := range flags {
		key, value, ok := strings.Cut(flag, "=")
		if !ok {
			return nil, false, fmt.Errorf("--filter: %q is not KEY=VALUE", flag)
		}
		f, there := known[key]
		if !there {
			return nil, false, fmt.Errorf("--filter: %q is none of %s", key, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		fits, err := f.read(value)
		if err != nil {
			return nil, false, fmt.Errorf("--filter: %s: %w", key, err)
		}
		conditions[key] = append(conditions[key], fits)
		any = any || f.any
	}
	return func(t T) bool {
		for key, list := range conditions {
			n := 0
			for _, fits := range list {
				if fits(t) {
					n++
				}
			}
			if n == 0 || known[key].all && n < len(list) {
				return false
			}
		}
		return true
	}, any, nil
}

// labelled is a label that is wanted, KEY or KEY=VALUE.
func labelled(v string) func(labels map[string]string) bool {
	key, value, valued := strings.Cut(v, "=")
	return func(labels map[string]string) bool {
		got, ok := labels[key]
		return ok && (!valued || got == value)
	}
}
