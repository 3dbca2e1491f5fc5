// Package randomid makes the ids of containers, volumes, networks and endpoints.
package randomid

import (
	"encoding/hex"

	"golang.org/x/sys/unix"
)

// New makes an id: 64 hexadecimal digits. Of 2²⁵⁶ ids no two are the same. It asks
// the kernel itself: what package crypto/rand sets up before its first byte takes a
// hundredth of a run.
func New() string {
	var raw [32]byte
	for {
		n, err := unix.Getrandom(raw[:], 0)
		if err == nil && n == len(raw) {
			return hex.EncodeToString(raw[:])
		}
		if err != unix.EINTR { // for so few bytes there is no other, getrandom(2)
			panic("getrandom: " + err.Error())
		}
	}
}
