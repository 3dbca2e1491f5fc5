package e2e

import (
	"archive/tar"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"minict/tests/fixture"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestImagesThatAreNotToBeHad(t *testing.T) {
	h := newHarness(t)
	missing := shared.registry.Ref("missing:1")
	h.fails(1, []string{missing}, "pull", missing)
	never := shared.registry.Ref(imageName)
	h.fails(1, []string{never}, "run", "--rm", "--pull", "never", never, "true")
	if r := h.run("run", "--rm", missing, "true"); r.code != 1 || !strings.HasSuffix(r.stderr, "\nminict: "+missing+": repository does not exist\n") {
		t.Error(r)
	}

	// A port on which nobody listens.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	h.must(err)
	closed := listener.Addr().String()
	listener.Close()
	h.fails(1, []string{closed}, "pull", closed+"/alpine:1")

	if out := h.ok("images", "-q"); out != "" {
		t.Errorf("images of refused pulls: %q", out)
	}
}

func TestImageOfAnotherArchitecture(t *testing.T) {
	h := newHarness(t)
	layer, err := fixture.Layer(fixture.File("x", "", 0o644))
	h.must(err)
	img, err := fixture.ImageFor(v1.Platform{OS: "linux", Architecture: "s390x"}, fixture.BaseConfig(), layer)
	h.must(err)
	registry := fixture.StartRegistry()
	defer registry.Close()
	h.must(registry.Push("mainframe:1", img))
	h.fails(1, []string{"s390x", "amd64"}, "pull", "-q", registry.Ref("mainframe:1"))
}

func TestWrongCredentials(t *testing.T) {
	h := newHarness(t)
	locked := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "alice" || password != "secret" {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	registry := fixture.StartRegistry(locked)
	defer registry.Close()
	ref := registry.Ref("private:1")
	h.fails(1, []string{ref, "denied"}, "pull", ref)

	config := filepath.Join(filepath.Dir(h.dir), "home", ".docker")
	h.must(os.Mkdir(config, 0o700))
	// alice:wrong
	auth := `{"auths":{"` + registry.Addr + `":{"auth":"YWxpY2U6d3Jvbmc="}}}`
	h.must(os.WriteFile(filepath.Join(config, "config.json"), []byte(auth), 0o600))
	r := h.fails(1, []string{registry.Addr, "unauthorized"}, "pull", ref)
	if strings.Contains(r.stderr, "YWxpY2U6d3Jvbmc=") || strings.Contains(r.stderr, "alice:wrong") {
		t.Errorf("the message gives the password away: %v", r)
	}
}

// tampered changes what the registry answers to requests for blobs.
func tampered(change func(body []byte) (sent []byte, length int)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
				next.ServeHTTP(w, r)
				return
			}
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			body, length := change(answer.Body.Bytes())
			header := w.Header()
			for key, values := range answer.Header() {
				header[key] = values
			}
			header.Set("Content-Length", strconv.Itoa(length))
			w.WriteHeader(answer.Code)
			io.Copy(w, bytes.NewReader(body))
		})
	}
}

func TestBytesThatAreNotWhatTheDigestSays(t *testing.T) {
	for name, change := range map[string]func([]byte) ([]byte, int){
		"another byte": func(b []byte) ([]byte, int) {
			b = bytes.Clone(b)
			b[len(b)/2] ^= 1
			return b, len(b)
		},
		"cut off":        func(b []byte) ([]byte, int) { return b[:len(b)/2], len(b) },
		"shorter":        func(b []byte) ([]byte, int) { return b[:len(b)/2], len(b) / 2 },
		"longer":         func(b []byte) ([]byte, int) { b = append(bytes.Clone(b), 'x'); return b, len(b) },
		"nothing":        func(b []byte) ([]byte, int) { return nil, 0 },
		"something else": func([]byte) ([]byte, int) { return []byte("<html>"), 6 },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			registry := fixture.StartRegistry(tampered(change))
			defer registry.Close()
			h.must(registry.Push("alpine:1", shared.image))
			ref := registry.Ref("alpine:1")
			h.fails(1, []string{"blob sha256:"}, "pull", "-q", ref)
			if out := h.ok("images", "-q"); out != "" {
				t.Errorf("the index names half an image: %q", out)
			}
			h.empty("layers")
		})
	}
}

// empty checks that no layer or blob stays below the store.
func (h *harness) empty(dir string) {
	h.t.Helper()
	found, err := filepath.Glob(filepath.Join(h.Root, dir, "*", "*"))
	h.must(err)
	if len(found) > 0 {
		h.t.Errorf("%s has %q", dir, found)
	}
}

// hostile are layers that try to get out of their directory. In each, OUT
// stands for a directory of the host.
var hostile = map[string][]fixture.Entry{
	"dots":                        {fixture.File("../../../../../../../../OUT/file", "x", 0o644)},
	"an absolute name":            {fixture.File("OUT/file", "x", 0o644)},
	"through an absolute link":    {fixture.Symlink("link", "OUT"), fixture.File("link/file", "x", 0o644)},
	"through a link of dots":      {fixture.Symlink("link", "../../../../../../../..OUT"), fixture.File("link/file", "x", 0o644)},
	"a mode through a link":       {fixture.Symlink("link", "OUT/canary"), {Name: "link", Mode: 0o777, Type: tar.TypeReg, Content: "x"}},
	"a hard link to the host":     {fixture.Hardlink("link", "OUT/canary"), fixture.File("link", "x", 0o644)},
	"a hard link of dots":         {fixture.Hardlink("link", "../../../../../../../..OUT/canary"), fixture.File("link", "x", 0o644)},
	"a hard link through a link":  {fixture.Symlink("d", "OUT"), fixture.Hardlink("link", "d/canary"), fixture.File("link", "x", 0o644)},
	"a whiteout of dots":          {fixture.File("../../../../../../../..OUT/.wh.canary", "", 0o644)},
	"a whiteout through a link":   {fixture.Symlink("d", "OUT"), fixture.File("d/.wh.canary", "", 0o644)},
	"an opaque mark through one":  {fixture.Symlink("d", "OUT"), fixture.File("d/.wh..wh..opq", "", 0o644)},
	"a whiteout of the parent":    {fixture.File(".wh...", "", 0o644)},
	"a whiteout of the directory": {fixture.File(".wh..", "", 0o644)},
}

// refused are those of hostile that have no harmless reading; the others may
// also be unpacked into the layer.
var refused = []string{"dots", "a hard link of dots", "a hard link to the host", "a whiteout of dots", "a whiteout of the parent"}

func TestHostileLayersStayInside(t *testing.T) {
	for name, entries := range hostile {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			out := filepath.Join(h.dir, "out")
			h.must(os.Mkdir(out, 0o755))
			canary := filepath.Join(out, "canary")
			h.must(os.WriteFile(canary, []byte("alive"), 0o600))

			var layer []fixture.Entry
			for _, e := range entries {
				e.Name = strings.ReplaceAll(e.Name, "OUT", out)
				e.Link = strings.ReplaceAll(e.Link, "OUT", out)
				layer = append(layer, e)
			}
			packed, err := fixture.Layer(layer...)
			h.must(err)
			img, err := fixture.Image(fixture.BaseConfig(), packed)
			h.must(err)
			registry := fixture.StartRegistry()
			defer registry.Close()
			h.must(registry.Push("hostile:1", img))

			ref := registry.Ref("hostile:1")
			r := h.run("pull", "-q", ref)
			if r.code != 0 || slices.Contains(refused, name) {
				h.failed(r, 1, []string{"layer sha256:"})
			}
			info, err := os.Stat(canary)
			h.must(err)
			text, err := os.ReadFile(canary)
			h.must(err)
			if string(text) != "alive" || info.Mode() != 0o600 || info.Sys() == nil {
				t.Errorf("the canary has changed: %q %v", text, info.Mode())
			}
			if names, _ := os.ReadDir(out); len(names) != 1 {
				t.Errorf("beside the canary: %v", names)
			}
			h.run("rmi", ref)
		})
	}
}

// A mirror for docker.io makes the short name work without the network.
func TestMirrorOfDockerHub(t *testing.T) {
	h := newHarness(t)
	registry := fixture.StartRegistry()
	defer registry.Close()
	h.must(registry.Push("library/alpine:latest", shared.image))
	if r := h.run("pull", "--mirror", "docker.io=http://"+registry.Addr, "alpine"); r.code != 0 {
		t.Fatal(r)
	}
	h.table([]string{
		`REPOSITORY +TAG +IMAGE ID +CREATED +SIZE`,
		`alpine +latest +[0-9a-f]{12} +.* ago +.*MB`,
	}, "images")
	h.prints("hello\n", "run", "--rm", "alpine", "echo", "hello")
}
