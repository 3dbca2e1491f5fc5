package pull

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"minict/image"
	"minict/image/registry"
	"minict/store"
)

var (
	base = []tar.Header{dir("etc/", 0o755), file("etc/passwd"), dir("usr/", 0o711), file("usr/a")}
	top  = []tar.Header{dir("opt/", 0o755), file("opt/b")}
	bare = []tar.Header{file("usr/c")} // needs to know what usr is
)

func pullFrom(t *testing.T, c *Client, ref string) PullResult {
	t.Helper()
	r, err := c.Pull(t.Context(), ref, PullOptions{})
	if err != nil {
		t.Fatalf("pull %s: %v", ref, err)
	}
	return r
}

func TestPull(t *testing.T) {
	watchdog(t)
	h, c := newHub(t), newClient(t)
	arm, _ := h.push("lib/thing", "", made{layers: [][]tar.Header{base}, platform: store.Platform{OS: "linux", Architecture: "s390x"}})
	own, manifest := h.push("lib/thing", "", made{layers: [][]tar.Header{base, top}})
	attestation := arm
	attestation.Platform = &store.Platform{OS: "unknown", Architecture: "unknown"}
	index := h.pushIndex("lib/thing", "1.0", attestation, arm, own)
	ref := h.host() + "/lib/thing:1.0"
	progress := newRecorder()
	c.Progress = progress

	r := pullFrom(t, c, ref)
	if r.Digest != index.Digest || !r.New || r.Status() != "Downloaded newer image for "+ref {
		t.Errorf("result %+v", r)
	}
	img := r.Image
	if img.ID != manifest.Config.Digest || img.Manifest.Digest != own.Digest || len(img.Layers) != 2 ||
		!slices.Equal(img.Names, []string{ref}) || !slices.Equal(img.Digests, []string{h.host() + "/lib/thing@" + string(index.Digest)}) ||
		image.FormatPlatform(img.Platform) != image.FormatPlatform(image.HostPlatform()) || img.Created.Year() != 2026 || img.Size != int64(len("etc/passwd")+len("usr/a")+len("opt/b")) {
		t.Errorf("image %+v", img)
	}
	if got := read(t, c.Store, img.Layers[0], "etc/passwd"); got != "etc/passwd" {
		t.Errorf("content %q", got)
	}
	checkStore(t, c.Store, 4, 2)
	for _, l := range manifest.Layers {
		if got := progress.states[l.Digest]; !slices.Equal(got, []State{Waiting, Fetching, Complete}) || progress.bytes[l.Digest] != l.Size {
			t.Errorf("progress of %s: %v, %d bytes of %d", l.Digest, got, progress.bytes[l.Digest], l.Size)
		}
	}
	if len(progress.layers) != 2 || progress.layers[0].Digest != manifest.Layers[0].Digest {
		t.Errorf("progress began with %v", progress.layers)
	}

	blobs := h.count("/blobs/")
	again := pullFrom(t, c, ref)
	if again.New || again.Status() != "Image is up to date for "+ref || h.count("/blobs/") != blobs {
		t.Errorf("second pull: %+v, %d more blobs", again, h.count("/blobs/")-blobs)
	}
	found, config, err := local(c).Resolve(t.Context(), ref)
	if err != nil || found.ID != img.ID || !slices.Equal(config.Config.Cmd, []string{"/bin/sh"}) {
		t.Errorf("resolve: %+v, %+v, %v", found, config, err)
	}
}

// TestPullRepairs: a layer's directory is lost, and a pull brings it back.
func TestPullRepairs(t *testing.T) {
	h, c := newHub(t), newClient(t)
	h.push("thing", "latest", made{layers: [][]tar.Header{base, top}})
	img := pullFrom(t, c, h.host()+"/thing").Image
	if err := os.RemoveAll(c.Store.LayerDir(img.Layers[0].Key)); err != nil {
		t.Fatal(err)
	}
	before := h.count("/blobs/")
	pullFrom(t, c, h.host()+"/thing")
	read(t, c.Store, img.Layers[0], "etc/passwd")
	if n := h.count("/blobs/") - before; n != 2 { // the layer and the config
		t.Errorf("%d blobs were fetched", n)
	}
}

func TestPullByDigest(t *testing.T) {
	h, c := newHub(t), newClient(t)
	d, _ := h.push("thing", "1", made{layers: [][]tar.Header{base}})
	byDigest := h.host() + "/thing@" + string(d.Digest)
	r := pullFrom(t, c, h.host()+"/thing:any@"+string(d.Digest))
	if !slices.Equal(r.Image.Names, []string{byDigest}) {
		t.Errorf("names %v", r.Image.Names)
	}
	if r := pullFrom(t, c, h.host()+"/thing:1"); r.Image.ID == "" || len(r.Image.Names) != 2 || len(r.Image.Digests) != 1 {
		t.Errorf("image %+v", r.Image)
	}
	for _, ref := range []string{byDigest, h.host() + "/thing:1", string(r.Image.ID), r.Image.ID.Hex(), image.ShortID(r.Image.ID)} {
		if img, _, err := local(c).Resolve(t.Context(), ref); err != nil || img.ID != r.Image.ID {
			t.Errorf("resolve %s: %v, %v", ref, img.ID, err)
		}
	}
	wrong := store.DigestOf("wrong")
	_, err := c.Pull(t.Context(), h.host()+"/thing@"+string(wrong), PullOptions{})
	if !errors.Is(err, image.ErrUnknown) {
		t.Errorf("unknown digest: %v", err)
	}
}

// TestTagMoves: a tag is another image at the next pull, and the old one stays
// without the name. A tag that moves during a pull changes nothing of it.
func TestTagMoves(t *testing.T) {
	h, c := newHub(t), newClient(t)
	ref := h.host() + "/thing:latest"
	h.push("thing", "latest", made{layers: [][]tar.Header{base}})
	old := pullFrom(t, c, ref).Image
	_, second := h.push("thing", "latest", made{layers: [][]tar.Header{base, top}})
	h.on = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/"+string(second.Config.Digest)) {
			h.on = nil
			h.push("thing", "latest", made{layers: [][]tar.Header{top}})
		}
		return false
	}
	r := pullFrom(t, c, ref)
	if !r.New || r.Image.ID != second.Config.Digest || len(r.Image.Layers) != 2 {
		t.Errorf("pulled %+v", r)
	}
	images, err := local(c).List(t.Context())
	if err != nil || len(images) != 2 {
		t.Fatalf("%d images, %v", len(images), err)
	}
	for _, img := range images {
		if img.ID == old.ID && len(img.Names) != 0 {
			t.Errorf("the old image is still called %v", img.Names)
		}
	}
}

func TestPullPlatform(t *testing.T) {
	h, c := newHub(t), newClient(t)
	var entries []store.Descriptor
	want := map[string]store.Digest{}
	for _, p := range []string{"linux/arm/v5", "linux/arm/v6", "linux/arm64", "linux/amd64", "linux/amd64/v3", "linux/386"} {
		platform, err := image.ParsePlatform(p)
		if err != nil {
			t.Fatal(err)
		}
		d, m := h.push("many", "", made{layers: [][]tar.Header{base}, platform: platform})
		entries = append(entries, d)
		want[p] = m.Config.Digest
	}
	h.pushIndex("many", "latest", entries...)
	for asked, got := range map[string]string{
		"linux/arm64": "linux/arm64", "arm64": "linux/arm64", "linux/aarch64": "linux/arm64", "linux/arm64/v8": "linux/arm64",
		"linux/arm/v7": "linux/arm/v6", "linux/arm": "linux/arm/v6", "armel": "linux/arm/v6", "linux/arm/v5": "linux/arm/v5",
		"linux/amd64": "linux/amd64", "linux/amd64/v2": "linux/amd64", "linux/amd64/v4": "linux/amd64/v3", "x86_64": "linux/amd64",
		"i386": "linux/386",
	} {
		r, err := c.Pull(t.Context(), h.host()+"/many", PullOptions{Platform: asked})
		if err != nil || r.Image.ID != want[got] {
			t.Errorf("%s: %s, %v, want that for %s", asked, image.FormatPlatform(r.Image.Platform), err, got)
		}
	}
	h.push("one", "latest", made{layers: [][]tar.Header{base}, platform: store.Platform{OS: "linux", Architecture: "s390x"}})
	for asked, text := range map[string]string{
		"linux/riscv64": "no matching manifest for linux/riscv64 in the manifest list entries",
		"windows/amd64": "Linux images only",
		"linux/":        "os/architecture", "a/b/c/d": "os/architecture", "linux/a\nb": "os/architecture",
	} {
		_, err := c.Pull(t.Context(), h.host()+"/many", PullOptions{Platform: asked})
		if !errors.Is(err, image.ErrPlatform) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: error %v", asked, err)
		}
	}
	_, err := c.Pull(t.Context(), h.host()+"/one", PullOptions{})
	if !errors.Is(err, image.ErrPlatform) || !strings.Contains(err.Error(), "is for linux/s390x and not for") {
		t.Errorf("one platform: %v", err)
	}
	if _, err := c.Pull(t.Context(), h.host()+"/one", PullOptions{Platform: "linux/s390x"}); err != nil {
		t.Errorf("another platform, wanted: %v", err)
	}
	if _, err := c.Pull(t.Context(), h.host()+"/one", PullOptions{}); !errors.Is(err, image.ErrPlatform) {
		t.Errorf("another platform, in the store: %v", err)
	}
}

func TestPullFromMirror(t *testing.T) {
	h, empty, c := newHub(t), newHub(t), newClient(t)
	h.push("library/alpine", "latest", made{layers: [][]tar.Header{base}})
	c.Config.Mirrors = map[string][]string{"docker.io": {"http://127.0.0.1:1", empty.URL, h.URL}}
	r := pullFrom(t, c, "alpine")
	if !slices.Equal(r.Image.Names, []string{"docker.io/library/alpine:latest"}) || r.Status() != "Downloaded newer image for alpine:latest" {
		t.Errorf("%+v", r)
	}
	c.Config.Mirrors = map[string][]string{"127.0.0.1:1": {empty.URL}}
	_, err := c.Pull(t.Context(), "127.0.0.1:1/alpine", PullOptions{})
	if !errors.Is(err, image.ErrUnreachable) || !strings.Contains(err.Error(), "; mirror "+empty.host()) {
		t.Errorf("error %v", err)
	}
}

// TestSharedLayers: what the store has is not fetched again, but a layer's
// DiffID is not enough to have it: the blob must be known to unpack to it.
func TestSharedLayers(t *testing.T) {
	h, c := newHub(t), newClient(t)
	_, one := h.push("a", "latest", made{layers: [][]tar.Header{base, top}})
	h.push("b", "latest", made{layers: [][]tar.Header{base, {file("other")}}})
	pullFrom(t, c, h.host()+"/a")
	progress := newRecorder()
	c.Progress = progress
	pullFrom(t, c, h.host()+"/b")
	if n := h.count("/v2/b/blobs/"); n != 2 { // a layer and the config
		t.Errorf("%d blobs were fetched", n)
	}
	if got := progress.states[one.Layers[0].Digest]; got[len(got)-1] != Exists {
		t.Errorf("progress %v", got)
	}
	checkStore(t, c.Store, 2*2+3, 3)

	// The config of c claims the layers of a, but its blobs are others.
	_, stolen := h.push("c", "latest", made{layers: [][]tar.Header{top}, config: func(i *store.ImageConfig) {
		i.RootFS.DiffIDs = []store.Digest{store.DigestOf(makeTar(t, base))}
	}})
	_, err := c.Pull(t.Context(), h.host()+"/c", PullOptions{})
	if !errors.Is(err, image.ErrCorrupt) || !strings.Contains(err.Error(), "wrong DiffID") {
		t.Errorf("error %v (layer %s)", err, stolen.Layers[0].Digest)
	}
	checkStore(t, c.Store, 2*2+3, 3)
}

// TestNeedsParents: the same layer over two bases, and alone, is three
// directories.
func TestNeedsParents(t *testing.T) {
	h, c := newHub(t), newClient(t)
	other := []tar.Header{dir("usr/", 0o700), file("usr/z")}
	modes := map[string]os.FileMode{}
	for name, layers := range map[string][][]tar.Header{
		"over base": {base, bare, top}, "over other": {other, bare}, "alone": {bare}, "twice": {base, bare, bare},
	} {
		repo := strings.ReplaceAll(name, " ", "-")
		h.push(repo, "latest", made{layers: layers})
		progress := newRecorder()
		c.Progress = progress
		img := pullFrom(t, c, h.host()+"/"+repo).Image
		for i, l := range img.Layers {
			if l.DiffID != store.DigestOf(makeTar(t, bare)) {
				continue
			}
			if l.Key == l.DiffID {
				t.Errorf("%s: layer %d is kept by its DiffID", name, i)
			}
			st, err := os.Stat(filepath.Join(c.Store.LayerDir(l.Key), "usr"))
			if err != nil {
				t.Fatal(err)
			}
			modes[name] = st.Mode().Perm()
			read(t, c.Store, l, "usr/c")
		}
	}
	if modes["over base"] != 0o711 || modes["over other"] != 0o700 || modes["alone"] != 0o755 {
		t.Errorf("modes of usr: %v", modes)
	}
	before := h.count("/blobs/")
	h.push("again", "latest", made{layers: [][]tar.Header{base, bare}})
	img := pullFrom(t, c, h.host()+"/again").Image
	if n := h.count("/blobs/") - before; n != 1 || img.Layers[1].Key == img.Layers[1].DiffID {
		t.Errorf("the second time %d blobs were fetched", n)
	}
}

// TestSameLayerTwice: one blob at two places of an image is fetched once.
func TestSameLayerTwice(t *testing.T) {
	h, c := newHub(t), newClient(t)
	_, m := h.push("thing", "latest", made{layers: [][]tar.Header{base, top, base}})
	img := pullFrom(t, c, h.host()+"/thing").Image
	if len(img.Layers) != 3 || img.Layers[0].Key != img.Layers[2].Key {
		t.Errorf("layers %+v", img.Layers)
	}
	if n := h.count(string(m.Layers[0].Digest)); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

func TestLayerFormats(t *testing.T) {
	h, c := newHub(t), newClient(t)
	for i, mediaType := range []string{v1.MediaTypeImageLayer, dockerLayer, ociForeign} {
		repo := fmt.Sprint("thing", i)
		h.push(repo, "latest", made{layers: [][]tar.Header{base}, pack: mediaType})
		pullFrom(t, c, h.host()+"/"+repo)
	}
}

// TestForeignURLs: the addresses in a descriptor are not looked at.
func TestForeignURLs(t *testing.T) {
	h, bait, c := newHub(t), newHub(t), newClient(t)
	h.push("thing", "latest", made{layers: [][]tar.Header{base}, manifest: func(m *imageManifest) {
		m.Layers[0].MediaType = ociForeign + "+gzip"
		m.Layers[0].URLs = []string{bait.URL + "/layer"}
	}})
	pullFrom(t, c, h.host()+"/thing")
	if n := bait.count("/"); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestPullAtOnce: of many pulls at once each blob is fetched by one.
func TestPullAtOnce(t *testing.T) {
	watchdog(t)
	h, c := newHub(t), newClient(t)
	_, m := h.push("thing", "latest", made{layers: [][]tar.Header{base, top, bare, {file("x")}}})
	var group sync.WaitGroup
	for i := range 12 {
		group.Go(func() {
			s, err := store.Open(c.Store.Root()) // as another process has it
			if err != nil {
				t.Error(err)
				return
			}
			own := &Client{Store: s, Config: c.Config}
			if _, err := own.Pull(t.Context(), h.host()+"/thing", PullOptions{}); err != nil {
				t.Errorf("pull %d: %v", i, err)
			}
		})
	}
	group.Wait()
	for _, d := range append(m.Layers, m.Config) {
		if n := h.count(string(d.Digest)); n != 1 {
			t.Errorf("blob %s was fetched %d times", d.Digest, n)
		}
	}
	checkStore(t, c.Store, 6, 4)
}

// TestPullCancelled: nothing stays of a pull that was given up, and another
// that waits for it goes on.
func TestPullCancelled(t *testing.T) {
	watchdog(t)
	h, c := newHub(t), newClient(t)
	_, m := h.push("thing", "latest", made{layers: [][]tar.Header{base, top, bare}})
	for _, part := range []string{"/manifests/latest", string(m.Config.Digest), string(m.Layers[0].Digest), string(m.Layers[2].Digest)} {
		ctx, cancel := context.WithCancel(t.Context())
		h.on = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, part) {
				return false
			}
			w.Header().Set("Content-Length", "1000000")
			w.Header().Set("Content-Type", v1.MediaTypeImageManifest)
			w.Write([]byte{0x1f, 0x8b})
			w.(http.Flusher).Flush()
			cancel()
			<-r.Context().Done()
			return true
		}
		_, err := c.Pull(ctx, h.host()+"/thing", PullOptions{})
		if !errors.Is(err, context.Canceled) && !errors.Is(err, image.ErrCorrupt) { // the length may be seen first
			t.Errorf("error %v", err)
		}
		checkStore(t, c.Store, 0, 0)
	}
	h.on = nil
	pullFrom(t, c, h.host()+"/thing")
}

// TestPullBad: images that are not what they should be. Each is one line for
// the user, and nothing stays of it.
func TestPullBad(t *testing.T) {
	two := [][]tar.Header{base, top}
	for name, bad := range map[string]struct {
		image made
		kind  error
		text  string
	}{
		"leaves its directory": {made{layers: [][]tar.Header{base, {file("../../escape")}}}, nil, "escape"},
		"DiffID":               {made{layers: two, config: func(i *store.ImageConfig) { i.RootFS.DiffIDs[1] = store.DigestOf("x") }}, image.ErrCorrupt, "wrong DiffID"},
		"few diff_ids":         {made{layers: two, config: func(i *store.ImageConfig) { i.RootFS.DiffIDs = i.RootFS.DiffIDs[1:] }}, image.ErrCorrupt, "1 diff_ids for 2 layers"},
		"no diff_id":           {made{layers: two, config: func(i *store.ImageConfig) { i.RootFS.DiffIDs[0] = "../../x" }}, image.ErrCorrupt, "digest"},
		"rootfs type":          {made{layers: two, config: func(i *store.ImageConfig) { i.RootFS.Type = "windows" }}, image.ErrCorrupt, "rootfs"},
		"two diff_ids": {made{layers: [][]tar.Header{base, base}, config: func(i *store.ImageConfig) {
			i.RootFS.DiffIDs[1] = store.DigestOf("x")
		}}, image.ErrCorrupt, "two diff_ids"},
		"layer size":      {made{layers: two, manifest: func(m *imageManifest) { m.Layers[1].Size++ }}, image.ErrCorrupt, "wrong size"},
		"config size":     {made{layers: two, manifest: func(m *imageManifest) { m.Config.Size-- }}, image.ErrCorrupt, "wrong size"},
		"huge config":     {made{layers: two, manifest: func(m *imageManifest) { m.Config.Size = maxConfig + 1 }}, image.ErrCorrupt, "size"},
		"huge layer":      {made{layers: two, manifest: func(m *imageManifest) { m.Layers[0].Size = maxBlob + 1 }}, image.ErrCorrupt, "size"},
		"negative layer":  {made{layers: two, manifest: func(m *imageManifest) { m.Layers[0].Size = -1 }}, image.ErrCorrupt, "size"},
		"layer digest":    {made{layers: two, manifest: func(m *imageManifest) { m.Layers[0].Digest = "sha256:../../x" }}, image.ErrCorrupt, "digest"},
		"layer type":      {made{layers: two, manifest: func(m *imageManifest) { m.Layers[0].MediaType = "text/plain" }}, image.ErrCorrupt, "media type"},
		"compression":     {made{layers: two, manifest: func(m *imageManifest) { m.Layers[0].MediaType = v1.MediaTypeImageLayerZstd }}, nil, "zstd"},
		"no image":        {made{layers: two, manifest: func(m *imageManifest) { m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json" }}, nil, "no container image"},
		"schema version":  {made{layers: two, manifest: func(m *imageManifest) { m.SchemaVersion = 1 }}, image.ErrCorrupt, "schema version"},
		"calls itself":    {made{layers: two, manifest: func(m *imageManifest) { m.MediaType = v1.MediaTypeImageIndex }}, image.ErrCorrupt, "calls it"},
		"too many layers": {made{layers: two, manifest: func(m *imageManifest) { m.Layers = slices.Repeat(m.Layers, 300) }}, image.ErrCorrupt, "600 layers"},
		"missing layer":   {made{layers: two, manifest: func(m *imageManifest) { m.Layers[1].Digest = store.DigestOf("gone") }}, image.ErrUnknown, "does not have it"},
		"missing config":  {made{layers: two, manifest: func(m *imageManifest) { m.Config.Digest = store.DigestOf("gone") }}, image.ErrUnknown, "does not have it"},
	} {
		t.Run(name, func(t *testing.T) {
			watchdog(t)
			h, c := newHub(t), newClient(t)
			// The registry itself would refuse some of them, so it is told
			// nothing and the manifest is put in its mouth.
			var raw []byte
			change := bad.image.manifest
			bad.image.manifest = func(m *imageManifest) {
				if change != nil {
					change(m)
				}
				raw, _ = json.Marshal(m)
				*m = imageManifest{}
			}
			h.push("thing", "other", bad.image)
			h.on = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/manifests/latest") {
					return false
				}
				w.Header().Set("Content-Type", v1.MediaTypeImageManifest)
				w.Write(raw)
				return true
			}
			_, err := c.Pull(t.Context(), h.host()+"/thing", PullOptions{})
			if err == nil || bad.kind != nil && !errors.Is(err, bad.kind) || !strings.Contains(err.Error(), bad.text) {
				t.Errorf("error %v, want %v with %q", err, bad.kind, bad.text)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("not a line: %q", err)
			}
			checkStore(t, c.Store, 0, 0)
		})
	}
}

// TestPullSpoiltLayer: the registry sends something else for a layer.
func TestPullSpoiltLayer(t *testing.T) {
	for name, spoil := range map[string]func(w http.ResponseWriter, size int64){
		"truncated": func(w http.ResponseWriter, size int64) {
			w.Header().Set("Content-Length", fmt.Sprint(size))
			w.Write([]byte("etc/"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		"wrong digest, no gzip": func(w http.ResponseWriter, size int64) { w.Write(slices.Repeat([]byte{7}, int(size))) },
		"wrong digest":          func(w http.ResponseWriter, size int64) { w.Write(make([]byte, size)) },
	} {
		t.Run(name, func(t *testing.T) {
			watchdog(t)
			h, c := newHub(t), newClient(t)
			spoilt := made{layers: [][]tar.Header{base, top}, pack: v1.MediaTypeImageLayer}
			name, noGzip := strings.CutSuffix(name, ", no gzip")
			if noGzip {
				spoilt.pack = ""
			}
			_, m := h.push("thing", "latest", spoilt)
			h.on = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, string(m.Layers[1].Digest)) {
					return false
				}
				spoil(w, m.Layers[1].Size)
				return true
			}
			_, err := c.Pull(t.Context(), h.host()+"/thing", PullOptions{})
			if !errors.Is(err, image.ErrCorrupt) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), string(m.Layers[1].Digest)) {
				t.Errorf("error %v", err)
			}
			checkStore(t, c.Store, 0, 0)
		})
	}
}

// TestNestedIndex: indexes in indexes end somewhere.
func TestNestedIndex(t *testing.T) {
	h, c := newHub(t), newClient(t)
	d, _ := h.push("thing", "", made{layers: [][]tar.Header{base}})
	own := image.HostPlatform()
	for range maxNested {
		d = h.pushIndex("thing", "ok", d)
		d.Platform = &own
	}
	h.pushIndex("thing", "deep", d)
	pullFrom(t, c, h.host()+"/thing:ok")
	_, err := c.Pull(t.Context(), h.host()+"/thing:deep", PullOptions{})
	if !errors.Is(err, image.ErrCorrupt) || !strings.Contains(err.Error(), "indexes in each other") {
		t.Errorf("error %v", err)
	}
	d.Size++
	h.pushIndex("thing", "lies", d)
	_, err = c.Pull(t.Context(), h.host()+"/thing:lies", PullOptions{})
	if !errors.Is(err, image.ErrCorrupt) || !strings.Contains(err.Error(), "the index promises") {
		t.Errorf("error %v", err)
	}
}

// TestKind: a document is an index or a manifest, never both (CVE-2021-41190).
func TestKind(t *testing.T) {
	for raw, want := range map[string]string{
		`{"manifests":[]}`:                           "manifests",
		`{"layers":[],"config":{}}`:                  "layers",
		`{"config":{}}`:                              "layers",
		`{"manifests":[],"layers":[]}`:               "",
		`{"manifests":[],"config":{}}`:               "",
		`{"Manifests":[],"layers":[]}`:               "",
		`{"manifests":null,"layers":[]}`:             "",
		`{}`:                                         "",
		`[]`:                                         "",
		`{"layers":[]}{"manifests":[]}`:              "",
		`{"schemaVersion":1,"fsLayers":[],"name":1}`: "",
	} {
		got, err := kind([]byte(raw))
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, image.ErrCorrupt) {
			t.Errorf("%s: %q, %v", raw, got, err)
		}
	}
}

const sum = "sha256:e7d92cdc71feacf90708cb59182d0df1b911f8ae022d29e8e95d75ca6a99776a"

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"`+sum+`","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"`+sum+`","size":3}]}`), "")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"`+sum+`","size":3,"platform":{"os":"linux","architecture":"amd64"}}]}`), v1.MediaTypeImageIndex)
	f.Fuzz(func(t *testing.T, raw []byte, mediaType string) {
		doc := registry.Document{Raw: raw, Descriptor: store.Descriptor{MediaType: mediaType}}
		m, err := decodeManifest(doc)
		if err == nil {
			for _, d := range append(m.Layers, m.Config) {
				if store.ValidDigest(d.Digest) != nil || d.Size < 0 || d.Size > maxBlob {
					t.Errorf("accepted %+v", d)
				}
			}
		}
		index, err2 := decodeIndex(doc)
		if err == nil && err2 == nil {
			t.Errorf("an index and a manifest: %q", raw)
		}
		if err2 == nil {
			for _, p := range []string{"", "linux/arm/v7", "linux/amd64/v3"} {
				want, _ := image.ParsePlatform(p)
				if d, err := pick(index, want, "x"); err == nil && !image.Runs(want, *d.Platform) {
					t.Errorf("picked %+v for %s", d.Platform, p)
				}
			}
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"architecture":"amd64","os":"linux","config":{"Env":["A=b"]},"rootfs":{"type":"layers","diff_ids":["` + sum + `"]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		config, err := image.DecodeConfig(store.DigestOf(raw), raw)
		if err != nil {
			if !errors.Is(err, image.ErrCorrupt) {
				t.Errorf("error %v", err)
			}
			return
		}
		for _, d := range config.RootFS.DiffIDs {
			if store.ValidDigest(d) != nil {
				t.Errorf("accepted %q", d)
			}
		}
		stackKeys(config.RootFS.DiffIDs)
		image.NormalizePlatform(config.Platform)
	})
}
