// Package embed carries the small program that becomes a container's monitor,
// and its init, inside the big one. The Makefile builds it first.
package embed

import (
	_ "embed" // the program
	"encoding/binary"
	"errors"
	"hash/fnv"
	"strconv"
	"strings"
)

//go:embed monitor
var monitor string

// Program is an embedded program, an ELF executable.
type Program struct {
	Kind string // what its file's name begins with
	Data string
}

// Monitor is the program cmd/minict-monitor.
func Monitor() Program { return Program{"monitor", monitor} }

// ErrBuildID says that a program was linked without its build ID.
var ErrBuildID = errors.New("the embedded program has no Go build ID")

// Name is a file name for the program, different for each build. It is taken
// from the build ID that the go command puts into a note (elf(5)) in the first
// page, so that the whole program need not be read to start it.
func (p Program) Name() (string, error) {
	const mark = "\x04\x00\x00\x00Go\x00\x00" // type of the note, owner
	head := p.Data[:min(len(p.Data), 4<<10)]
	before, rest, ok := strings.Cut(head, mark)
	if !ok || len(before) < 4 {
		return "", ErrBuildID
	}
	size := int(binary.LittleEndian.Uint32([]byte(before[len(before)-4:])))
	if size == 0 || size > len(rest) {
		return "", ErrBuildID
	}
	sum := fnv.New64a()
	sum.Write([]byte(rest[:size]))
	return p.Kind + "-" + strconv.FormatUint(sum.Sum64(), 16), nil
}
