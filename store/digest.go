package store

import (
	_ "crypto/sha256" // the two algorithms that a digest may name
	_ "crypto/sha512"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// ValidDigest says with an error why d is not a digest: sha256 with 64 or
// sha512 with 128 lower-case hexadecimal digits. Everything that becomes part
// of a path has passed it (CVE-2024-3727 is what happens otherwise).
func ValidDigest(d digest.Digest) error {
	alg, hex, _ := strings.Cut(string(d), ":")
	want := 0
	switch alg {
	case "sha256":
		want = 64
	case "sha512":
		want = 128
	}
	if want == 0 || len(hex) != want || !isHex(hex) {
		return fmt.Errorf("digest %.140q: not sha256 or sha512 in lower-case hexadecimal", string(d))
	}
	return nil
}

func isHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// split gives the two halves of a valid digest.
func split(d digest.Digest) (alg, hex string) {
	alg, hex, _ = strings.Cut(string(d), ":")
	return alg, hex
}
