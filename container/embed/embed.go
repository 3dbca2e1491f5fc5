// Package embed carries the small program that becomes a container's monitor,
// and its init, inside the big one. The Makefile builds it first.
package embed

import (
	_ "embed" // the program
	"errors"
	"hash/fnv"
	"strconv"
	"strings"
)

// Monitor is the program cmd/minict-monitor, an ELF executable.
//
//go:embed monitor
var Monitor string

// ErrBuildID says that the program was linked without its build ID.
var ErrBuildID = errors.New("the embedded monitor has no Go build ID")

// Name is a file name for the program, different for each build. It is taken
// from the build ID that the go command puts at the beginning of the text
// segment, so that the whole program need not be read to start it.
func Name() (string, error) {
	const mark = "\xff Go build ID: \""
	head := Monitor[:min(len(Monitor), 32<<10)]
	_, rest, ok := strings.Cut(head, mark)
	id, _, ended := strings.Cut(rest, "\"\n \xff")
	if !ok || !ended {
		return "", ErrBuildID
	}
	sum := fnv.New64a()
	sum.Write([]byte(id))
	return "monitor-" + strconv.FormatUint(sum.Sum64(), 16), nil
}
