package store

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// Whatever a registry calls a digest, it leads to one name in one directory.
func FuzzDigestPath(f *testing.F) {
	hex := strings.Repeat("0123456789abcdef", 4)
	for _, seed := range []string{"", "sha256:" + hex, "sha512:" + hex + hex, "sha256:../../" + hex[6:], "sha256:" + strings.ToUpper(hex)} {
		f.Add(seed)
	}
	s := &Store{root: "/root"}
	f.Fuzz(func(t *testing.T, text string) {
		d := Digest(text)
		path := s.BlobPath(d)
		if filepath.Clean(path) != path || !strings.HasPrefix(path, "/root/blobs/") {
			t.Errorf("%q leads to %q", text, path)
		}
		if (ValidDigest(d) == nil) != (path == "/root/blobs/"+strings.Replace(text, ":", "/", 1)) {
			t.Errorf("%q: %v, but it leads to %q", text, ValidDigest(d), path)
		}
		// Ours is stricter than the library's: no sha384, nothing unknown.
		if err := digest.Digest(text).Validate(); ValidDigest(d) == nil && err != nil {
			t.Errorf("%q: the library says %v", text, err)
		}
	})
}

// Any bytes in the place of a record are a record or ErrCorrupt, never more.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(nil), false)
	f.Add((&Image{Layers: []Layer{{Key: "sha256:00"}}, Execution: Execution{Env: []string{"A=1"}}}).pack(), true)
	f.Add([]byte{imageForm, 0x7f}, true)
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		if sealed {
			data = seal(bucketImages, "id", data)
		}
		img, err := decodeImage("id", data, nil)
		if err == nil && img.ID != "id" {
			t.Errorf("id %q", img.ID)
		}
		if err != nil {
			return
		}
		// What was read is all there was: it packs to what says the same.
		var again Image
		if !again.unpack(img.pack()) {
			t.Errorf("%+v can't be packed and unpacked", img)
		}
		again.ID = img.ID
		if !reflect.DeepEqual(again, img) {
			t.Errorf("%+v became %+v", img, again)
		}
	})
}
