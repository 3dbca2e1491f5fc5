package store

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// Digest names bytes by their check sum: "sha256:e3b0…".
//
// It is not that of github.com/opencontainers/go-digest, with regular
// expressions that each start of the program would have to compile first.
type Digest string

// The two algorithms that a digest may name.
const (
	SHA256 = "sha256"
	SHA512 = "sha512"
)

// ValidDigest says with an error why d is not a digest: sha256 with 64 or
// sha512 with 128 lower-case hexadecimal digits. Everything that becomes part
// of a path has passed it (CVE-2024-3727 is what happens otherwise).
func ValidDigest(d Digest) error {
	alg, hex := d.split()
	want := 0
	switch alg {
	case SHA256:
		want = 64
	case SHA512:
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

// DigestOf is the sha256 of data.
func DigestOf[Data string | []byte](data Data) Digest {
	h := sha256.New()
	h.Write([]byte(data))
	return NewDigest(SHA256, h)
}

// NewDigest is the digest of what was written to h.
func NewDigest(alg string, h hash.Hash) Digest {
	return Digest(alg + ":" + hex.EncodeToString(h.Sum(nil)))
}

// Algorithm is what stands before the colon.
func (d Digest) Algorithm() string {
	alg, _ := d.split()
	return alg
}

// Hex is what stands behind the colon.
func (d Digest) Hex() string {
	_, hex := d.split()
	return hex
}

// Hash begins a check sum of the same algorithm.
func (d Digest) Hash() hash.Hash {
	if d.Algorithm() == SHA512 {
		return sha512.New()
	}
	return sha256.New()
}

// Fits says whether d is the digest of data.
func (d Digest) Fits(data []byte) bool {
	h := d.Hash()
	h.Write(data)
	return NewDigest(d.Algorithm(), h) == d
}

// split gives the two halves.
func (d Digest) split() (alg, hex string) {
	alg, hex, _ = strings.Cut(string(d), ":")
	return alg, hex
}
