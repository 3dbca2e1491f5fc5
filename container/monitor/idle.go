package monitor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// idle is called when nothing has happened for a second: what a short run need
// not wait for is done then, once.
func (m *monitor) idle() {
	m.active = false
	if m.oomScore == "" {
		if score, err := readFile(oomScoreFile); err == nil && writeFile(oomScoreFile, lowestOOMScore) == nil {
			m.oomScore = score
		}
	}
	shrink()
}
