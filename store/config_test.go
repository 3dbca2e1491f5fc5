package store

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Our types have the JSON of those that the specification comes with.
func TestFormIsTheSpecifications(t *testing.T) {
	when := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	platform := v1.Platform{Architecture: "arm", OS: "linux", Variant: "v7"}
	some := map[string]struct{}{"/srv": {}}
	for _, c := range []struct{ theirs, ours any }{
		{v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: digest.FromString("x"), Size: 1, URLs: []string{"http://x"},
			Annotations: map[string]string{"a": "b"}, Platform: &platform}, &Descriptor{}},
		{v1.Descriptor{}, &Descriptor{}},
		{v1.Image{Created: &when, Author: "a", Platform: platform,
			Config: v1.ImageConfig{User: "u", ExposedPorts: some, Env: []string{"A=1"}, Entrypoint: []string{"e"}, Cmd: []string{"c"},
				Volumes: some, WorkingDir: "/srv", Labels: map[string]string{"a": "b"}, StopSignal: "INT", ArgsEscaped: true},
			RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("x")}}}, &ImageConfig{}},
		{v1.Image{}, &ImageConfig{}},
	} {
		theirs, err := json.Marshal(c.theirs)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(theirs, c.ours); err != nil {
			t.Fatal(err)
		}
		if ours, err := json.Marshal(c.ours); err != nil || string(ours) != string(theirs) {
			t.Errorf("%s (%v)\nbecomes %s", theirs, err, ours)
		}
	}
}

func TestDigest(t *testing.T) {
	for _, theirs := range []digest.Digest{digest.FromString("x"), digest.SHA512.FromString("x")} {
		d := Digest(theirs)
		if d.Algorithm() != string(theirs.Algorithm()) || d.Hex() != theirs.Encoded() || !d.Fits([]byte("x")) || d.Fits([]byte("y")) {
			t.Errorf("%s: %s, %s, %v", d, d.Algorithm(), d.Hex(), d.Fits([]byte("x")))
		}
	}
	if d := DigestOf([]byte("x")); d != Digest(digest.FromString("x")) || d != DigestOf("x") {
		t.Errorf("x has the digest %s", d)
	}
}
