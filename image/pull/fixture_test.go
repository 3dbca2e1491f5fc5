package pull

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	server "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"minict/image"
	"minict/store"
)

// hub is a registry of go-containerregistry on loopback that counts what is
// asked of it. on sees each request first and says whether it has answered it.
type hub struct {
	*httptest.Server
	t  *testing.T
	on func(w http.ResponseWriter, r *http.Request) bool

	mu   sync.Mutex
	gets map[string]int // by path
}

func newHub(t *testing.T) *hub {
	h := &hub{t: t, gets: map[string]int{}}
	quiet := log.New(io.Discard, "", 0)
	behind := server.New(server.Logger(quiet))
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			h.mu.Lock()
			h.gets[r.URL.Path]++
			h.mu.Unlock()
			if h.on != nil && h.on(w, r) {
				return
			}
		}
		behind.ServeHTTP(w, r)
	}))
	h.Config.ErrorLog = quiet
	h.Start()
	t.Cleanup(h.Close)
	return h
}

func (h *hub) host() string { return h.Listener.Addr().String() }

// count is how often paths with the part were asked for.
func (h *hub) count(part string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for path, times := range h.gets {
		if strings.Contains(path, part) {
			n += times
		}
	}
	return n
}

func (h *hub) put(path, mediaType string, body []byte) {
	h.t.Helper()
	method := http.MethodPut
	if strings.Contains(path, "/blobs/") {
		method = http.MethodPost
	}
	req, err := http.NewRequest(method, h.URL+path, bytes.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		h.t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

func (h *hub) putBlob(repo, mediaType string, data []byte) store.Descriptor {
	h.t.Helper()
	d := store.DigestOf(data)
	h.put("/v2/"+repo+"/blobs/uploads/?digest="+string(d), "application/octet-stream", data)
	return store.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func (h *hub) putDocument(repo, reference, mediaType string, doc any) store.Descriptor {
	h.t.Helper()
	raw, err := json.Marshal(doc)
	if err != nil {
		h.t.Fatal(err)
	}
	d := store.Descriptor{MediaType: mediaType, Digest: store.DigestOf(raw), Size: int64(len(raw))}
	if reference == "" {
		reference = string(d.Digest)
	}
	h.put("/v2/"+repo+"/manifests/"+reference, mediaType, raw)
	return d
}

// made is an image to push, with what a test may want to spoil before.
type made struct {
	layers   [][]tar.Header // each file's content is its name
	platform store.Platform
	config   func(*store.ImageConfig)
	manifest func(*imageManifest)
	pack     string // media type of the layers; gzip if empty
}

// push makes the image and gives its manifest's descriptor, with the platform.
// With an empty tag it is there by its digest alone.
func (h *hub) push(repo, tag string, m made) (store.Descriptor, imageManifest) {
	h.t.Helper()
	if m.platform.OS == "" {
		m.platform = image.HostPlatform()
	}
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	config := store.ImageConfig{Created: &when, Platform: m.platform, RootFS: store.RootFS{Type: "layers"}}
	config.Config.Cmd = []string{"/bin/sh"}
	manifest := imageManifest{SchemaVersion: 2, MediaType: v1.MediaTypeImageManifest}
	for _, entries := range m.layers {
		plain := makeTar(h.t, entries)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, store.DigestOf(plain))
		blob, mediaType := plain, m.pack
		if mediaType == "" {
			blob, mediaType = zip(h.t, plain), v1.MediaTypeImageLayerGzip
		}
		manifest.Layers = append(manifest.Layers, h.putBlob(repo, mediaType, blob))
	}
	if m.config != nil {
		m.config(&config)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		h.t.Fatal(err)
	}
	manifest.Config = h.putBlob(repo, v1.MediaTypeImageConfig, raw)
	if m.manifest != nil {
		m.manifest(&manifest)
	}
	d := h.putDocument(repo, tag, v1.MediaTypeImageManifest, manifest)
	d.Platform = &m.platform
	return d, manifest
}

func (h *hub) pushIndex(repo, tag string, manifests ...store.Descriptor) store.Descriptor {
	h.t.Helper()
	return h.putDocument(repo, tag, v1.MediaTypeImageIndex, imageIndex{
		SchemaVersion: 2, MediaType: v1.MediaTypeImageIndex, Manifests: manifests,
	})
}

func dir(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}
}

func file(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(name))}
}

func makeTar(t *testing.T, entries []tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range entries {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			content := bytes.Repeat([]byte(h.Name), int(h.Size)/len(h.Name)+1)
			if _, err := w.Write(content[:h.Size]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func zip(t *testing.T, plain []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(plain)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// newClient has an empty store, no credentials and no patience.
func newClient(t *testing.T) *Client {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	auth := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(auth, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Client{Store: s, Config: Registries{AuthFile: auth, RetryDelay: 1, MaxRetryAfter: 1}}
}

// checkStore compares what the store has of a kind with what it should have,
// and that nothing unfinished is in it and nothing damaged.
// local is what is done with images that are there.
func local(c *Client) *image.Client { return &image.Client{Store: c.Store} }

func checkStore(t *testing.T, s *store.Store, blobs, layers int) {
	t.Helper()
	for dir, want := range map[string]int{"blobs/sha256": blobs, "layers/sha256": layers, "ingest": 0, "locks": 0, "trash": 0} {
		entries, err := os.ReadDir(filepath.Join(s.Root(), dir))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range entries {
			if e.Name() != "lock" {
				n++
			}
		}
		if n != want {
			t.Errorf("%d in %s, want %d", n, dir, want)
		}
	}
	problems, err := s.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("store: %s: %v", p.Object, p.Err)
	}
}

// read is the content of a file in a layer that is kept.
func read(t *testing.T, s *store.Store, l store.Layer, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.LayerDir(l.Key), name))
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

// recorder is a Progress.
type recorder struct {
	mu     sync.Mutex
	layers []store.Descriptor
	states map[store.Digest][]State
	bytes  map[store.Digest]int64
}

func newRecorder() *recorder {
	return &recorder{states: map[store.Digest][]State{}, bytes: map[store.Digest]int64{}}
}

func (r *recorder) Begin(_ image.Name, layers []store.Descriptor) { r.layers = layers }

func (r *recorder) Layer(d store.Digest, s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states[d] = append(r.states[d], s)
}

func (r *recorder) Bytes(d store.Digest, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes[d] += n
}

// watchdog fails a test that hangs, with the stacks of all goroutines.
func watchdog(t *testing.T) {
	timer := time.AfterFunc(60*time.Second, func() { panic(t.Name() + " hangs") })
	t.Cleanup(func() { timer.Stop() })
}
